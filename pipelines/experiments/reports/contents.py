"""Whole reports read from the lake: a comparison of runs, a night, an optimisation run, a trend.

What belongs here: which parts a report has, its first sentence, and where it comes from. The parts are `sections.py`,
the forms `html.py`, `markdown.py` and `pdf.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from lake.store import Lake
from pipelines.evidence.ad_hoc import compare_two
from pipelines.evidence.change_kinds import DIFFED_KINDS
from pipelines.evidence.latencies import read_latencies
from pipelines.evidence.listing import list_verdicts
from pipelines.evidence.parted_pairs import count_divergences, list_parted_pairs
from pipelines.evidence.policy import Policy
from pipelines.evidence.telling import count_kinds, in_telling_order, most_different_pairs, with_texts
from pipelines.experiments.decision_checks import newest_checks
from pipelines.experiments.reading import COMPARED_TABLES, read_run_rows
from pipelines.experiments.reports.blocks import Paragraph, Picture, Report, Section, table_of
from pipelines.experiments.reports.sections import (
    comparison_sections,
    contingency_section,
    decision_section,
    gate_section,
    latency_section,
    pair_section,
    run_section,
    scenario_section,
    token_section,
)
from pipelines.experiments.run_diff import diff_runs
from pipelines.experiments.run_diff_texts import headline
from pipelines.experiments.steps import newest_results
from pipelines.optimization.charts import trial_chart
from pipelines.optimization.listing import read_trials, tell_outcome
from pipelines.optimization.steps import read_run
from pipelines.plain_texts import shown_number
from pipelines.runs.listing import list_runs
from pipelines.timelines.charts import waterfall_chart
from pipelines.timelines.listing import list_timeline_diffs
from pipelines.trends.listing import find_series, read_series
from pipelines.trends.pictures import draw_series

SHOWN_PAIRS = 12
_PINNED = (*COMPARED_TABLES, "gold.output_diffs", "gold.run_comparisons", "gold.token_divergences")
_TREND_COLUMNS = (
    "state", "direction", "suite", "backend", "metric", "variant", "before", "after", "unit", "change_ratio",
    "q_value", "first_commit", "last_commit", "is_sample",
)  # fmt: skip


def comparison_report(
    lake: Lake, policy: Policy, run_ids: Sequence[str], *, now: dt.datetime, version: str, commands: Sequence[str] = ()
) -> Report:
    """Runs side by side, the first of them the baseline; of two runs also what the gates say and which outputs differ.

    Raises `UserError` for a run that is not there.
    """
    rows = read_run_rows(lake, run_ids)
    diff = diff_runs(rows)
    sections: list[Section | None] = []
    if len(run_ids) == 2:  # noqa: PLR2004  # a pair has a candidate and a baseline
        baseline, candidate = rows.runs
        found = compare_two(lake, policy, candidate=candidate, baseline=baseline)
        sections.append(gate_section(found.verdicts))
        comparison = pl.DataFrame(
            [
                {
                    name: found.comparison[name]
                    for name in ("comparison_id", "run_date", "candidate_run_id", "baseline_run_id")
                }
            ]
        )
        sections.append(latency_section(read_latencies(lake, comparison), title=f"{candidate['suite']}"))
        sections.extend(comparison_sections(diff))
        differing = in_telling_order(found.diffs.filter(pl.col("change_kind").is_in(DIFFED_KINDS)))
        sections.append(pair_section(with_texts(lake, differing.head(SHOWN_PAIRS)), total=differing.height))
    else:
        sections.extend(comparison_sections(diff))
    names = ", ".join(dict.fromkeys(run.backend for run in diff.runs))
    return Report(
        title=f"Comparison of {len(diff.runs)} runs: {names}",
        summary=headline(diff),
        sections=tuple(section for section in sections if section is not None),
        provenance=_provenance(lake, now=now, version=version, policy=policy)
        + tuple((f"run {place + 1}", f"{run.run_id} ({run.backend}, {run.commit or 'commit unknown'})")
                for place, run in enumerate(diff.runs)),
        commands=tuple(commands),
    )  # fmt: skip


def night_report(
    lake: Lake, policy: Policy, date: dt.date, *, now: dt.datetime, version: str, commands: Sequence[str] = ()
) -> Report:
    """Everything about the runs of one date: verdicts, what differs, where tokens part, time, trends, promises."""
    runs = list_runs(lake, limit=1_000).filter(pl.col("run_date") == date)
    verdicts = list_verdicts(lake, dates=[date])
    kinds = count_kinds(lake, [date])
    contingencies = lake.read("gold.contingencies", where={"run_date": date, "slice_kind": "suite"})
    checks = newest_checks(lake)
    sections = [
        gate_section(verdicts),
        run_section(runs),
        pair_section(
            most_different_pairs(lake, [date], limit=SHOWN_PAIRS),
            total=sum(count for kind, count in kinds.items() if kind in DIFFED_KINDS),
        ),
        token_section(list_parted_pairs(lake, [date], limit=SHOWN_PAIRS // 2), count_divergences(lake, [date])),
        contingency_section(contingencies),
        _latencies(lake, date),
        _timelines(lake, date),
        _regressions(lake),
        scenario_section(newest_results(lake)),
        decision_section(checks),
        _optimizations(lake, date),
    ]
    return Report(
        title=f"Night of {date}",
        summary=night_sentence(runs, verdicts, kinds, checks),
        sections=tuple(section for section in sections if section is not None),
        provenance=_provenance(lake, now=now, version=version, policy=policy),
        commands=tuple(commands),
    )


def night_sentence(runs: pl.DataFrame, verdicts: pl.DataFrame, kinds: Mapping[str, int], checks: pl.DataFrame) -> str:
    """What a person has to know first: what failed, else that nothing did; how much ran; which promises are broken."""
    failed = verdicts.filter(pl.col("verdict") == "fail")
    undecided = verdicts.filter(pl.col("verdict").is_in(["inconclusive", "incomparable"])).height
    if verdicts.is_empty():
        first = "Nothing was judged"
    elif failed.is_empty():
        first = f"No gate failed ({undecided} undecided of {verdicts.height})"
    else:
        names = ", ".join(failed["gate"].unique().sort())
        blocking = failed.filter(pl.col("severity") == "block").height
        first = f"{failed.height} gate{'s' * (failed.height > 1)} failed ({names}), {blocking} blocking"
    differing = sum(count for kind, count in kinds.items() if kind != "identical")
    broken = checks.filter(pl.col("verdict") == "fail")["title"].to_list()
    promise = f" Broken promises: {'; '.join(broken)}." if broken else ""
    return f"{first}. {runs.height} runs, {differing} of {sum(kinds.values())} pairs of outputs differ.{promise}"


def optimization_report(
    lake: Lake, reference: str, *, now: dt.datetime, version: str, commands: Sequence[str] = ()
) -> Report:
    """An optimisation run: what the test set says, every trial, and what it cost."""
    run, trials = read_run(lake, reference), read_trials(lake, reference)
    blocks: list[Any] = []
    if not trials.is_empty():
        blocks.append(Picture(svg=trial_chart(trials, title=str(run["template"])), alt="score against trial"))
        shown = (
            "trial_index",
            "trial_kind",
            "split",
            "score",
            "interval_low",
            "interval_high",
            "item_count",
            "demo_count",
        )
        blocks.append(table_of(trials.select(shown)))
    facts = (
        "optimizer", "language_model", "seed", "state", "call_count", "cached_call_count", "input_token_count",
        "output_token_count", "cost_usd", "duration_ms", "train_count", "validation_count", "test_count",
    )  # fmt: skip
    table = pl.DataFrame({"what": list(facts), "value": [_text(run[name]) for name in facts]})
    return Report(
        title=f"Optimisation of {run['template']} by {run['optimizer']}",
        summary=tell_outcome(run),
        sections=(
            Section(title="Trials", anchor="trials", blocks=tuple(blocks) or (Paragraph(text="No trial yet."),)),
            Section(title="What it took", anchor="cost", blocks=(table_of(table),)),
        ),
        provenance=(
            ("optimisation run", str(run["optimization_run_id"])),
            *_versions(lake, ("gold.dspy_runs", "gold.dspy_trials", "gold.dspy_programs"), now=now, version=version),
        ),
        commands=tuple(commands),
    )


def trend_report(lake: Lake, word: str, *, now: dt.datetime, version: str, commands: Sequence[str] = ()) -> Report:
    """One series with its picture and the changes that are followed in it."""
    series_id = find_series(lake, word)
    points = read_series(lake, series_id)
    first = points.row(0, named=True)
    changes = lake.read("gold.trend_regressions", where={"series_id": series_id}).sort("changed_at")
    regressions = changes.filter(
        (pl.col("direction") == "regression") & pl.col("state").is_in(["suspected", "confirmed"])
    )
    name = f"{first['metric']} {first['variant']}".strip()
    blocks: list[Any] = [Picture(svg=draw_series(lake, series_id), alt=name)]
    if not changes.is_empty():
        blocks.append(table_of(changes.select(_TREND_COLUMNS)))
    return Report(
        title=f"{name} of {first['suite']} on {first['backend']}",
        summary=f"{points.height} runs, {changes.height} changes, {regressions.height} open regressions.",
        sections=(Section(title="Course", anchor="course", blocks=tuple(blocks)),),
        provenance=(
            ("series", series_id),
            *_versions(lake, ("gold.trend_series", "gold.trend_regressions"), now=now, version=version),
        ),
        commands=tuple(commands),
    )


def _latencies(lake: Lake, date: dt.date) -> Section | None:
    comparisons = lake.read("gold.run_comparisons", where={"run_date": date}).sort("pairing", "comparison_id").head(1)
    if comparisons.is_empty():
        return None
    row = comparisons.row(0, named=True)
    return latency_section(read_latencies(lake, comparisons), title=f"{row['suite']}, {row['pairing']}")


def _timelines(lake: Lake, date: dt.date) -> Section | None:
    told = list_timeline_diffs(lake, [date])
    if not told:
        return None
    blocks: list[Any] = []
    for ids, answer in told[:3]:
        blocks.append(Paragraph(text=answer.sentence))
        title = f"{str(ids['candidate_run_id'])[:8]} against {str(ids['baseline_run_id'])[:8]}"
        blocks.append(Picture(svg=waterfall_chart(answer, title=title), alt="where the time went"))
    return Section(title="Where the time went", anchor="timelines", blocks=tuple(blocks))


def _regressions(lake: Lake) -> Section | None:
    rows = lake.read("gold.trend_regressions").filter(
        pl.col("state").is_in(["suspected", "confirmed"]) & (pl.col("direction") == "regression") & pl.col("is_current")
    )
    if rows.is_empty():
        return None
    shown = rows.sort("state", "q_value", "change_id").head(50)
    blocks: list[Any] = [table_of(shown.select(_TREND_COLUMNS))]
    blocks.append(Picture(svg=draw_series(lake, shown["series_id"][0]), alt="the first of these series"))
    return Section(title="Getting worse", anchor="trends", blocks=tuple(blocks))


def _optimizations(lake: Lake, date: dt.date) -> Section | None:
    runs = lake.read("gold.dspy_runs").filter(pl.col("started_at").dt.date() == date).sort("started_at")
    if runs.is_empty():
        return None
    rows = [
        {
            "template": row["template"],
            "optimizer": row["optimizer"],
            "trials": row["trial_count"],
            "outcome": tell_outcome(row),
        }
        for row in runs.iter_rows(named=True)
    ]
    return Section(title="Optimisation", anchor="optimization", blocks=(table_of(pl.DataFrame(rows)),))


def _provenance(lake: Lake, *, now: dt.datetime, version: str, policy: Policy) -> tuple[tuple[str, str], ...]:
    return (*_versions(lake, _PINNED, now=now, version=version), ("policy", policy.digest))


def _versions(lake: Lake, tables: Sequence[str], *, now: dt.datetime, version: str) -> tuple[tuple[str, str], ...]:
    read = ", ".join(f"{table} {number}" for table, number in lake.versions(tables).items() if number >= 0)
    return (("made", f"{now:%Y-%m-%d %H:%M} UTC by Benchlake {version}"), ("table versions", read))


def _text(value: object) -> str:
    return "" if value is None else shown_number(value) if isinstance(value, float) else str(value)
