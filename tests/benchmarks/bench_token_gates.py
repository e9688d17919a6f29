"""Do the gates of token divergence tell harmless settings from harmful ones? docs/token-divergence.md rests on this.

The embedded 135 M model answers part of the starter suite greedily; then it is given these tokens under settings whose
effect is known (`bench_near_ties.settings`), beside itself as it comes. Printed for each: the mean divergence between
its bounds, the band, the share of positions with another likeliest token, and the verdicts of the three metrics at
the margins of `GATES`. Then the shares of shifts in recorded runs of another day (data of METHODS, where it is there).
Skipped where the extra `local` is not installed; some four minutes on two cores.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from lake.tables import contract_of
from pipelines.evidence.band_texts import kl_words
from pipelines.evidence.forced_divergence import SCORED_COLUMNS, band_rows, band_words, forced_rows
from pipelines.evidence.forced_steps import token_evidence
from pipelines.evidence.gates import judge
from pipelines.evidence.policy import Gate
from pipelines.evidence.token_divergence import measure_pairs
from pipelines.evidence.token_scoring import RecordedOutput, score_output
from pipelines.runs.suites import parse_suite
from tests.benchmarks import bench_near_ties
from tests.benchmarks.bench_near_ties import NEEDED, SUITE, Setting, answers, opened, settings
from tests.evidence.rows import beside
from tests.evidence.tokens import DAY, pair_rows

PROMPTS = 24
TOP_K = 256
GATES = tuple(
    Gate(name=metric, family="token_divergence", metric=metric, margin=margin, minimum_n=20)
    for metric, margin in (("mean_kl", 0.02), ("other_top_ratio", 0.06), ("shift_ratio", 0.25))
)


def main() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"skipped: {', '.join(missing)} is not installed (extra local)")
        return
    wanted = sys.argv[1:] or list(settings())
    prompts = [(sample.id, sample.prompt) for sample in parse_suite(SUITE.read_text(), source=str(SUITE)).samples]
    prompts = prompts[:: len(prompts) // PROMPTS][:PROMPTS]
    bench_near_ties.SAMPLING = bench_near_ties.SamplingParameters(max_output_tokens=32, top_k_logprobs=10)
    with tempfile.TemporaryDirectory() as folder, opened(Setting(is_harmless=True), Path(folder)) as reference:
        baseline = answers(Setting(is_harmless=True), prompts, "b", Path(folder))
        print(f"{len(prompts)} prompts, up to 32 tokens, lists of {TOP_K}")
        print(f"{'setting':<24}{'band':<10}{'same top':>9}{'shifts':>8}   " + "".join(f"{g.metric:<18}" for g in GATES))
        for name in wanted:
            setting = settings()[name]
            candidate = answers(setting, prompts, "a", Path(folder))
            with opened(setting, Path(folder)) as backend:
                scored = score(prompts, baseline, backend, reference)
            print(f"{name:<24}{line(prompts, baseline, candidate, scored)}", flush=True)


def score(prompts: list[tuple[str, str]], tokens: pl.DataFrame, backend: Any, reference: Any) -> pl.DataFrame:
    """Rows of `silver.scored_tokens`."""
    texts, rows = dict(prompts), []
    for row in tokens.to_dicts():
        output = RecordedOutput.of({**row, "prompt": texts[row["sample_id"]]}, limit=512)
        found = score_output(output, backend, reference, top_k=TOP_K)
        rows.append({"scoring_id": "s", "sample_id": row["sample_id"], "repeat_index": 0, **found})
    types = {name: kind for name, kind in contract_of("silver.scored_tokens").dtypes.items() if name in rows[0]}
    return pl.DataFrame(rows, schema=types).select(SCORED_COLUMNS)


def line(prompts: list[tuple[str, str]], baseline: pl.DataFrame, candidate: pl.DataFrame, scored: pl.DataFrame) -> str:
    matched = pl.DataFrame({
        "comparison_id": ["c"], "run_date": [DAY], "suite": ["starter"], "candidate_run_id": ["a"],
        "baseline_run_id": ["b"], "scoring_id": ["s"],
    })  # fmt: skip
    pairs = pair_rows(*(sample_id for sample_id, _ in prompts), candidate_finish_reason="length")
    divergences = measure_pairs(pairs, pl.concat([baseline, candidate])).divergences
    evidence = token_evidence(divergences, forced_rows(matched, scored)).drop("comparison_id")
    outputs = beside([{} for _ in prompts]).with_columns(pl.Series("sample_id", [key for key, _ in prompts]))
    outputs = outputs.with_columns(pl.col("repeat_index").cast(pl.Int32))
    outputs = outputs.join(evidence, on=["sample_id", "repeat_index"], how="left")
    band = band_rows(matched, scored).row(0, named=True)
    shifts = divergences.filter(divergence_kind="distribution_shift").height
    verdicts = "".join(f"{judge(gate, outputs).verdict:<18}" for gate in GATES)
    return f"{band_words(band):<10}{band['same_top_ratio']:>9.3f}{shifts:>8}   {verdicts} {kl_words(band)}"


if __name__ == "__main__":
    main()
