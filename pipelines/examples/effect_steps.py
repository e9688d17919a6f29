"""Keep `gold.example_effects`, and the estimates beside the examples, in step with the uses.

Follows the change feed: only examples that have uses in the strata of new uses are estimated again; with nothing new,
one look at a cursor. The estimator itself is `effectiveness.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from lake.errors import ConflictError
from lake.store import MAX_TRIES, Lake
from lake.tables import contract_of
from pipelines.embeddings.texts import text_of_json
from pipelines.examples.effectiveness import (
    DEFAULT_PRIOR_SCALE,
    ESTIMATOR_VERSION,
    USED_COLUMNS,
    effect_over_time,
    estimate_lifts,
    fit_prior_scale,
    keep_prior_scale,
    shrink,
)
from pipelines.examples.following import EXAMPLES, is_far_behind, unchanged_since
from pipelines.examples.usages import USAGES

EFFECTS = "gold.example_effects"
# With the estimator's version, so that a new one looks at every use again.
_CONSUMER = f"example_effects:{ESTIMATOR_VERSION}"
# Beyond this many strata or examples the columns are read whole.
_FEW = 500
_COLUMNS = (*USED_COLUMNS, "databit_version")
_ESTIMATES = ("usage_count", "effectiveness_score", "effectiveness_low", "effectiveness_high")


@dataclass(frozen=True, kw_only=True)
class EffectResult:
    """What an update did: new or changed uses, examples estimated again, rows that changed, the scale in force."""

    use_count: int
    example_count: int
    changed_count: int
    prior_scale: float


def update_effects(lake: Lake, *, now: dt.datetime, is_full: bool = False) -> EffectResult:
    """Estimate what new uses touch, shrink with the common scale, and write what changed.

    `is_full` estimates every example again. Content that was edited since it was used counts as another example.
    """
    usage_version, example_version = lake.version(USAGES), lake.version(EXAMPLES)
    standing = lake.read(EFFECTS)
    since = -1 if is_full else lake.cursor(_CONSUMER, USAGES)
    edited_since = -1 if is_full else lake.cursor(_CONSUMER, EXAMPLES)
    new = lake.changes(USAGES, since, until=usage_version, columns=["example_id", "stratum"])
    edited = _edited(lake, edited_since, example_version)
    scale = None if standing.is_empty() else float(standing["prior_scale"][0])
    if new.is_empty() and not edited:
        if is_far_behind(edited_since, example_version):
            lake.move_cursor(_CONSUMER, {EXAMPLES: example_version})
        return EffectResult(use_count=0, example_count=0, changed_count=0, prior_scale=scale or DEFAULT_PRIOR_SCALE)
    strata = new["stratum"].unique().to_list()
    touched = sorted({*new["example_id"], *edited, *_read(lake, "stratum", strata)["example_id"]})
    lifts = estimate_lifts(read_comparable(lake, touched)).filter(pl.col("example_id").is_in(touched))
    others = standing.filter(~pl.col("example_id").is_in(touched)).select(lifts.columns)
    every = pl.concat([others, lifts])
    scale = keep_prior_scale(scale, fit_prior_scale(every))
    changed = _write(lake, shrink(every, prior_scale=scale), standing, gone=edited, now=now)
    _mirror(lake, changed)
    # What was just written beside the examples need not be read again, unless somebody edited one meanwhile.
    newest = lake.version(EXAMPLES)
    seen = example_version if _edited(lake, example_version, newest) else newest
    lake.move_cursor(_CONSUMER, {USAGES: usage_version, EXAMPLES: seen})
    return EffectResult(use_count=new.height, example_count=len(touched), changed_count=len(changed), prior_scale=scale)


def read_comparable(lake: Lake, example_ids: Sequence[str]) -> pl.DataFrame:
    """Uses of these examples and all others of the strata that they occur in, as the estimator wants them.

    A use of an earlier content is renamed, so that it is part of its call but no use of the example as it is.
    """
    strata = _read(lake, "example_id", example_ids)["stratum"].unique().to_list()
    uses = _read(lake, "stratum", strata)
    shown = lake.read(EXAMPLES, columns=["example_id", "content_version"])
    is_other = pl.col("databit_version") < pl.col("content_version")
    name = pl.when(is_other).then(pl.format("{}@{}", "example_id", "databit_version")).otherwise("example_id")
    return uses.join(shown, on="example_id", how="left").with_columns(example_id=name).select(USED_COLUMNS)


def read_effect_history(lake: Lake, example_id: str) -> pl.DataFrame:
    """The estimate of one example after each of its days of use; see `effect_over_time`."""
    standing = lake.read(EFFECTS, where={"example_id": example_id})
    uses = read_comparable(lake, [example_id])
    scale = fit_prior_scale(estimate_lifts(uses)) if standing.is_empty() else float(standing["prior_scale"][0])
    return effect_over_time(uses, example_id, prior_scale=scale)


def list_effects(lake: Lake, *, limit: int | None = None) -> pl.DataFrame:
    """Rows of gold.example_effects with `label` (the example's inputs), the best estimate first, unknown ones last."""
    effects = lake.read(EFFECTS).sort(
        "effectiveness_score", "comparable_count", "example_id", descending=[True, True, False], nulls_last=True
    )
    shown = effects if limit is None else effects.head(limit)
    where = {"example_id": shown["example_id"].to_list()} if shown.height <= _FEW else None
    inputs = lake.read(EXAMPLES, columns=["example_id", "inputs"], where=where)
    label = pl.col("inputs").map_elements(text_of_json, return_dtype=pl.String)
    labels = inputs.select("example_id", label.alias("label"))
    return shown.join(labels, on="example_id", how="left", maintain_order="left")


def _read(lake: Lake, column: str, values: Sequence[str]) -> pl.DataFrame:
    if len(values) <= _FEW:
        return lake.read(USAGES, columns=_COLUMNS, where={column: list(values)})
    return lake.read(USAGES, columns=_COLUMNS).filter(pl.col(column).is_in(values))


def _edited(lake: Lake, since: int, version: int) -> set[str]:
    """Examples whose content became another since: what was estimated of them is of the content before."""
    feed = lake.changes(EXAMPLES, since, until=version, columns=["example_id", "content_version"])
    changed = feed.group_by("example_id").agg(
        versions=pl.col("content_version").n_unique(), is_new=(pl.col("_change_type") == "insert").any()
    )
    return set(changed.filter((pl.col("versions") > 1) & ~pl.col("is_new"))["example_id"])


def _write(
    lake: Lake, shrunken: pl.DataFrame, standing: pl.DataFrame, *, gone: set[str], now: dt.datetime
) -> list[str]:
    """Write estimates that changed and take away those that have no use left; gives the ids of both."""
    facts = [name for name in contract_of(EFFECTS).dtypes if name not in ("computed_at", "estimator_version")]
    rows = shrunken.with_columns(estimator_version=pl.lit(ESTIMATOR_VERSION, dtype=pl.Int64))
    compared = [*facts, "estimator_version"]
    fresh = rows.select(compared).join(standing.select(compared), on=compared, how="anti", nulls_equal=True)
    lake.upsert(EFFECTS, fresh.with_columns(computed_at=pl.lit(now, dtype=contract_of(EFFECTS).dtypes["computed_at"])))
    lost = sorted(gone & set(standing["example_id"]) - set(rows["example_id"]))
    if lost:
        lake.remove(EFFECTS, pl.DataFrame({"example_id": lost}))
    return [*fresh["example_id"], *lost]


def _mirror(lake: Lake, example_ids: Sequence[str]) -> None:
    """Bring the estimates beside the examples up to `gold.example_effects`, without losing an edit made meanwhile."""
    for _ in range(MAX_TRIES):
        if not example_ids:
            return
        ids = pl.DataFrame({"example_id": list(example_ids)})
        where = {"example_id": list(example_ids)} if len(example_ids) <= _FEW else None
        found = lake.read(EXAMPLES, where=where).join(ids, on="example_id", how="semi")
        effects = lake.read(EFFECTS, columns=["example_id", *_ESTIMATES], where=where)
        rows = (
            found.drop(_ESTIMATES)
            .join(effects, on="example_id", how="left")
            .with_columns(pl.col("usage_count").fill_null(0))
            .select(found.columns)
        )
        rows = rows.join(found, on=rows.columns, how="anti", nulls_equal=True) if rows.height else rows
        if rows.is_empty():
            return
        if lake.compare_and_upsert(EXAMPLES, rows, expected=unchanged_since(found, rows)):
            return
    raise ConflictError(f"Others edited the same examples {MAX_TRIES} times; run it again.")
