"""The prompts of saved suites, with their references, as examples: each made from the suite's unit of that reference.

Follows the change feed of `silver.databits`, where `pipelines.databits.suite_units` puts them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from lake.identity import derived_id
from lake.store import Lake
from pipelines.databits.reading import newest_of
from pipelines.databits.units import DATABITS, DatabitKey, parse_content
from pipelines.examples.drafts import ExampleDraft
from pipelines.examples.following import is_far_behind
from pipelines.examples.importing import ImportResult, ensure_examples

_CONSUMER = "suite_examples"
AUTHOR = "benchlake"
_COLUMNS = ("databit_id", "version", "content", "attribution", "search_keys", "is_deleted")


def suite_example_id(suite: str, sample_id: str) -> str:
    """The id of the example that is made of a suite's sample, whatever its text becomes."""
    return derived_id("example", "suite", suite, sample_id)


def update_suite_examples(lake: Lake, *, now: dt.datetime) -> ImportResult:
    """Bring examples up to the references that are new or changed since the last time.

    A reference that was edited, in the suite or by a person, is a new version of its example. Its licence is inherited
    by lineage from the suite's units.
    """
    version, since = lake.version(DATABITS), lake.cursor(_CONSUMER, DATABITS)
    if since >= version:
        return ImportResult()
    feed = lake.changes(DATABITS, since, until=version, columns=_COLUMNS)
    is_reference = pl.col("search_keys").list.contains("role=reference")
    units = newest_of(feed.filter(is_reference & (pl.col("_change_type") == "insert"))).filter(~pl.col("is_deleted"))
    drafts = [draft for unit in units.iter_rows(named=True) if (draft := suite_example(unit)) is not None]
    result = ensure_examples(lake, drafts, now=now, author=AUTHOR)
    if result.created_count or result.revised_count or is_far_behind(since, version):
        lake.move_cursor(_CONSUMER, {DATABITS: version})
    return result


def suite_example(unit: Mapping[str, Any]) -> ExampleDraft | None:
    """The example that a suite's unit of a reference makes; None if somebody edited it into something else. Pure."""
    content, labels = parse_content(unit["content"]), _labels(unit["search_keys"])
    if not isinstance(content, dict) or not content.get("prompt") or not content.get("reference"):
        return None
    suite, sample_id = labels["suite"], labels["sample"]
    return ExampleDraft(
        example_id=suite_example_id(suite, sample_id),
        inputs={"prompt": content["prompt"]},
        expected_output=content["reference"],
        function_name=suite,
        tags=[key for key in unit["search_keys"] if "=" not in key],
        source=f"suite:{suite}/{sample_id}",
        license=unit["attribution"]["license"],
        creator=unit["attribution"]["creator"],
        derived_from=[DatabitKey(unit["databit_id"], unit["version"])],
    )


def _labels(keys: Sequence[str]) -> dict[str, str]:
    return dict(key.split("=", 1) for key in keys if "=" in key)
