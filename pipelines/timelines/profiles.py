"""The profile of a run: its spans added up by name and by call path, for each repeat of the work and as a whole.

Pure: rows of `silver.spans` of one run in, a profile out. How two profiles differ is `diff.py`, rows of tables are
`summaries.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from pipelines.runs.span_kinds import BOOKKEEPING_CATEGORY
from pipelines.timelines.wall_time import COMMUNICATION, COMPUTATION, COPY, CPU, UNTIMED, share_wall_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Raise it when a profile, or a difference of two, would come out otherwise.
TIMELINE_VERSION = 2
SPAN_COLUMNS = (
    "run_id", "span_index", "run_date", "parent_span_id", "sample_id", "name", "category", "start_ns", "duration_ns",
    "status", "lane", "device", "span_kind", "step", "depth", "parent_span_index", "self_ns",
)  # fmt: skip
KEY = ("device", "span_kind", "category", "name")
# What is told of a node, beside its key.
SUMS = ("span_count", "total_ns", "self_ns", "wall_ns")
RepeatKind = Literal["run", "step", "sample"]
_SPANS_TOGETHER = 250_000


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Where the time of a run went.

    `names` has one row per `KEY`: `SUMS`, error_count, lane_count, mean_ns, p50_ns, p95_ns and name_id. `paths` has one
    row per call path: path_id, parent_id (-1 at the outermost), name_id, depth and `SUMS`. `repeats` has one row per
    repeat_id and name_id: total_ns; `path_repeats` the same by path_id. `repeat_ids` are all repeats, with how often
    the work of each was done. `warm_up_count` steps of the run are in none of it (`warm_up.py`).
    """

    run_id: str
    names: pl.DataFrame
    paths: pl.DataFrame
    repeats: pl.DataFrame
    path_repeats: pl.DataFrame
    repeat_ids: Mapping[str, int]
    repeat_kind: RepeatKind
    wall_ns: int
    idle_ns: float
    warm_up_count: int = 0

    @property
    def repeat_count(self) -> int:
        """How often the same work was done; 1 for a run that marks no repeats."""
        return sum(self.repeat_ids.values()) if self.repeat_kind != "run" else 1


def profile_run(spans: pl.DataFrame, *, run_id: str, keep_step_names: bool = False, warm_up_count: int = 0) -> Profile:
    """Add up the spans of a run. `spans` has `SPAN_COLUMNS` (and their places, see `pipelines.runs.span_spool`).

    `warm_up_count` says how many steps of the run are not among them. Marks of steps carry the number of their step;
    unless `keep_step_names`, they are one name for all.
    """
    slim = slim_spans(spans)
    parents = parent_places(slim)
    start = slim["start_ns"].to_numpy()
    wall = share_wall_time(start, start + slim["duration_ns"].to_numpy(), parents, ranks(slim))
    keys, name_ids = _named(slim, keep_step_names=keep_step_names)
    levels, path_ids = call_paths(name_ids, slim["depth"].fill_null(0).to_numpy(), parents)
    told = slim.drop("name", "category", "parent_span_index", "start_ns").with_columns(
        name_id=name_ids, path_id=pl.Series(path_ids), wall_ns=pl.Series(wall.share)
    )
    kind, repeat_ids = _repeats_of(told)
    return Profile(
        run_id=run_id,
        names=_by_name(told, keys),
        paths=_by_path(told, levels),
        repeats=_by_repeat(told, kind, "name_id"),
        path_repeats=_by_repeat(told, kind, "path_id"),
        repeat_ids=repeat_ids,
        repeat_kind=kind,
        wall_ns=wall.wall_ns,
        idle_ns=wall.idle_ns,
        warm_up_count=warm_up_count,
    )


def slim_spans(spans: pl.DataFrame) -> pl.DataFrame:
    """Spans of one run in order of span_index, in a third of the memory: words once each, and no more than is needed.

    It has `SPAN_COLUMNS` without run_id, run_date and parent_span_id, and `is_outermost`, whether the source names no
    parent; a frame that has been through it is given back.
    """
    if "is_outermost" in spans.columns:
        return spans
    found = spans.select(
        *(pl.col(name).cast(pl.Categorical) if name in _WORDS else name for name in SPAN_COLUMNS if name not in _LEFT),
        is_outermost=pl.col("parent_span_id").is_null(),
    )
    return found.sort("span_index")


_WORDS = frozenset({"name", "category", "lane", "sample_id"})
_LEFT = frozenset({"run_id", "run_date", "parent_span_id"})


def _named(spans: pl.DataFrame, *, keep_step_names: bool) -> tuple[pl.DataFrame, pl.Series]:
    """What spans are told by (`KEY` and name_id, from 0), and the name_id of each span."""
    parts = list(spans.select(KEY).iter_slices(_SPANS_TOGETHER))
    found = pl.concat([part.unique() for part in parts]).unique() if parts else spans.select(KEY)
    is_mark = pl.lit(not keep_step_names) & (pl.col("span_kind") == "step")
    name, category = pl.col("name").cast(pl.String), pl.col("category").cast(pl.String)
    shown = found.with_columns(
        name=pl.when(is_mark).then(pl.lit("step")).otherwise(name), category=category.fill_null("")
    )
    # Numbered in the order of their names, so that the order of spans in a file changes nothing.
    keys = shown.unique().sort(KEY).with_row_index("name_id")
    numbers = shown.select(KEY).join(keys, on=KEY, how="left", maintain_order="left")["name_id"]
    found = found.with_columns(numbers)
    told = [part.join(found, on=KEY, how="left", nulls_equal=True, maintain_order="left")["name_id"] for part in parts]
    return keys, pl.concat(told) if told else numbers


def path_names(profile: Profile, renamed: Mapping[int, tuple[str, ...]]) -> dict[int, tuple[str, tuple[str, ...]]]:
    """For each path_id a digest of the keys from the outermost span to it, and their names.

    `renamed` gives another key for a name_id, so that what is below something that was renamed is found again.
    """
    keys = {row[-1]: tuple(map(str, row[:-1])) for row in profile.names.select(*KEY, "name_id").iter_rows()}
    keys.update(renamed)
    found: dict[int, tuple[str, tuple[str, ...]]] = {-1: ("", ())}
    # Paths are numbered level by level, parents first.
    for path_id, parent_id, name_id in profile.paths.select("path_id", "parent_id", "name_id").iter_rows():
        above, names = found[parent_id]
        key = keys[name_id]
        digest = hashlib.blake2b("\x1f".join((above, *key)).encode("utf-8", "surrogatepass"), digest_size=16)
        found[path_id] = (digest.hexdigest(), (*names, key[-1]))
    return found


def parent_places(spans: pl.DataFrame) -> NDArray[np.int64]:
    """The place of what encloses each span, -1 for none; `spans` in order of span_index."""
    indexes = spans["span_index"].to_numpy()
    wanted = spans["parent_span_index"].fill_null(-1).to_numpy()
    if not indexes.size:
        return np.empty(0, dtype=np.int64)
    at = np.minimum(np.searchsorted(indexes, wanted), indexes.size - 1)
    return np.where((wanted >= 0) & (indexes[at] == wanted), at, -1)


def ranks(spans: pl.DataFrame) -> NDArray[np.int8]:
    """The class of each span in sharing out wall time."""
    is_note = pl.col("span_kind").is_in(["step", "phase"]) & (pl.col("device") == "gpu")
    found = spans.select(
        pl.when((pl.col("category") == BOOKKEEPING_CATEGORY).fill_null(value=False) | is_note)
        .then(UNTIMED)
        .when(pl.col("device") == "cpu")
        .then(CPU)
        .when(pl.col("span_kind") == "communication")
        .then(COMMUNICATION)
        .when(pl.col("span_kind") == "copy")
        .then(COPY)
        .otherwise(COMPUTATION)
        .cast(pl.Int8)
    )
    return found.to_series().to_numpy()


def _by_name(spans: pl.DataFrame, keys: pl.DataFrame) -> pl.DataFrame:
    duration = pl.col("duration_ns")
    sums = spans.group_by("name_id").agg(
        span_count=pl.len().cast(pl.Int64),
        error_count=(pl.col("status") == "error").sum().cast(pl.Int64),
        lane_count=pl.col("lane").n_unique().cast(pl.Int64),
        total_ns=duration.sum(),
        self_ns=pl.col("self_ns").sum(),
        # In the order of size, so that the sum does not depend on the order of spans.
        wall_ns=pl.col("wall_ns").sort().sum(),
        mean_ns=duration.sum() / pl.len(),
        p50_ns=duration.quantile(0.5, interpolation="linear"),
        p95_ns=duration.quantile(0.95, interpolation="linear"),
    )
    # In the order of the keys, which is that of their numbers.
    return keys.join(sums, on="name_id", how="left", maintain_order="left").select(*KEY, pl.all().exclude(*KEY))


def call_paths(
    name_ids: pl.Series, depth: NDArray[np.int32], parents: NDArray[np.int64]
) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """Call paths and the path_id of each span: two are on one path if their names and those above agree.

    Paths have path_id, parent_id, name_id and depth, and are numbered level by level.
    """
    names = name_ids.to_numpy().astype(np.int64)
    width = int(names.max(initial=0)) + 1
    path = np.full(names.size, -1, dtype=np.int64)
    levels = [pl.DataFrame(schema=_PATH_TYPES)]
    first = 0
    order = np.argsort(depth, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(depth[order])) + 1) if order.size else ():
        above = np.where(parents[places] >= 0, path[parents[places]], -1)
        pairs, numbers = np.unique((above + 1) * width + names[places], return_inverse=True)
        path[places] = first + numbers
        level = {
            "path_id": np.arange(first, first + pairs.size),
            "parent_id": pairs // width - 1,
            "name_id": pairs % width,
            "depth": np.full(pairs.size, depth[places[0]]),
        }
        levels.append(pl.DataFrame(level, schema_overrides=_PATH_TYPES))
        first += pairs.size
    return pl.concat(levels), path


_PATH_TYPES = {"path_id": pl.Int64, "parent_id": pl.Int64, "name_id": pl.Int64, "depth": pl.Int32}


def _by_path(spans: pl.DataFrame, levels: pl.DataFrame) -> pl.DataFrame:
    sums = spans.group_by("path_id").agg(
        span_count=pl.len().cast(pl.Int64),
        total_ns=pl.col("duration_ns").sum(),
        self_ns=pl.col("self_ns").sum(),
        wall_ns=pl.col("wall_ns").sort().sum(),
    )
    return levels.join(sums, on="path_id", how="left", maintain_order="left")


def _repeats_of(spans: pl.DataFrame) -> tuple[RepeatKind, dict[str, int]]:
    """What was done again and again in the run: steps that the source marks, else samples that were asked."""
    is_mark = (pl.col("span_kind") == "step") & (pl.col("device") == "cpu")
    marks = spans.select("span_kind", "device", "step").filter(is_mark)["step"].drop_nulls().unique()
    if marks.len():
        return "step", dict.fromkeys(map(str, marks.sort().to_list()), 1)
    roots = spans.select("sample_id", "is_outermost").filter(pl.col("sample_id").is_not_null() & pl.col("is_outermost"))
    if roots.height:
        counts = roots.group_by(pl.col("sample_id").cast(pl.String)).len().sort("sample_id")
        return "sample", dict(counts.iter_rows())
    return "run", {}


def _by_repeat(spans: pl.DataFrame, kind: RepeatKind, grain: Literal["name_id", "path_id"]) -> pl.DataFrame:
    column = {"step": pl.col("step"), "sample": pl.col("sample_id"), "run": pl.lit(None, pl.String)}
    return (
        spans.lazy()
        .select(grain, "duration_ns", repeat_id=column[kind])
        .filter(pl.col("repeat_id").is_not_null())
        .group_by("repeat_id", grain)
        .agg(total_ns=pl.col("duration_ns").sum())
        .with_columns(pl.col("repeat_id").cast(pl.String))
        .collect()
    )
