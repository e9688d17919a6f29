"""How the profiles of two runs differ: the same things found on both sides, and what became of each.

Pure: two profiles in, rows of `gold.timeline_diffs` out, but for what says which comparison they belong to. By name,
the rows and one for idle time add up to the whole difference of the wall times; by call path they tell it once more,
place by place. What only one side has may be a rename (`renames.py`); how sure a difference is, `repeats.py` says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import polars as pl

from pipelines.timelines.profiles import KEY, SUMS, Profile, path_names
from pipelines.timelines.renames import Lone, pair_renamed
from pipelines.timelines.repeats import common_kind, effects

Alignment = Literal["name", "call_path"]
_SIDES = ("candidate", "baseline")
_IDLE = "idle"


def diff_profiles(
    baseline: Profile, candidate: Profile, *, find_renames: bool = True, with_paths: bool = True
) -> pl.DataFrame:
    """One row per aligned name, one per aligned call path, and idle time; sorted by what took longest to change."""
    renamed = _renames(baseline, candidate) if find_renames else {}
    rows = [_align_names(baseline, candidate, renamed), _idle_row(baseline, candidate)]
    if with_paths:
        rows.append(_align_paths(baseline, candidate, renamed))
    return _judge(pl.concat(rows, how="diagonal_relaxed"), baseline, candidate)


def changed(diff: pl.DataFrame) -> pl.DataFrame:
    """The rows that are not unchanged; none for a run and itself."""
    return diff.filter((pl.col("count_change") != "unchanged") | (pl.col("duration_change") != "unchanged"))


def _renames(baseline: Profile, candidate: Profile) -> dict[int, tuple[str, ...]]:
    """For name_ids of the baseline, the candidate's key."""
    lone = [_lone(one, other) for one, other in ((baseline, candidate), (candidate, baseline))]
    pairs = pair_renamed(*(list(side) for side in lone))
    return {lone[0][before]: (*after.group, after.name) for before, after in pairs}


def _lone(profile: Profile, other: Profile) -> dict[Lone, int]:
    rows = profile.names.join(other.names, on=KEY, how="anti").select(*KEY, "span_count", "total_ns", "name_id")
    return {
        Lone((str(device), str(kind), category), name, count, total): name_id
        for device, kind, category, name, count, total, name_id in rows.iter_rows()
    }


def _align_names(baseline: Profile, candidate: Profile, renamed: Mapping[int, tuple[str, ...]]) -> pl.DataFrame:
    ours = _side(candidate.names, "candidate").drop("candidate_name")
    theirs = _side(baseline.names, "baseline")
    if renamed:
        new_names = pl.DataFrame(
            {"baseline_name_id": list(renamed), "renamed": [key[-1] for key in renamed.values()]},
            schema_overrides={"baseline_name_id": theirs.schema["baseline_name_id"]},
        )
        theirs = theirs.join(new_names, on="baseline_name_id", how="left")
        theirs = theirs.with_columns(name=pl.coalesce("renamed", "name")).drop("renamed")
    joined = ours.join(theirs, on=KEY, how="full", coalesce=True)
    is_renamed = pl.col("baseline_name") != pl.col("name")
    return joined.with_columns(
        alignment=pl.lit("name"),
        baseline_name=pl.when(is_renamed).then("baseline_name"),
        call_path=pl.lit([], dtype=pl.List(pl.String)),
    )


def _side(names: pl.DataFrame, side: str) -> pl.DataFrame:
    return names.select(
        *(pl.col(column).cast(pl.String) for column in KEY),
        pl.col("name").alias(f"{side}_name"),
        pl.col("name_id").alias(f"{side}_name_id"),
        *(pl.col(column).alias(f"{side}_{column}") for column in SUMS),
    )


def _align_paths(baseline: Profile, candidate: Profile, renamed: Mapping[int, tuple[str, ...]]) -> pl.DataFrame:
    ours, theirs = _paths(candidate, {}, "candidate"), _paths(baseline, renamed, "baseline")
    both = ours.join(theirs, on="path_digest", how="full", coalesce=True, suffix="_baseline")
    shared = (*KEY, "call_path")
    return both.select(
        pl.lit("call_path").alias("alignment"),
        *(pl.coalesce(column, f"{column}_baseline").alias(column) for column in shared),
        pl.when(pl.col("baseline_name") != pl.coalesce("name", "name_baseline"))
        .then("baseline_name")
        .alias("baseline_name"),
        "path_digest",
        *(f"{side}_path_id" for side in _SIDES),
        *(f"{side}_{column}" for side in _SIDES for column in SUMS),
    )


def _paths(profile: Profile, renamed: Mapping[int, tuple[str, ...]], side: str) -> pl.DataFrame:
    """Call paths under the candidate's names; `baseline_name` is what the baseline called it."""
    told = path_names(profile, renamed)
    paths = profile.paths.join(profile.names.select(*KEY, "name_id"), on="name_id", how="left", maintain_order="left")
    digests, names = [told[path_id][0] for path_id in paths["path_id"]], [told[one][1] for one in paths["path_id"]]
    shown = pl.Series([path[-1] for path in names], dtype=pl.String)
    return paths.select(
        pl.Series("path_digest", digests, dtype=pl.String),
        *(pl.col(column).cast(pl.String) for column in KEY if column != "name"),
        shown.alias("name"),
        pl.Series("call_path", [list(path) for path in names], dtype=pl.List(pl.String)),
        *([pl.col("name").alias("baseline_name")] if side == "baseline" else []),
        pl.col("path_id").alias(f"{side}_path_id"),
        *(pl.col(column).alias(f"{side}_{column}") for column in SUMS),
    )


def _idle_row(baseline: Profile, candidate: Profile) -> pl.DataFrame:
    row: dict[str, Any] = {"alignment": "name", "span_kind": _IDLE, "category": "", "name": _IDLE, "call_path": []}
    for side, profile in zip(_SIDES, (candidate, baseline), strict=True):
        row |= {f"{side}_{column}": 0 for column in ("span_count", "total_ns", "self_ns")}
        row[f"{side}_wall_ns"] = profile.idle_ns
    return pl.DataFrame([row], schema_overrides={"call_path": pl.List(pl.String)})


def _judge(rows: pl.DataFrame, baseline: Profile, candidate: Profile) -> pl.DataFrame:
    kind = common_kind(baseline, candidate)
    repeats = {"candidate": candidate, "baseline": baseline}
    counts = {side: profile.repeat_count if kind != "run" else 1 for side, profile in repeats.items()}
    walls = {side: profile.wall_ns / counts[side] for side, profile in repeats.items()}
    sums = [f"{side}_{column}" for side in _SIDES for column in SUMS]
    filled = rows.with_columns(pl.col(column).fill_null(0) for column in sums).with_columns(
        pl.col(f"{side}_wall_ns").cast(pl.Float64) / counts[side] for side in _SIDES
    )
    total_delta = walls["candidate"] - walls["baseline"]
    told = filled.with_columns(
        pl.lit(kind).alias("repeat_kind"),
        *(pl.lit(count).cast(pl.Int64).alias(f"{side}_repeat_count") for side, count in counts.items()),
        *(pl.lit(own.warm_up_count).cast(pl.Int64).alias(f"{side}_warm_up_count") for side, own in repeats.items()),
        *(pl.col(f"{side}_span_count").alias(f"{side}_count") for side in _SIDES),
        count_delta=pl.col("candidate_span_count") - pl.col("baseline_span_count"),
        **{
            f"{name}_delta_ns": pl.col(f"candidate_{name}_ns") - pl.col(f"baseline_{name}_ns")
            for name in ("total", "self", "wall")
        },
    ).with_columns(
        slowdown_ratio=pl.col("wall_delta_ns") / walls["baseline"] if walls["baseline"] else pl.lit(None, pl.Float64),
        change_share_ratio=pl.col("wall_delta_ns") / total_delta if total_delta else pl.lit(None, pl.Float64),
    )
    by_name = told.filter(alignment="name")
    by_path = told.filter(alignment="call_path")
    is_idle = by_name["span_kind"] == _IDLE
    known = effects(by_name, baseline, candidate, kind=kind).with_columns(
        # Idle time is no span, so that no repeat has any of its own.
        pl.when(is_idle).then(by_name["wall_delta_ns"]).otherwise("effect_ns").alias("effect_ns"),
        *(pl.when(~is_idle).then(name).alias(name) for name in ("interval_low_ns", "interval_high_ns")),
    )
    sure = [pl.concat([by_name, known], how="horizontal")]
    if by_path.height:
        known = effects(by_path, baseline, candidate, kind=kind, grain="path")
        sure.append(pl.concat([by_path, known], how="horizontal"))
    judged = pl.concat(sure, how="diagonal_relaxed").with_columns(_count_change(counts), _duration_change())
    return judged.with_columns(_node_ids(judged)).sort(
        pl.col("wall_delta_ns").abs(), "node_id", descending=[True, False]
    )


def _count_change(counts: Mapping[str, int]) -> pl.Expr:
    # Whole numbers, so that equal rates are equal.
    ours = pl.col("candidate_count") * counts["baseline"]
    theirs = pl.col("baseline_count") * counts["candidate"]
    return _change(ours - theirs).alias("count_change")


def _duration_change() -> pl.Expr:
    low, high = pl.col("interval_low_ns"), pl.col("interval_high_ns")
    is_unsure = ((low <= 0) & (high >= 0)).fill_null(value=False)
    effect = pl.when(is_unsure).then(0.0).otherwise("effect_ns")
    return _change(effect).alias("duration_change")


def _change(difference: pl.Expr) -> pl.Expr:
    is_idle = pl.col("span_kind") == _IDLE
    return (
        pl.when(~is_idle & (pl.col("baseline_count") == 0))
        .then(pl.lit("added"))
        .when(~is_idle & (pl.col("candidate_count") == 0))
        .then(pl.lit("removed"))
        .when(difference > 0)
        .then(pl.lit("increased"))
        .when(difference < 0)
        .then(pl.lit("decreased"))
        .otherwise(pl.lit("unchanged"))
    )


def _node_ids(rows: pl.DataFrame) -> pl.Series:
    path = rows["path_digest"] if "path_digest" in rows.columns else pl.repeat(None, rows.height, eager=True)
    keys = zip(rows["alignment"], *(rows[column].fill_null("") for column in KEY), path, strict=True)
    digests = [
        hashlib.blake2b("\x1f".join(map(str, key)).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        for key in keys
    ]
    return pl.Series("node_id", digests, dtype=pl.String)
