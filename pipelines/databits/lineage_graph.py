"""The neighbourhood of a version, ready to be drawn: which versions, what they are called, what leads where.

What belongs here: reading the part of the lineage around one version. The drawings are `lineage_texts.py` (tree,
Mermaid, DOT) and `lineage_drawing.py` (SVG).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from lake.store import Lake
from pipelines.databits.lineage import ANCESTOR, DESCENDANT, Parents
from pipelines.databits.lineage_steps import LICENSES, ancestors_of, as_keys, descendants_of, read_parents
from pipelines.databits.reading import read_versions
from pipelines.databits.units import DatabitKey, readable_text

# More boxes than this no picture can tell apart.
MAX_NODES = 60
LABEL_CHARACTERS = 44
SHORT_ID_CHARACTERS = 8
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True)
class Node:
    """A version in a drawing: what it says in a few words, what it is, and its licence.

    `name` can be typed where a command takes a version: an id that a person gave is whole, a UUID its beginning.
    """

    key: DatabitKey
    name: str
    label: str
    role: str
    license: str
    license_status: str
    is_retracted: bool


@dataclass(frozen=True, kw_only=True)
class LineageGraph:
    """A version among its ancestors and descendants; `parents` has every edge between the nodes."""

    focus: DatabitKey
    nodes: Sequence[Node]
    parents: Parents
    hidden_count: int

    def node(self, key: DatabitKey) -> Node:
        """The node of a key."""
        return next(node for node in self.nodes if node.key == key)


def read_graph(lake: Lake, focus: DatabitKey, *, max_nodes: int = MAX_NODES) -> LineageGraph:
    """The nearest ancestors and descendants of a version, at most `max_nodes` with itself."""
    up = ancestors_of(lake, [focus]).select(*(pl.col(name) for name in ANCESTOR), "depth")
    down = descendants_of(lake, [focus]).select(*(pl.col(name) for name in DESCENDANT), "depth")
    near = pl.concat(
        [
            frame.rename(dict(zip(frame.columns, ("databit_id", "version", "depth"), strict=True)))
            for frame in (up, down)
        ]
    ).sort("depth", "databit_id", "version")
    kept = near.head(max_nodes - 1)
    keys = [focus, *(DatabitKey(*row) for row in kept.select("databit_id", "version").iter_rows())]
    members = set(keys)
    parents = read_parents(lake, keys)
    return LineageGraph(
        focus=focus,
        nodes=_nodes(lake, keys),
        parents={child: [parent for parent in own if parent in members] for child, own in parents.items()},
        hidden_count=near.height - kept.height,
    )


def name_units(databit_ids: Iterable[str]) -> Mapping[str, str]:
    """What each unit is called beside the others: UUIDs by as few characters as tell them apart, else the whole id."""
    ids = set(databit_ids)
    cut = {name for name in ids if _UUID.fullmatch(name)}
    count = SHORT_ID_CHARACTERS
    while len({name[:count] for name in cut}) < len(cut):
        count += 1
    return {name: name[:count] if name in cut else name for name in ids}


def _nodes(lake: Lake, keys: Sequence[DatabitKey]) -> list[Node]:
    frame = as_keys(keys)
    rows = read_versions(
        lake, frame["databit_id"].to_list(),
        columns=["databit_id", "version", "content", "search_keys", "attribution", "is_deleted"],
    )  # fmt: skip
    licenses = lake.read(LICENSES, where={"databit_id": frame["databit_id"].unique().to_list()}).select(
        "databit_id", "version", "effective_license", "status"
    )
    full = frame.join(rows, on=["databit_id", "version"], how="left", maintain_order="left").join(
        licenses, on=["databit_id", "version"], how="left", maintain_order="left"
    )
    names = name_units(frame["databit_id"])
    return [
        Node(
            key=DatabitKey(row["databit_id"], row["version"]),
            name=f"{names[row['databit_id']]}@{row['version']}",
            label=_label(row["content"]),
            role=next((key.removeprefix("role=") for key in row["search_keys"] or () if key.startswith("role=")), ""),
            license=row["effective_license"] or "no known licence",
            license_status=row["status"] or "unknown",
            is_retracted=bool(row["is_deleted"]),
        )
        for row in full.iter_rows(named=True)
    ]


def _label(content: str | None) -> str:
    if content is None:
        return "(not in the lake)"
    words = " ".join(readable_text(content).split())
    return words if len(words) <= LABEL_CHARACTERS else f"{words[: LABEL_CHARACTERS - 3]}..."
