"""One version and its surroundings as plain values, for whoever shows them: terminal, JSON, pages.

What belongs here: bringing together what several tables say of one version. Nothing is written.
"""

from __future__ import annotations

from typing import Any

from lake.store import Lake
from pipelines.databits.duplicate_steps import DUPLICATES
from pipelines.databits.lineage import ANCESTOR, DESCENDANT
from pipelines.databits.lineage_steps import LICENSES, ancestors_of, descendants_of, roots_of
from pipelines.databits.listing import read_scores
from pipelines.databits.reading import read_version, read_versions
from pipelines.databits.units import DatabitKey, parse_content


def describe_version(lake: Lake, key: DatabitKey) -> dict[str, Any]:
    """A version with its content as a value, its licence as judged, its scores, and how many versions there are."""
    row = read_version(lake, *key)
    newest = read_versions(lake, [key.databit_id], columns=["version"])["version"].max()
    return row | {
        "content": parse_content(row["content"]),
        "newest_version": newest,
        "license": _license(lake, key),
        "scores": read_scores(lake, *key).to_dicts(),
        "duplicate_of": _duplicate(lake, key),
    }


def _license(lake: Lake, key: DatabitKey) -> dict[str, Any] | None:
    rows = lake.read(LICENSES, where={"databit_id": key.databit_id, "version": key.version})
    names = ("effective_license", "status", "inherited_from", "findings")
    return None if rows.is_empty() else rows.select(names).row(0, named=True)


def _duplicate(lake: Lake, key: DatabitKey) -> dict[str, Any] | None:
    rows = lake.read(DUPLICATES, where={"databit_id": key.databit_id, "version": key.version})
    names = ("duplicate_kind", "canonical_id", "canonical_version", "similarity_ratio")
    return None if rows.is_empty() else rows.select(names).row(0, named=True)


def describe_lineage(lake: Lake, key: DatabitKey) -> dict[str, Any]:
    """Ancestors and descendants with their depth, the roots, and the licence that follows."""
    return {
        "databit": str(key),
        "license": _license(lake, key),
        "roots": [str(root) for root in roots_of(lake, key)],
        "ancestors": _relatives(ancestors_of(lake, [key]).select(*ANCESTOR, "depth").iter_rows()),
        "descendants": _relatives(descendants_of(lake, [key]).select(*DESCENDANT, "depth").iter_rows()),
    }


def _relatives(rows: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - an iterator of tuples
    return [{"databit_id": databit_id, "version": version, "depth": depth} for databit_id, version, depth in rows]
