"""What the Dagster UI shows of a gate and of the comparisons it judged: the check, pictures, and where to read on.

Pure but for `read_beside`, which collects what is shown. Tables of single rows are `presentation.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import polars as pl

from assets.presentation import contingency_table, verdicts_with_evidence
from assets.tables import asset_key
from lake.store import Lake
from pipelines.drawing import as_markdown_image
from pipelines.evidence.charts import latency_chart
from pipelines.evidence.latencies import TimedMetric, read_latencies
from pipelines.evidence.parted_pairs import list_parted_pairs
from pipelines.evidence.policy import Gate, Policy
from pipelines.evidence.render_tokens import parted_side_by_side
from pipelines.evidence.telling import most_different_pairs
from pipelines.runs.repository_pages import commit_page, repository_page

SHOWN_PAIRS = 10
# Each picture is some 30 kB of the event that Dagster stores.
SHOWN_CHARTS = 3
SHOWN_DIVERGENCES = 3

_SIDES = ("candidate", "baseline")
_WORST_FIRST = ("fail", "inconclusive", "pass")
# Where the rows behind a gate of each family are.
_READ_ON = {
    "score_parity": ("gold.contingencies", "gold.output_diffs"),
    "latency_regression": ("gold.run_comparisons",),
    "failure_rate": ("gold.output_diffs",),
    "token_divergence": ("gold.token_divergences",),
}
# A gate of these says nothing about what was answered.
_WITHOUT_TOKENS = frozenset({"latency_regression", "failure_rate"})
_READ_ON_ALWAYS = ("gold.run_comparisons",)


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What is shown beside the verdicts of some run dates.

    `pairs` are rows of `most_different_pairs`, `parted` of `list_parted_pairs`, `contingencies` of
    `gold.contingencies`; `charts` is Markdown by timed metric and comparison id.
    """

    pairs: pl.DataFrame
    parted: pl.DataFrame
    contingencies: pl.DataFrame
    charts: Mapping[tuple[str, str], str]


def read_beside(lake: Lake, policy: Policy, verdicts: pl.DataFrame, run_dates: Sequence[dt.date]) -> Beside:
    """Collect what is shown beside `verdicts`, rows of `list_verdicts`."""
    timed = {gate.metric for gate in policy.gates if gate.family == "latency_regression"}
    return Beside(
        pairs=most_different_pairs(lake, run_dates, limit=SHOWN_PAIRS),
        parted=list_parted_pairs(lake, run_dates, limit=SHOWN_PAIRS),
        contingencies=lake.read("gold.contingencies", where={"run_date": list(run_dates), "slice_kind": "suite"}),
        charts={
            (metric, comparison_id): chart
            for metric in sorted(timed)
            for comparison_id, chart in draw_latencies(lake, _worst(verdicts), metric=metric).items()  # type: ignore[arg-type]
        },
    )


def draw_latencies(lake: Lake, comparisons: pl.DataFrame, *, metric: TimedMetric = "latency_ms") -> dict[str, str]:
    """A chart of both runs' latencies as Markdown, by comparison id, of the first few `comparisons`.

    `comparisons` has comparison_id, run_date, suite, candidate_run_id and baseline_run_id, the first to be drawn first.
    """
    shown = comparisons.head(SHOWN_CHARTS)
    if shown.is_empty():
        return {}
    latencies = read_latencies(lake, shown, metric=metric)
    known = {str(key[0]): rows for key, rows in latencies.group_by("comparison_id")}
    what = "time to first token" if metric == "time_to_first_token_ms" else "latency"
    return {
        row["comparison_id"]: as_markdown_image(
            latency_chart(known[row["comparison_id"]], title=f"{row['suite']}, {row['run_date']}", quantity=what),
            alt=f"{what} of both runs",
        )
        for row in shown.iter_rows(named=True)
        if row["comparison_id"] in known
    }


def gate_check(gate: Gate, verdicts: pl.DataFrame, beside: Beside, asset: dg.AssetKey) -> dg.AssetCheckResult:
    """The Dagster view of a gate: passed only if every comparison passed; undecided ones warn, failures may block."""
    own = verdicts.filter(pl.col("gate") == gate.name)
    counts = own["verdict"].value_counts(sort=True)
    has_failed = (own["verdict"] == "fail").any()
    return dg.AssetCheckResult(
        check_name=gate.name,
        asset_key=asset,
        passed=own.height > 0 and bool((own["verdict"] == "pass").all()),
        severity=dg.AssetCheckSeverity.ERROR if has_failed and gate.severity == "block" else dg.AssetCheckSeverity.WARN,
        description=", ".join(f"{count} {verdict}" for verdict, count in counts.iter_rows()) or "nothing was compared",
        metadata={
            "verdicts": dg.MetadataValue.md(_evidence(gate, own, beside)),
            # As text, because Dagster would plot numbers over time.
            "margin": f"{gate.margin} {gate.unit}" if gate.fixed_margin is not None else str(gate.margin),
            "comparisons": str(own.height),
            **_telling_effect(own),
            **{
                f"read on in {table}": dg.MetadataValue.asset(asset_key(table))
                for table in dict.fromkeys((*_READ_ON.get(gate.family, ()), *_READ_ON_ALWAYS))
            },
        },
    )


def _evidence(gate: Gate, own: pl.DataFrame, beside: Beside) -> str:
    """Verdicts, and under them what a reader of this family's verdicts wants to see, in one Markdown."""
    ids = own["comparison_id"].unique().implode()
    parts: list[str] = []
    if gate.family == "latency_regression":
        charts = (beside.charts.get((gate.metric, each)) for each in _worst(own)["comparison_id"])
        parts += [chart for chart in charts if chart]
    if gate.family == "score_parity":
        counted = beside.contingencies.filter(pl.col("comparison_id").is_in(ids))
        parts += [f"**Right and wrong**\n\n{contingency_table(counted)}"] if counted.height else []
    if gate.family not in _WITHOUT_TOKENS:
        parted = beside.parted.filter(pl.col("comparison_id").is_in(ids)).head(SHOWN_DIVERGENCES)
        parts += [f"**Where tokens part**\n\n{parted_side_by_side(parted)}"] if parted.height else []
    return verdicts_with_evidence(own, beside.pairs, beside.parted, between="\n\n".join(parts))


def code_links(comparisons: pl.DataFrame, runs: pl.DataFrame) -> str:
    """Markdown links to the commits of both runs of each comparison and to what lies between them.

    `runs` has run_id and code_version. Empty where no run says which repository it was made from.
    """
    versions = {row["run_id"]: row["code_version"] or {} for row in runs.to_dicts()}
    lines = (
        _code_line(row, *(versions.get(row[f"{side}_run_id"], {}) for side in ("candidate", "baseline")))
        for row in comparisons.sort("pairing", "comparison_id").iter_rows(named=True)
    )
    return "\n".join(dict.fromkeys(line for line in lines if line))


def _code_line(comparison: Mapping[str, Any], candidate: Mapping[str, Any], baseline: Mapping[str, Any]) -> str:
    links = [_commit_link(version) for version in (candidate, baseline)]
    if not any(links):
        return ""
    sides = [f"`{comparison[f'{side}_run_id'][:8]}` {link}" for side, link in zip(_SIDES, links, strict=True)]
    line = f"- {sides[0]} against {sides[1]}"
    page, other = (repository_page(version.get("repository_url")) for version in (candidate, baseline))
    if all(links) and page and page == other and candidate["commit"] != baseline["commit"]:
        line += f": [what lies between]({page}/compare/{baseline['commit']}...{candidate['commit']})"
    return line


def _commit_link(version: Mapping[str, Any]) -> str:
    commit = version.get("commit") or ""
    page = commit_page(version.get("repository_url"), commit)
    return f"[{commit[:8]}]({page}){' and changes' if version.get('is_dirty') else ''}" if page else ""


def _worst(verdicts: pl.DataFrame) -> pl.DataFrame:
    """The comparisons of the verdicts that have numbers, each once, the worst first."""
    rank = {verdict: place for place, verdict in enumerate(_WORST_FIRST)}
    known = verdicts.filter(pl.col("verdict").is_in(_WORST_FIRST))
    ordered = known.sort(pl.col("verdict").replace_strict(rank, return_dtype=pl.Int8), "comparison_id")
    return ordered.unique("comparison_id", keep="first", maintain_order=True)


def _telling_effect(own: pl.DataFrame) -> dict[str, float]:
    """Dagster plots numeric metadata over time; the effect of a failed comparison is worth plotting before others."""
    known = own.filter(pl.col("effect").is_not_null())
    worst_first = known.sort((pl.col("verdict") != "fail"), "comparison_id")
    return {"effect": float(worst_first["effect"][0])} if known.height else {}
