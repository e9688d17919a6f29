"""Parts of reports, each from rows of one room; None where there is nothing to tell.

What belongs here: choosing columns and words. Reading for whole reports is `contents.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from pipelines.evidence.charts import latency_chart
from pipelines.evidence.render import REWRITTEN_BELOW, head_of
from pipelines.evidence.segments import Segment, around_edits, readable_segments
from pipelines.experiments.curve_charts import curve_chart
from pipelines.experiments.decision_texts import check_sentence
from pipelines.experiments.reports.blocks import (
    Block,
    Code,
    Paragraph,
    Picture,
    Section,
    SideBySide,
    Span,
    SpanKind,
    shortened,
    table_of,
)
from pipelines.experiments.run_diff import RunDiff
from pipelines.experiments.run_diff_texts import metric_frame, output_frame, setting_frame

_MAX_CURVES = 6


def gate_section(verdicts: pl.DataFrame) -> Section:
    """Every verdict with its numbers, failures first; rows of `list_verdicts`."""
    if verdicts.is_empty():
        told = "Nothing was judged: no run has a baseline under the policy. That is no pass."
        return Section(title="Gates", anchor="gates", blocks=(Paragraph(text=told),))
    counts = dict(verdicts["verdict"].value_counts().sort("verdict").iter_rows())
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    shown = verdicts.select(
        "verdict",
        gate=pl.concat_str("gate", pl.lit(", "), "severity", pl.lit("s")),
        comparison=pl.concat_str("candidate", pl.lit(" against "), "baseline", pl.lit(" in "), "suite"),
        pairs="sample_count",
        why=pl.col("reasons").list.join(" "),
    )
    table = table_of(shown, tone_column="verdict")
    return Section(title="Gates", anchor="gates", blocks=(Paragraph(text=f"{told}."), table))


def run_section(runs: pl.DataFrame) -> Section | None:
    """What ran; rows of `list_runs`."""
    if runs.is_empty():
        return None
    shown = runs.select(
        pl.col("run_id").str.head(8).alias("run"),
        "suite",
        "backend",
        "model",
        "status",
        outputs="output_count",
        failed="failed_count",
        score="mean_score",
        latency_ms="median_latency_ms",
        commit=pl.col("commit").str.head(10),
    )
    return Section(title="Runs", anchor="runs", blocks=(table_of(shown),))


def pair_section(pairs: pl.DataFrame, *, total: int | None = None) -> Section:
    """Outputs beside each other with what differs marked; rows of `telling.most_different_pairs`."""
    if pairs.is_empty():
        return Section(title="Outputs", anchor="outputs", blocks=(Paragraph(text="No outputs differ."),))
    more = f"{pairs.height} of {total} pairs that differ, the most telling first." if total else ""
    blocks: list[Block] = [Paragraph(text=more)] if more else []
    blocks.extend(map(side_by_side, pairs.iter_rows(named=True)))
    return Section(title="Outputs", anchor="outputs", blocks=tuple(blocks))


def side_by_side(row: Mapping[str, Any]) -> SideBySide:
    """One pair; an answer that was rewritten is shown without marks, which would help nobody."""
    texts = (row["baseline_output"], row["candidate_output"])
    is_rewritten = (row["similarity_ratio"] or 0.0) < REWRITTEN_BELOW
    segments = [] if is_rewritten else readable_segments(texts[0] or "", texts[1] or "")
    kind = (row["change_kind"] or "").replace("_", " ")
    similarity = "" if row["similarity_ratio"] is None else f", {row['similarity_ratio']:.0%} alike"
    repeat = f", repeat {row['repeat_index']}" if row["repeat_index"] else ""
    return SideBySide(
        title=f"{row['sample_id']}{repeat} in {row['suite']}: {kind}{similarity}",
        heads=(head_of(row, "baseline"), head_of(row, "candidate")),
        sides=tuple(
            shortened([Span(text=text, kind="kept")] if is_rewritten and text else _spans(segments, place))
            if text is not None
            else ()
            for place, text in enumerate(texts)
        ),  # type: ignore[arg-type]
    )


def _spans(segments: Sequence[Segment], place: int) -> list[Span]:
    kinds: Mapping[str, SpanKind] = {"kept": "kept", "moved": "moved", "edited": "added" if place else "removed"}
    spans = []
    for index, segment in enumerate(segments):
        text = segment.candidate if place else segment.baseline
        if segment.kind == "kept":
            text = around_edits(text, is_first=index == 0, is_last=index == len(segments) - 1)
        if text:
            spans.append(Span(text=text, kind=kinds[segment.kind]))
    return spans


def token_section(parted: pl.DataFrame, counts: pl.DataFrame) -> Section | None:
    """Where the tokens part, the token marked; rows of `list_parted_pairs` and `count_divergences`."""
    if counts.is_empty():
        return None
    words = counts.with_columns(pl.col("divergence_kind", "reason").str.replace_all("_", " "))
    blocks: list[Block] = [table_of(words.rename({"divergence_kind": "kind", "pair_count": "pairs"}))]
    for row in parted.iter_rows(named=True):
        shift = row["log_odds_shift"]
        moved = "" if shift is None else f", the odds moved by {shift:.3g} nats"
        kind = row["divergence_kind"].replace("_", " ")
        blocks.append(
            SideBySide(
                title=f"{row['sample_id']} in {row['suite']}: {kind} at position "
                f"{row['first_divergence_index']}{moved}",
                heads=(head_of(row, "baseline"), head_of(row, "candidate")),
                sides=(_token_spans(row, "baseline"), _token_spans(row, "candidate")),
            )
        )
    return Section(title="Tokens", anchor="tokens", blocks=tuple(blocks))


def _token_spans(row: Mapping[str, Any], side: str) -> tuple[Span, ...]:
    token = row[f"{side}_token"]
    spans = (
        Span(text=row[f"{side}_before"][-400:], kind="kept"),
        Span(text="(ends here)" if token is None else token, kind="token"),
        Span(text=row[f"{side}_after"][:400], kind="kept"),
    )
    return tuple(span for span in spans if span.text)


def latency_section(latencies: pl.DataFrame, *, title: str) -> Section | None:
    """A picture of both runs' latencies; rows of `read_latencies` of one comparison."""
    if latencies.filter(pl.col("latency_ms") > 0).is_empty():
        return None
    picture = Picture(svg=latency_chart(latencies, title=title), alt="latency of both runs")
    return Section(title="Latency", anchor="latency", blocks=(picture,))


def contingency_section(rows: pl.DataFrame) -> Section | None:
    """Who is right: both, one side alone, neither; rows of gold.contingencies."""
    if rows.is_empty():
        return None
    shown = rows.sort("slice_kind", "slice_value", "scorer").select(
        "scorer",
        pl.concat_str(pl.col("slice_kind").str.replace_all("_", " "), "slice_value", separator=" ").alias("slice"),
        both_right="both_right_count",
        only_candidate="candidate_only_count",
        only_baseline="baseline_only_count",
        both_wrong="both_wrong_count",
        pairs="pair_count",
    )
    return Section(title="Right and wrong", anchor="contingency", blocks=(table_of(shown),))


def comparison_sections(diff: RunDiff) -> list[Section]:
    """Metrics, settings, curves and outputs of runs side by side, and all of them again for experts."""
    metrics, settings = metric_frame(diff, view="summary"), setting_frame(diff, view="summary")
    none_differs = (Paragraph(text="No metric is better or worse."),), (Paragraph(text="No setting differs."),)
    sections = [
        Section(title="Metrics", anchor="metrics", blocks=(table_of(metrics),) if metrics.height else none_differs[0]),
        Section(
            title="Settings", anchor="settings", blocks=(table_of(settings),) if settings.height else none_differs[1]
        ),
        Section(title="Outputs counted", anchor="counts", blocks=(table_of(output_frame(diff)),)),
    ]
    names = list(dict.fromkeys((curve.metric, curve.variant) for curve in diff.curves))
    pictures = [
        Picture(
            svg=curve_chart([curve for curve in diff.curves if (curve.metric, curve.variant) == name], runs=diff.runs),
            alt=f"{name[0]} over steps",
        )
        for name in names[:_MAX_CURVES]
    ]
    if pictures:
        sections.append(Section(title="Curves", anchor="curves", blocks=tuple(pictures)))
    everything = (
        table_of(metric_frame(diff, view="expert")),
        table_of(setting_frame(diff, view="expert")),
    )
    sections.append(Section(title="All metrics and settings", anchor="all", blocks=everything, is_expert=True))
    return sections


def scenario_section(results: pl.DataFrame) -> Section | None:
    """What the scenarios say and what moved; rows of gold.scenario_results."""
    if results.is_empty():
        return None
    shown = results.select("name", "headline", moved="movement_count")
    return Section(title="Scenarios", anchor="scenarios", blocks=(table_of(shown),))


def decision_section(checks: pl.DataFrame) -> Section | None:
    """Whether decisions keep what they promised; rows of gold.decision_checks."""
    if checks.is_empty():
        return None
    rows = [
        {
            "verdict": row["verdict"],
            "decision": row["title"],
            "found": check_sentence(row),
            "id": row["decision_id"][:8],
        }
        for row in checks.iter_rows(named=True)
    ]
    table = table_of(pl.DataFrame(rows), tone_column="verdict")
    return Section(title="Decisions", anchor="decisions", blocks=(table,))


def command_block(*commands: str) -> Code:
    """Commands to copy, one a line."""
    return Code(text="\n".join(commands))
