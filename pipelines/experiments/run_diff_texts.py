"""A comparison of runs in words and tables: what a person reads first, as Markdown or as frames for a terminal.

Everything that a run's source wrote is escaped. `view` is `summary` (what differs) or `expert` (everything).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import polars as pl

from pipelines.evidence.render import escape_markdown
from pipelines.experiments.metric_diffs import MetricChange, MetricDiff
from pipelines.experiments.movements import Movement
from pipelines.experiments.run_diff import ComparedRun, RunDiff
from pipelines.plain_texts import shown_number

View = Literal["summary", "expert"]
_WORDS = {
    "better": "better",
    "worse": "worse",
    "same": "same",
    "within_noise": "within noise",
    "different": "different",
    "unknown": "not known",
}
_NAMED = 3


def label_of(run: ComparedRun) -> str:
    """What a run is called in a column: the beginning of its id and its backend."""
    return f"{run.run_id[:8]} {run.backend}"


def headline(diff: RunDiff) -> str:
    """One or two sentences: how many things differ, what is better and what is worse, what the gates say."""
    if len(diff.runs) == 1:
        return f"One run, {label_of(diff.runs[0])}: name another to compare it with."
    changes = [(metric, change) for metric in diff.metrics for change in metric.changes]
    found = {
        judgement: list(dict.fromkeys(metric.metric for metric, change in changes if change.judgement == judgement))
        for judgement in ("worse", "better")
    }
    # A metric may be worse in its median and better in its p95.
    mixed = [name for name in found["worse"] if name in found["better"]]
    parts = []
    for word, names in (*found.items(), ("better in part", mixed)):
        own = names if word == "better in part" else [name for name in names if name not in mixed]
        if own:
            more = f" and {len(own) - _NAMED} more" if len(own) > _NAMED else ""
            parts.append(f"{word}: {', '.join(own[:_NAMED])}{more}")
    noise = sum(change.judgement == "within_noise" for _, change in changes)
    others = len(diff.runs) - 1
    sentence = (
        f"{others} run{'s' * (others > 1)} against {label_of(diff.runs[0])}: {_settings(len(diff.differing()))}; "
        f"{'; '.join(parts) or 'no metric is better or worse'}{f'; {noise} within noise' if noise else ''}."
    )
    failed = {gate for summary in diff.verdicts for gate in summary.failed_gates}
    return sentence + (f" Blocking gates failed: {', '.join(sorted(failed))}." if failed else "")


def _settings(count: int) -> str:
    return f"{count} setting{'s' * (count != 1)} differ{'s' * (count == 1)}"


def metric_frame(diff: RunDiff, *, view: View) -> pl.DataFrame:
    """Metric, unit, a column a run: its value, and behind it the change and how it is judged."""
    shown = [metric for metric in diff.metrics if view == "expert" or _is_telling(metric, len(diff.runs))]
    labels = _labels(diff)
    rows = [
        {
            "metric": _name(metric),
            "unit": metric.unit,
            **dict(zip(labels, _cells(metric, view=view), strict=True)),
        }
        for metric in shown
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(("metric", "unit", *labels), pl.String))


def setting_frame(diff: RunDiff, *, view: View) -> pl.DataFrame:
    """Group, setting and a column a run; those that agree only in the expert view."""
    labels = _labels(diff)
    rows = [
        {
            "group": setting.group,
            "setting": setting.name,
            **{label: "-" if value is None else value for label, value in zip(labels, setting.values, strict=True)},
        }
        for setting in (diff.settings if view == "expert" else diff.differing())
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(("group", "setting", *labels), pl.String))


def output_frame(diff: RunDiff) -> pl.DataFrame:
    """How many outputs each run has, how many failed, and how many are the baseline's to the letter."""
    rows = [
        {
            "run": label,
            "outputs": summary.output_count,
            "failed": summary.failed_count,
            "pairs": None if place == 0 else summary.paired_count,
            "identical": None if place == 0 else summary.identical_count,
            "asked otherwise": None if place == 0 else summary.mismatched_prompt_count,
        }
        for place, (label, summary) in enumerate(zip(_labels(diff), diff.outputs, strict=True))
    ]
    numbers = ("outputs", "failed", "pairs", "identical", "asked otherwise")
    return pl.DataFrame(rows, schema={"run": pl.String, **dict.fromkeys(numbers, pl.Int64)})


def as_markdown(diff: RunDiff, *, view: View = "summary") -> str:
    """The whole comparison as Markdown, for a pull request, a report or the Dagster UI."""
    return "\n".join(_sections(diff, view)) + "\n"


def _sections(diff: RunDiff, view: View) -> Iterator[str]:
    yield escape_markdown(headline(diff))
    for title, frame, none in (
        ("Metrics", metric_frame(diff, view=view), "No metric differs."),
        ("Settings", setting_frame(diff, view=view), "No setting differs."),
        ("Outputs", output_frame(diff), ""),
    ):
        yield f"\n### {title}\n"
        yield markdown_table(frame) if frame.height else none


def markdown_table(frame: pl.DataFrame) -> str:
    """A frame of any values as a Markdown table, escaped."""
    header = f"| {' | '.join(map(escape_markdown, frame.columns))} |\n|{'---|' * frame.width}"
    rows = [
        f"| {' | '.join('' if value is None else escape_markdown(str(value)) for value in row)} |"
        for row in frame.iter_rows()
    ]
    return "\n".join([header, *rows])


def _labels(diff: RunDiff) -> list[str]:
    labels = [label_of(run) for run in diff.runs]
    # Two runs whose ids begin alike keep their columns apart.
    return labels if len(set(labels)) == len(labels) else [f"{run.run_id} {run.backend}" for run in diff.runs]


def _name(metric: MetricDiff) -> str:
    return f"{metric.metric} ({metric.variant})" if metric.variant else metric.metric


def _is_telling(metric: MetricDiff, runs: int) -> bool:
    return runs == 1 or any(change.judgement in {"better", "worse", "different"} for change in metric.changes)


def _cells(metric: MetricDiff, *, view: View) -> Iterator[str]:
    yield shown_number(metric.values[0])
    for value, change in zip(metric.values[1:], metric.changes, strict=True):
        yield f"{shown_number(value)}{_change(change, view=view)}, {_WORDS[change.judgement]}"


def _change(change: MetricChange, *, view: View) -> str:
    if change.absolute is None or change.absolute == 0:
        return ""
    text = f", {shown_number(change.absolute, is_signed=True)}"
    if change.relative is not None:
        text += f" ({change.relative:+.1%})"
    if view == "expert" and change.low is not None and change.high is not None:
        text += f" [{shown_number(change.low, is_signed=True)}, {shown_number(change.high, is_signed=True)}]"
    return text


def movement_frame(movements: Sequence[Movement]) -> pl.DataFrame:
    """Movements of a rerun as rows."""
    columns = ("kind", "run_id", "name", "before", "after")
    rows = [{name: getattr(movement, name) for name in columns} for movement in movements]
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String))
