"""Metrics of OpenTelemetry about models: histograms of a client or server as metrics of a run.

What belongs here: adding up the points of a file, which may be totals so far or what came since the last export.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pipelines.runs.importers.frames import MetricRow
from pipelines.runs.importers.otel_files import Item
from pipelines.runs.importers.otel_operations import operation_of
from pipelines.runs.importers.otel_runs import OtelRun, Runs
from pipelines.runs.importers.otel_values import attributes_of, nanoseconds
from pipelines.runs.metric_names import metric_row
from pipelines.runs.records import JsonObject, as_list, as_object, as_text, canonical_json

# By the name of the convention: the metric, the side it was measured on. Seconds there, milliseconds here.
_TIMES = {
    "gen_ai.client.operation.duration": ("latency_ms", ""),
    "gen_ai.client.operation.time_to_first_chunk": ("time_to_first_token_ms", ""),
    "gen_ai.server.request.duration": ("latency_ms", "server "),
    "gen_ai.server.time_to_first_token": ("time_to_first_token_ms", "server "),
    "gen_ai.server.time_per_output_token": ("time_per_output_token_ms", "server "),
}
_TOKENS = "gen_ai.client.token.usage"
_TOKEN_METRICS = {"input": "input_token_count", "output": "output_token_count", "completion": "output_token_count"}
_CUMULATIVE = (2, "AGGREGATION_TEMPORALITY_CUMULATIVE")
_MOST_SERIES = 10_000
_MOST_COUNT = 2**53


class _Sums(NamedTuple):
    point_count: int
    total: float
    minimum: float | None
    maximum: float | None


@dataclass(kw_only=True)
class RunMetrics:
    """Points of all runs, added up by series: one set of attributes from one start of the process."""

    runs: Runs
    _series: dict[tuple[str, str, str], tuple[OtelRun, str, str, _Sums]] = field(default_factory=dict)

    def learn(self, item: Item) -> None:
        """Make sure that there is a run for a metric's points."""
        for _, attributes, point in _points(item):
            start_ns = nanoseconds(point.get("startTimeUnixNano")) or nanoseconds(point.get("timeUnixNano"))
            if start_ns is not None and self.runs.run_of_metric(item.resource, attributes) is None:
                run = self.runs.learn_operation(item.resource, attributes, f"metrics {start_ns}")
                if run is not None:
                    run.extend(start_ns, nanoseconds(point.get("timeUnixNano")))

    def take(self, item: Item) -> None:
        """Add the points of one metric."""
        name = as_text(item.value.get("name")) or ""
        for is_total, attributes, point in _points(item):
            run = self.runs.run_of_metric(item.resource, attributes)
            kind = _kind_of(name, attributes)
            sums = _sums(point)
            if run is None or kind is None or sums is None or len(self._series) >= _MOST_SERIES:
                continue
            series = (
                run.run_id,
                name,
                canonical_json([attributes, as_text(point.get("startTimeUnixNano")), item.scope]),
            )
            if not is_total:
                series = (*series[:2], f"{series[2]} {as_text(point.get('timeUnixNano'))}")
            standing = self._series.get(series)
            # Of totals the last holds all before it, in whatever order they come.
            if standing is None or standing[3].point_count <= sums.point_count:
                self._series[series] = (run, *kind, sums)

    def rows(self) -> Iterator[MetricRow]:
        """Means, least and most over all series of a run and metric."""
        added: dict[tuple[str, str, str], tuple[OtelRun, _Sums]] = {}
        for run, metric, side, sums in self._series.values():
            key = (run.run_id, metric, side)
            added[key] = (run, _plus(added[key][1], sums) if key in added else sums)
        for (_, metric, side), (run, sums) in added.items():
            yield from _rows(run, metric, side, sums)


def _rows(run: OtelRun, metric: str, side: str, sums: _Sums) -> Iterator[MetricRow]:
    run_date = run.run_date
    if metric == "failed_count":
        yield metric_row(run.run_id, run_date, metric, sums.point_count)
    elif metric in _TOKEN_METRICS.values():
        yield metric_row(run.run_id, run_date, metric, sums.total)._replace(sample_count=sums.point_count)
    elif sums.point_count:
        values = {"mean": sums.total / sums.point_count, "min": sums.minimum, "max": sums.maximum}
        for variant, value in values.items():
            if value is not None:
                row = metric_row(run.run_id, run_date, metric, value * 1000, variant=f"{side}{variant}")
                yield row._replace(sample_count=sums.point_count)


def _points(item: Item) -> Iterator[tuple[bool, JsonObject, JsonObject]]:
    """Points of a histogram about inference: whether they are totals, their attributes, themselves."""
    name = item.value.get("name")
    histogram = as_object(item.value.get("histogram"))
    if name not in _TIMES and name != _TOKENS:
        return
    for point in map(as_object, as_list(histogram.get("dataPoints"))):
        attributes = attributes_of(point.get("attributes"))
        # Points without an operation are those of failed requests, in some instrumentations.
        if operation_of(attributes) != "embeddings":
            yield histogram.get("aggregationTemporality") in _CUMULATIVE, attributes, point


def _kind_of(name: str, attributes: JsonObject) -> tuple[str, str] | None:
    """The metric and the side it was measured on; how long failing took is no latency."""
    if name == _TOKENS:
        metric = _TOKEN_METRICS.get(as_text(attributes.get("gen_ai.token.type")) or "")
        return (metric, "") if metric else None
    if attributes.get("error.type"):
        return ("failed_count", "") if name == "gen_ai.client.operation.duration" else None
    return _TIMES[name]


def _sums(point: JsonObject) -> _Sums | None:
    count, total = _number(point.get("count")), _number(point.get("sum"))
    if count is None or total is None or not 0 < count < _MOST_COUNT or not count.is_integer() or total < 0:
        return None
    return _Sums(int(count), total, _number(point.get("min")), _number(point.get("max")))


def _number(given: object) -> float | None:
    try:
        number = float(given) if isinstance(given, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) < 1e300 else None  # noqa: PLR2004  # sums stay finite


def _plus(one: _Sums, other: _Sums) -> _Sums:
    least = [value for value in (one.minimum, other.minimum) if value is not None]
    most = [value for value in (one.maximum, other.maximum) if value is not None]
    return _Sums(
        one.point_count + other.point_count, one.total + other.total, min(least, default=None), max(most, default=None)
    )
