"""The step that finds where the tokens of two runs part, into `gold.token_divergences` and `gold.token_positions`.

What belongs here: reading and writing in batches of bounded size. What is computed is `token_divergence.py`.

Tokens are far heavier than texts, so a batch is cut by how many tokens it holds, also within one comparison. Of each
batch the divergences are written first and removed last: positions never stand without them, so whoever looks for what
is left over has to look at one table alone.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from lake.predicates import KeyRange, Slice, polars_predicate
from lake.store import Lake, WriteResult
from lake.tables import contract_of
from pipelines.evidence.comparisons import comparable_pairs
from pipelines.evidence.policy import Policy
from pipelines.evidence.reading import DIVERGENCES, OUTPUTS, POSITIONS, RUNS, TOKENS, read_plan
from pipelines.evidence.rewriting import WHOLE, EvidenceResult, Mode, comparisons_slice, unmarked
from pipelines.evidence.slices import comparison_chunks, dates_slice, runs_slice
from pipelines.evidence.token_arrays import SIDES, TOKEN_COLUMNS
from pipelines.evidence.token_divergence import Measurement, measure_pairs

# Tokens of both sides that are read at once: with twenty alternatives each they take a gigabyte.
BATCH_TOKENS = 1_500_000
# An output that does not say how many tokens it has.
_UNKNOWN_TOKENS = 512

_READ_OUTPUTS = (
    "run_id", "sample_id", "repeat_index", "prompt_digest", "status", "finish_reason", "output_token_count",
)  # fmt: skip
_READ_TOKENS = ("run_id", "sample_id", "repeat_index", *TOKEN_COLUMNS)


def measure_token_divergence(
    lake: Lake, policy: Policy, run_dates: Sequence[dt.date], *, mode: Mode = "changed"
) -> EvidenceResult:
    """Measure every planned comparison of these run dates; before `compare_runs`, which marks it.

    The result is that of `gold.token_divergences`.
    """
    versions = lake.versions([RUNS, OUTPUTS, TOKENS])
    plan, runs = read_plan(lake, policy, run_dates, version=versions[RUNS])
    keys = ["comparison_id", "run_date"]
    standing = lake.read(DIVERGENCES, columns=keys, where=dates_slice(run_dates)).unique()
    todo = unmarked(lake, plan, run_dates, mode=mode)
    gone = standing.join(plan, on=keys, how="anti")
    results: list[WriteResult] = []
    rows_read = 0
    for chunk in comparison_chunks(todo, runs):
        for part, measured, count in measure_parts(lake, chunk, runs, versions=versions):
            rows_read += count
            where = {**comparisons_slice(chunk), **part}
            results.append(lake.replace(DIVERGENCES, measured.divergences, where=where))
            lake.replace(POSITIONS, measured.positions, where=where)
    for chunk in comparison_chunks(gone, {}):
        lake.replace(POSITIONS, contract_of(POSITIONS).empty(), where=comparisons_slice(chunk))
        results.append(lake.replace(DIVERGENCES, contract_of(DIVERGENCES).empty(), where=comparisons_slice(chunk)))
    return EvidenceResult(
        table=DIVERGENCES,
        version=results[-1].version if results else lake.version(DIVERGENCES),
        computed_count=todo.height,
        skipped_count=plan.join(todo, on=keys, how="anti").height,
        removed_count=gone.height,
        rows_read=rows_read,
        rows_written=sum(result.rows_written for result in results),
        rows_rejected=sum(result.rows_rejected for result in results),
    )


def measure_parts(
    lake: Lake, chunk: pl.DataFrame, runs: Mapping[str, Mapping[str, Any]], *, versions: Mapping[str, int]
) -> Iterator[tuple[Slice, Measurement, int]]:
    """Measure planned comparisons in parts of bounded size: samples, what was found, and how many rows were read.

    `versions` are those of `silver.outputs` and `silver.output_tokens`.
    """
    outputs = lake.read(OUTPUTS, columns=_READ_OUTPUTS, where=runs_slice(chunk), at=versions[OUTPUTS])
    rows_read = outputs.height
    for part, paired in _batches(_with_facts(comparable_pairs(chunk, runs, outputs), runs)):
        tokens = lake.read(TOKENS, columns=_READ_TOKENS, where={**runs_slice(chunk), **part}, at=versions[TOKENS])
        yield part, measure_pairs(paired, tokens), rows_read + tokens.height
        rows_read = 0


def _with_facts(pairs: pl.DataFrame, runs: Mapping[str, Mapping[str, Any]]) -> pl.DataFrame:
    """The pairs with the tokenizer and the logprobs mode of both their runs, as far as somebody recorded them."""
    fingerprints = {run_id: run["fingerprint"] or {} for run_id, run in runs.items()}
    for side in SIDES:
        facts = {
            f"{side}_{fact}": [fingerprint.get(fact) for fingerprint in fingerprints.values()]
            for fact in ("tokenizer", "logprobs_mode")
        }
        known = pl.DataFrame(
            {f"{side}_run_id": list(fingerprints), **facts},
            schema=dict.fromkeys([f"{side}_run_id", *facts], pl.String),
        )
        pairs = pairs.join(known, on=f"{side}_run_id", how="left", maintain_order="left")
    return pairs


def _batches(pairs: pl.DataFrame) -> Iterator[tuple[Slice, pl.DataFrame]]:
    """The pairs in ranges of sample ids of about `BATCH_TOKENS` tokens; together the ranges hold every sample id."""
    counts = [pl.col(f"{side}_output_token_count").fill_null(_UNKNOWN_TOKENS) for side in SIDES]
    sizes = pairs.group_by("sample_id").agg(pl.sum_horizontal(counts).sum().alias("size")).sort("sample_id")
    batch = (pl.col("size").cum_sum() - 1) // BATCH_TOKENS
    firsts = sizes.group_by(batch.alias("batch"), maintain_order=True).agg(pl.col("sample_id").first())
    cuts = firsts["sample_id"].to_list()[1:]
    if not cuts:
        yield WHOLE, pairs
        return
    for start, stop in zip([None, *cuts], [*cuts, None], strict=True):
        part: Slice = {"sample_id": KeyRange(start=start, stop=stop)}
        yield part, pairs.filter(polars_predicate(part))
