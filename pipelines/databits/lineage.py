"""The lineage of versions as a graph: closure, cycles, paths. Pure.

A node is one version of one unit, an edge says that a version was made from another unit's version. Versions are
never changed, so what a version stems from is known when it is written, and the closure only ever grows. That a
version follows the version before it is no edge: it inherits what that one was derived from.

What does not belong here: reading and writing (`lineage_steps.py`) and drawing (`lineage_texts.py`,
`lineage_drawing.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import polars as pl

from lake.errors import UserError
from lake.tables import contract_of
from pipelines.databits.units import DatabitKey

EDGES, CLOSURE = "gold.lineage_edges", "gold.lineage_closure"
CHILD, PARENT = ("child_id", "child_version"), ("parent_id", "parent_version")
DESCENDANT, ANCESTOR = ("descendant_id", "descendant_version"), ("ancestor_id", "ancestor_version")
Parents = Mapping[DatabitKey, Sequence[DatabitKey]]


class LineageCycleError(UserError):
    """Versions would stem from themselves."""

    def __init__(self, path: Sequence[DatabitKey]) -> None:
        super().__init__(
            f"Lineage would run in a circle: {' -> '.join(map(str, path))} (each made from the next). A version can "
            "only be made from versions that stood before it."
        )
        self.path = tuple(path)


def edges_of(versions: pl.DataFrame) -> pl.DataFrame:
    """Rows of gold.lineage_edges from rows of silver.databits (databit_id, version, attribution, created_at)."""
    parents = versions.select(
        child_id="databit_id",
        child_version="version",
        parent=pl.col("attribution").struct.field("derived_from"),
        created_at="created_at",
    ).filter(pl.col("parent").list.len() > 0)
    exploded = parents.with_columns(parent_index=pl.int_ranges(pl.col("parent").list.len(), dtype=pl.Int64)).explode(
        "parent", "parent_index"
    )
    return (
        exploded.select(
            *CHILD,
            parent_id=pl.col("parent").struct.field("databit_id"),
            parent_version=pl.col("parent").struct.field("version"),
            parent_index="parent_index",
            created_at="created_at",
        )
        .unique([*CHILD, *PARENT], keep="first", maintain_order=True)
        .select(list(contract_of(EDGES).dtypes))
    )


def closure_of(edges: pl.DataFrame, standing: pl.DataFrame) -> pl.DataFrame:
    """Rows of gold.lineage_closure for the children of `edges`.

    `standing` is the closure of those parents that are no children in `edges`; what is missing from it has no
    ancestors. Children are done layer by layer, each from the closure of its parents. Raises `LineageCycleError`.
    """
    known = standing.select(list(contract_of(CLOSURE).dtypes))
    found = [contract_of(CLOSURE).empty()]
    for layer in _layers(edges):
        direct = layer.select(
            descendant_id="child_id", descendant_version="child_version",
            ancestor_id="parent_id", ancestor_version="parent_version", depth=pl.lit(1, dtype=pl.Int64),
        )  # fmt: skip
        over = layer.join(known, left_on=PARENT, right_on=DESCENDANT, how="inner").select(
            descendant_id="child_id", descendant_version="child_version",
            ancestor_id="ancestor_id", ancestor_version="ancestor_version", depth=pl.col("depth") + 1,
        )  # fmt: skip
        rows = pl.concat([direct, over]).group_by([*DESCENDANT, *ANCESTOR]).agg(pl.col("depth").min())
        found.append(rows)
        known = pl.concat([known, rows])
    return pl.concat(found).sort(*DESCENDANT, "depth", *ANCESTOR)


def _layers(edges: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Edges by layers of children: those of a layer have no parent in `edges` that is not in an earlier layer."""
    waiting = edges.select(*CHILD, *PARENT)
    while waiting.height:
        blocked = waiting.join(
            waiting.select(CHILD).unique(), left_on=PARENT, right_on=CHILD, how="semi"
        ).select(CHILD).unique()  # fmt: skip
        ready = waiting.join(blocked, on=CHILD, how="anti")
        if ready.is_empty():
            raise LineageCycleError(find_cycle(parents_by_child(waiting)))
        yield ready
        waiting = waiting.join(blocked, on=CHILD, how="semi")


def parents_by_child(edges: pl.DataFrame) -> dict[DatabitKey, list[DatabitKey]]:
    """Edges as a mapping from each child to its parents, in their order."""
    by_child: dict[DatabitKey, list[DatabitKey]] = {}
    for child_id, child_version, parent_id, parent_version in edges.select(*CHILD, *PARENT).iter_rows():
        by_child.setdefault(DatabitKey(child_id, child_version), []).append(DatabitKey(parent_id, parent_version))
    return by_child


def find_cycle(parents: Parents) -> list[DatabitKey]:
    """A way from a version back to itself, the first named again at the end; empty when there is none.

    A version also stands on the version before it, so a unit's version 1 made from its version 2 is a circle too.
    """
    done: set[DatabitKey] = set()
    for start in parents:
        path: list[DatabitKey] = []
        on_path: set[DatabitKey] = set()
        stack: list[tuple[DatabitKey, bool]] = [(start, False)]
        while stack:
            node, is_left = stack.pop()
            if is_left:
                on_path.discard(path.pop())
                done.add(node)
            elif node in on_path:
                return [*path[path.index(node) :], node]
            elif node not in done:
                path.append(node)
                on_path.add(node)
                stack.append((node, True))
                stack.extend((parent, False) for parent in _stands_on(node, parents))
    return []


def _stands_on(node: DatabitKey, parents: Parents) -> list[DatabitKey]:
    before = DatabitKey(node.databit_id, node.version - 1)
    return [*parents.get(node, ()), *([before] if node.version > 1 else [])]


def paths_between(parents: Parents, start: DatabitKey, end: DatabitKey, *, limit: int) -> list[list[DatabitKey]]:
    """Ways from a version up to an ancestor, the shortest first, at most `limit`; each begins and ends with the two."""
    found: list[list[DatabitKey]] = []
    queue: list[list[DatabitKey]] = [[start]]
    while queue and len(found) < limit:
        path = queue.pop(0)
        if path[-1] == end:
            found.append(path)
            continue
        queue.extend([*path, parent] for parent in parents.get(path[-1], ()))
    return found


def in_order(keys: Iterable[DatabitKey], parents: Parents) -> list[DatabitKey]:
    """The keys with every parent before its children, else in the order given."""
    wanted = list(keys)
    members, placed = set(wanted), dict[DatabitKey, None]()
    for start in wanted:
        stack: list[tuple[DatabitKey, bool]] = [(start, False)]
        while stack:
            node, is_left = stack.pop()
            if is_left:
                placed.setdefault(node)
            elif node not in placed and node in members:
                stack.append((node, True))
                stack.extend((parent, False) for parent in reversed(parents.get(node, ())) if parent not in placed)
    return list(placed)
