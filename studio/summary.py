"""The last lines of a night: what ran, what differs, what was judged, and where to look."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING

import polars as pl

from pipelines.evidence.listing import list_verdicts
from pipelines.evidence.steps import night_summary
from pipelines.runs.listing import list_runs
from pipelines.trends.listing import trend_night
from studio.rendering import print_table, printable

if TYPE_CHECKING:
    from resources.installation import Installation


def print_night(installation: Installation, *, date: dt.date, seconds: float, page: str) -> None:
    """Print runs, differing outputs, verdicts, time and the command that opens the UI."""
    lake = installation.lake
    runs = list_runs(lake, limit=1_000).filter(pl.col("run_date") == date)
    comparisons = lake.read("gold.run_comparisons", where={"run_date": date})
    print_table(
        # What the night asked first, then what an optimisation asked beside it.
        readable_runs(runs.sort(pl.col("tags").str.contains("optimization", literal=True), maintain_order=True)),
        title=f"Runs of {date} (score: mean; latency: median)",
    )
    print_table(
        comparisons.select(
            "pairing",
            "comparability",
            pairs="paired_sample_count",
            differ="changed_count",
            content="content_count",
            similarity="mean_similarity_ratio",
        ),
        title="Outputs that differ",
    )
    print_verdicts(list_verdicts(lake, dates=[date]), title=f"Gates of {date}")
    for run in runs.filter(pl.col("status") == "error").iter_rows(named=True):
        sys.stdout.write(f"{run['backend']} did not run: {printable(run['error_message'] or 'no reason given')}\n")
    rejects = lake.row_count("bronze.rejects")
    night = night_summary(lake, [date], installation.policy)
    sys.stdout.write(
        f"{night.run_count} runs, {night.sample_count} samples, {night.differing_count} of {night.pair_count} pairs "
        f"differ, {rejects} rejects, {seconds:.0f} s.\n"
        f"{_tokens(night.divergences)}{_bands(installation, date)}{trend_night(lake, date).headline}\n"
        "Ask:   .venv/bin/benchlake gate\n"
        f"Look:  make ui   then open {page}\n"
        f"{_report(installation, date)}"
    )


def _report(installation: Installation, date: dt.date) -> str:
    """Where the night's report is; nothing when it could not be written."""
    path = installation.state.reports / date.isoformat() / "night.html"
    if not path.exists():
        return ""
    is_below = path.is_relative_to(installation.folder)
    return f"Read:  {path.relative_to(installation.folder) if is_below else path}\n"


def _tokens(divergences: pl.DataFrame) -> str:
    """One line on where tokens part; nothing where no pair has any."""
    if divergences.is_empty():
        return ""
    by_kind = divergences.group_by("divergence_kind").agg(pl.col("pair_count").sum())
    counts = dict(by_kind.iter_rows())
    total, open_count = sum(counts.values()), counts.get("inconclusive", 0) + counts.get("incomparable", 0)
    near_ties, shifts = counts.get("near_tie_flip", 0), counts.get("distribution_shift", 0)
    return (
        f"Tokens: {total - counts.get('identical', 0)} of {total} pairs part, {near_ties} at a near tie, {shifts} by a "
        f"shifted distribution, {open_count} open.\n"
    )


def _bands(installation: Installation, date: dt.date) -> str:
    """A line for each comparison whose baseline's tokens the candidate's backend was given."""
    from pipelines.evidence.band_texts import band_headline

    lake = installation.lake
    bands = lake.read("gold.divergence_bands", where={"run_date": date})
    ids = [*bands["candidate_run_id"], *bands["baseline_run_id"]]
    names = dict(lake.read("silver.runs", columns=["run_id", "backend"], where={"run_id": ids}).iter_rows())
    lines = []
    for row in bands.sort("comparison_id").iter_rows(named=True):
        sides = [names.get(row[f"{side}_run_id"], "a run") for side in ("candidate", "baseline")]
        lines.append(printable(f"Given the same tokens, {sides[0]} beside {sides[1]} is {band_headline(row)}.") + "\n")
    return "".join(lines)


def readable_runs(runs: pl.DataFrame) -> pl.DataFrame:
    """Rows of `list_runs` with the columns that fit a terminal; of an optimisation's runs, which program was asked."""
    tags = pl.col("tags").str.split(", ")
    others = tags.list.set_difference(["optimization"]).list.sort().list.join(", ")
    is_of_optimization = tags.list.contains("optimization") & (others != "")
    return runs.select(
        pl.when(is_of_optimization).then(pl.format("{} ({})", "suite", others)).otherwise("suite").alias("suite"),
        "backend",
        "status",
        outputs="output_count",
        failed="failed_count",
        score="mean_score",
        latency_ms="median_latency_ms",
    )


def listed_runs(runs: pl.DataFrame) -> pl.DataFrame:
    """Rows of `list_runs` with what names them, two lines a run; a star marks a baseline."""
    star = pl.when("is_baseline").then(pl.lit(" *")).otherwise(pl.lit(""))
    failed = pl.when(pl.col("failed_count") > 0).then(pl.format("\n{} failed", "failed_count")).otherwise(pl.lit(""))
    return runs.select(
        (pl.col("run_id").str.head(8) + star + "\n" + pl.col("run_date").cast(pl.String)).alias("run"),
        pl.format("{}\n{}", "suite", "backend").alias("suite, backend"),
        "status",
        (pl.col("output_count").cast(pl.String) + failed).alias("outputs"),
        pl.col("mean_score").alias("score"),
        pl.col("median_latency_ms").alias("latency_ms"),
        pl.col("tags"),
    )


def print_verdicts(verdicts: pl.DataFrame, *, title: str) -> None:
    """Print rows of `list_verdicts` as a table that fits a terminal, and under it why some did not pass."""
    print_table(_gates(verdicts), title=f"{title} (effect of candidate against baseline)")
    for row in verdicts.filter(pl.col("verdict") != "pass").iter_rows(named=True):
        sys.stdout.write(f"{row['gate']}: {row['verdict']}. {printable(' '.join(row['reasons']))}\n")


def _gates(verdicts: pl.DataFrame) -> pl.DataFrame:
    low, high = _short("interval_low"), _short("interval_high")
    return verdicts.select(
        "verdict",
        pl.format("{}\n{}s", "gate", "severity").alias("gate"),
        pl.format("{}\nvs {}", "candidate", "baseline").alias("candidate"),
        pl.format("{}\n{} to {}", _short("effect"), low, high).alias("effect"),
        pl.format("{}\n{}", _short("margin"), pl.col("unit")).alias("margin"),
        pl.col("sample_count").alias("n"),
    )


def _short(name: str) -> pl.Expr:
    return pl.col(name).round_sig_figs(3).cast(pl.String).fill_null("-")
