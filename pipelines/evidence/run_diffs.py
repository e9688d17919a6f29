"""The outputs of any two runs beside each other, whether a policy pairs them or not.

What belongs here: reading two runs and telling what differs, for people who ask. What a policy asks for is computed by
`steps.py` and stands in `gold`; the rules are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import polars.selectors as cs

from lake.errors import UserError
from lake.store import Lake
from pipelines.evidence.change_kinds import TELLING_ORDER
from pipelines.evidence.comparability import fatal_differences
from pipelines.evidence.comparisons import DIFFED_COLUMNS, diff_comparisons, pair_outputs
from pipelines.evidence.contingencies import count_right, flips_of, judge_right
from pipelines.evidence.reading import OUTPUTS
from pipelines.evidence.telling import in_telling_order

_PAIR = ["sample_id", "repeat_index"]
_SHOWN = ("run_id", *_PAIR, "output", "status", "error_message", "scores", "reference")
_UNSTORED = "ad hoc"


@dataclass(frozen=True, kw_only=True)
class RunDifferences:
    """What differs between two runs.

    `pairs` are rows of `gold.output_diffs` in telling order, flips first within a kind, with suite, reference, both
    sides' backend, output, status, error_message and scores, and `flips`: a list of scorer, flip, candidate_score,
    baseline_score. `contingencies` are rows of `gold.contingencies`. With `reasons` the runs cannot be compared, and
    there are no pairs.
    """

    candidate: Mapping[str, Any]
    baseline: Mapping[str, Any]
    reasons: tuple[str, ...]
    pairs: pl.DataFrame
    contingencies: pl.DataFrame

    @property
    def kinds(self) -> dict[str, int]:
        """How many pairs there are of each kind, the most telling kind first."""
        counts = dict(self.pairs["change_kind"].value_counts().iter_rows())
        return {kind: counts[kind] for kind in TELLING_ORDER if kind in counts}


def diff_runs(
    lake: Lake, *, candidate: Mapping[str, Any], baseline: Mapping[str, Any], sample_id: str | None = None
) -> RunDifferences:
    """Diff two rows of `silver.runs`, all samples or one; raises `UserError` for a sample that not both have."""
    plan = _plan(candidate, baseline)
    runs = {run["run_id"]: run for run in (candidate, baseline)}
    where: dict[str, Any] = {
        "run_date": sorted({candidate["run_date"], baseline["run_date"]}),
        "run_id": sorted(runs),
    }
    wanted = where if sample_id is None else where | {"sample_id": sample_id}
    columns = dict.fromkeys((*DIFFED_COLUMNS, *_SHOWN, "tags"))
    outputs = lake.read(OUTPUTS, columns=list(columns), where=wanted)
    reasons = tuple(fatal_differences(candidate["fingerprint"], baseline["fingerprint"]))
    diffs = diff_comparisons(plan, runs, outputs.select(DIFFED_COLUMNS))
    if sample_id is not None and diffs.is_empty() and not reasons:
        both = pair_outputs(plan, lake.read(OUTPUTS, columns=["run_id", *_PAIR], where=where))
        known = both["sample_id"].unique()
        raise UserError.unknown("sample that both runs have", sample_id, known, none="They have no sample in common.")
    sides = pair_outputs(plan, outputs.select(_SHOWN)).with_columns(
        reference=pl.coalesce("candidate_reference", "baseline_reference")
    )
    texts = sides.drop("comparison_id", "run_date", "candidate_run_id", "baseline_run_id", cs.ends_with("_reference"))
    pairs = diffs.join(texts, on=_PAIR, how="left", maintain_order="left")
    return RunDifferences(
        candidate=candidate,
        baseline=baseline,
        reasons=reasons,
        pairs=_with_flips(pairs).with_columns(
            suite=pl.lit(candidate["suite"]),
            candidate_backend=pl.lit(candidate["backend"]),
            baseline_backend=pl.lit(baseline["backend"]),
        ),
        contingencies=count_right(plan, runs, outputs),
    )


def against_reference(pairs: pl.DataFrame) -> pl.DataFrame:
    """Two rows for each pair that has a reference, one a side: the reference in place of the baseline.

    `change_kind` becomes how the output relates to the reference, `similarity_ratio` how much they have in common.
    """
    referred = pairs.filter(pl.col("reference").is_not_null()).with_row_index("place")
    sides = [
        referred.with_columns(
            side=pl.lit(side),
            change_kind=pl.concat_str(pl.lit(f"{side} "), pl.col(f"{side}_reference_relation").fill_null("identical")),
            similarity_ratio=pl.col(f"{side}_reference_similarity_ratio"),
            baseline_head=pl.lit("reference"),
            candidate_head=pl.concat_str(pl.lit(f"{side}: "), pl.col(f"{side}_backend")),
            baseline_output=pl.col("reference"),
            candidate_output=pl.col(f"{side}_output"),
            candidate_status=pl.col(f"{side}_status"),
            candidate_error_message=pl.col(f"{side}_error_message"),
        )
        for side in ("baseline", "candidate")
    ]
    return pl.concat(sides).sort("place", "side").drop("place", "side")


def _plan(candidate: Mapping[str, Any], baseline: Mapping[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "comparison_id": [_UNSTORED],
            "suite": [candidate["suite"]],
            "run_date": [candidate["run_date"]],
            "candidate_run_id": [candidate["run_id"]],
            "baseline_run_id": [baseline["run_id"]],
            "input_digest": [_UNSTORED],
        }
    )


def _with_flips(pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs in telling order with what flipped; within a kind the lost first, then the gained."""
    told = ("scorer", "flip", "candidate_score", "baseline_score")
    flips = flips_of(judge_right(pairs)).sort("scorer")
    key = ["comparison_id", *_PAIR]
    listed = flips.group_by(key).agg(flips=pl.struct(told), rank=(pl.col("flip") == "gained").all().cast(pl.Int8))
    kinds = pl.col("change_kind").replace_strict({kind: place for place, kind in enumerate(TELLING_ORDER)})
    return (
        in_telling_order(pairs)
        .join(listed, on=key, how="left", maintain_order="left")
        .sort(kinds, "rank", maintain_order=True, nulls_last=True)
        .drop("rank")
    )
