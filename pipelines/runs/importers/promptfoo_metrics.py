"""What promptfoo sums up for a provider with a prompt, as metrics, and whether that agrees with its results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.runs.importers.frames import MetricRow
from pipelines.runs.importers.promptfoo_runs import PromptRun, promised_count
from pipelines.runs.metric_names import metric_row
from pipelines.runs.records import Fault, JsonObject, as_count, as_number, as_object

if TYPE_CHECKING:
    from collections.abc import Iterator

_FAILURES = ("error", "timeout", "cancelled")
_ASSERTS = {"assertPassCount": ("assert_pass_count", True), "assertFailCount": ("assert_fail_count", False)}


def read_metrics(run: PromptRun, faults: list[Fault]) -> list[MetricRow]:
    """The file's own aggregates; where it has none, as in JSON lines, the counts of its results."""
    found: dict[tuple[str, str], MetricRow] = {}
    rows = _of_aggregates(run, faults) if run.aggregates else _of_results(run)
    for row in rows:
        found.setdefault((row.metric, row.variant), row)
    return list(found.values())


def find_disagreement(run: PromptRun) -> str | None:
    """How the aggregates differ from the results that landed; None where they agree or say nothing."""
    promised = promised_count(run.aggregates)
    if promised is None:
        return None
    if promised != run.landed:
        return f"sums up {promised} results, the file holds {run.landed} that can be read"
    ignored: list[Fault] = []
    passed = as_count(run.aggregates.get("testPassCount"), "testPassCount", ignored)
    if passed is not None and passed != run.statuses["ok"]:
        return f"counts {passed} passes, its results {run.statuses['ok']}"
    return None


def _of_aggregates(run: PromptRun, faults: list[Fault]) -> Iterator[MetricRow]:
    given = run.aggregates
    keys = ("testPassCount", "testFailCount", "testErrorCount")
    passed, failed, erred = (as_count(given.get(key), key, faults) for key in keys)
    counted = (passed or 0) + (failed or 0)
    yield from _counts(run, passed=passed, counted=counted, erred=erred)
    score = as_number(given.get("score"), "metrics.score", faults)
    # An error adds 0 to the sum; it is no score.
    if score is not None and counted:
        yield _row(run, "score", score / counted, is_higher_better=True)
    yield from _named_scores(run, faults)
    for key, (name, is_higher_better) in _ASSERTS.items():
        number = as_count(given.get(key), key, faults)
        if number is not None:
            yield _row(run, name, float(number), unit="assertions", is_higher_better=is_higher_better)
    yield from _tokens(run, as_object(given.get("tokenUsage")), faults)
    cost = as_number(given.get("cost"), "metrics.cost", faults, minimum=0)
    # A provider whose price is unknown adds nothing.
    if cost:
        yield metric_row(run.run_id, run.run_date, "cost_usd", cost)


def _of_results(run: PromptRun) -> Iterator[MetricRow]:
    passed, failed = run.statuses["ok"], run.statuses["assert_fail"]
    erred = sum(run.statuses[status] for status in _FAILURES)
    yield from _counts(run, passed=passed, counted=passed + failed, erred=erred)
    if run.cost_usd:
        yield metric_row(run.run_id, run.run_date, "cost_usd", run.cost_usd)


def _counts(run: PromptRun, *, passed: int | None, counted: int, erred: int | None) -> Iterator[MetricRow]:
    if passed is not None and counted:
        ratio = metric_row(run.run_id, run.run_date, "pass_ratio", passed / counted)
        yield ratio._replace(sample_count=min(counted, 2**63 - 1))
    yield metric_row(run.run_id, run.run_date, "completed_count", float(counted))
    if erred is not None:
        yield metric_row(run.run_id, run.run_date, "failed_count", float(erred))


def _named_scores(run: PromptRun, faults: list[Fault]) -> Iterator[MetricRow]:
    """Means: the file has sums, and beside them weights or counts."""
    weights = as_object(run.aggregates.get("namedScoreWeights")) or as_object(run.aggregates.get("namedScoresCount"))
    for name, value in as_object(run.aggregates.get("namedScores")).items():
        total = as_number(value, f"namedScores.{name}", faults)
        weight = as_number(weights.get(name), f"namedScoresCount.{name}", faults)
        if total is not None and weight:
            mean = as_number(total / weight, f"namedScores.{name}", faults)
            if mean is not None:
                yield _row(run, "score", mean, variant=name, is_higher_better=True)


def _tokens(run: PromptRun, usage: JsonObject, faults: list[Fault]) -> Iterator[MetricRow]:
    """Tokens of the answers, and of grading them; of cached answers only the sum is known."""
    for variant, part in (("", usage), ("grading", as_object(usage.get("assertions")))):
        counts = [as_count(part.get(key), f"tokenUsage.{key}", faults) for key in ("prompt", "completion")]
        if any(counts):
            for name, count in zip(("input_token_count", "output_token_count"), counts, strict=True):
                if count is not None:
                    yield metric_row(run.run_id, run.run_date, name, float(count), variant=variant)
    cached = as_count(usage.get("cached"), "tokenUsage.cached", faults)
    if cached:
        yield _row(run, "cached_token_count", float(cached), unit="tokens", is_higher_better=None)


def _row(
    run: PromptRun,
    metric: str,
    value: float,
    *,
    variant: str = "",
    unit: str = "1",
    is_higher_better: bool | None,
) -> MetricRow:
    return MetricRow(run.run_id, metric, variant, 0, run.run_date, value, unit, is_higher_better=is_higher_better)
