"""One benchmark of an asv result file: its values over all combinations of its parameters, with their spread.

What belongs here: the shapes that asv has written a benchmark in, and its units. Reading the file is `asv.py`.
"""

from __future__ import annotations

import itertools
import math
import re
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.runs.importers.frames import MetricRow
from pipelines.runs.metric_names import metric_row
from pipelines.runs.records import Fault, JsonObject, as_list, as_number, as_scaled, as_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.runs.importers.asv_runs import AsvRun

# The order that asv 0.6 writes, for a file whose results come before it.
RESULT_COLUMNS = (
    "result",
    "params",
    "version",
    "started_at",
    "duration",
    "stats_ci_99_a",
    "stats_ci_99_b",
    "stats_q_25",
    "stats_q_75",
    "stats_number",
    "stats_repeat",
    "samples",
    "profile",
)
_KIND = re.compile(r"^(timeraw|time|peakmem|mem|track)(?=_|[A-Z])", re.IGNORECASE)
# Unit and scale by what the function's name begins with; what is tracked has the unit that its author gave.
_UNITS = {"time": ("ms", 1000.0), "timeraw": ("ms", 1000.0), "mem": ("bytes", 1.0), "peakmem": ("bytes", 1.0)}
# Half the width of a 99 % interval in standard errors.
_Z_99 = 2.5758293035489004
# Parameters of a benchmark that are more than this are a mistake.
_MOST_COMBINATIONS = 1_000_000


@dataclass(kw_only=True)
class Benchmark:
    """A benchmark as read. `values` and the spreads go by combination; a NaN was skipped, a None failed."""

    name: str
    values: list[Any]
    params: list[Any]
    columns: JsonObject = field(default_factory=dict)

    def variants(self) -> Iterator[str]:
        """What tells the combinations apart, in asv's order: the last parameter changes fastest."""
        axes = [as_list(axis) or [axis] for axis in self.params]
        if math.prod(len(axis) for axis in axes) > _MOST_COMBINATIONS:
            return iter(())
        return (",".join(as_text(value) or "" for value in values) for values in itertools.product(*axes))


def read_benchmark(name: str, value: object, columns: tuple[str, ...], faults: list[Fault]) -> Benchmark:
    """A benchmark in today's form (a list by columns) or an earlier one (a number, or an object)."""
    if isinstance(value, list):
        named = dict(zip(columns, value, strict=False))
    else:
        named = value if isinstance(value, dict) else {"result": value}
    result = named.get("result")
    values = result if isinstance(result, list) else [result]
    benchmark = Benchmark(name=name, values=values, params=as_list(named.get("params")), columns=named)
    if len(values) > 1 and len(values) != sum(1 for _ in benchmark.variants()):
        faults.append(Fault("result: length", f"{name} has {len(values)} values, not one a combination of parameters."))
    return benchmark


def benchmark_rows(run: AsvRun, benchmark: Benchmark, skipped: frozenset[int], faults: list[Fault]) -> list[MetricRow]:
    """Rows of the values that are there; `skipped` are places whose NaN says that nothing was measured."""
    unit, scale, is_higher_better = _unit_of(run, benchmark.name)
    rows = []
    for place, (value, variant) in enumerate(zip(benchmark.values, benchmark.variants(), strict=False)):
        number = None if place in skipped else as_number(value, f"{benchmark.name}.result", faults)
        if number is None or not math.isfinite(number * scale):
            continue
        error, deviation, count = _spread(benchmark.columns, place, scale)
        rows.append(
            MetricRow(
                run_id=run.run_id,
                metric=benchmark.name,
                variant=variant,
                step=0,
                run_date=run.run_date,
                value=number * scale,
                unit=unit,
                standard_error=error,
                is_higher_better=is_higher_better,
                standard_deviation=deviation,
                sample_count=count,
            )
        )
    seconds = benchmark.columns.get("duration")
    return rows + duration_rows(run, benchmark.name, seconds, faults)


def duration_rows(run: AsvRun, variant: str, seconds: object, faults: list[Fault]) -> list[MetricRow]:
    """How long asv was busy with something, which is no result but what a nightly costs."""
    milliseconds = as_scaled(seconds, "duration", faults, by=1000)
    return (
        []
        if milliseconds is None
        else [metric_row(run.run_id, run.run_date, "wall_time_ms", milliseconds, variant=variant)]
    )


def count_failed(benchmark: Benchmark, skipped: frozenset[int]) -> int:
    """Combinations that asv wrote null for: they were tried and failed."""
    return sum(value is None and place not in skipped for place, value in enumerate(benchmark.values))


def _unit_of(run: AsvRun, name: str) -> tuple[str, float, bool | None]:
    kind = _KIND.match(name.rpartition(".")[2])
    if kind is not None and kind[1].lower() in _UNITS:
        return (*_UNITS[kind[1].lower()], False)
    return run.units.get(name, "1"), 1.0, None


def _spread(columns: JsonObject, place: int, scale: float) -> tuple[float | None, float | None, int | None]:
    """Standard error from the interval, deviation and number of the samples; each where it is known."""
    low, high, repeat = (_at(columns, name, place) for name in ("stats_ci_99_a", "stats_ci_99_b", "stats_repeat"))
    error = (high - low) * scale / (2 * _Z_99) if low is not None and high is not None and high >= low else None
    kept = as_list(columns.get("samples"))
    samples = [
        number
        for value in as_list(kept[place] if place < len(kept) else None)
        if (number := _finite(value)) is not None
    ]
    deviation = statistics.stdev(samples) * scale if len(samples) > 1 else None
    count = len(samples) or (int(repeat) if repeat is not None and repeat >= 0 else None)
    return error, deviation, count


def _at(columns: JsonObject, name: str, place: int) -> float | None:
    values = as_list(columns.get(name))
    return _finite(values[place]) if place < len(values) else None


def _finite(value: object) -> float | None:
    """A finite number; an interval without bounds is what one sample gives, and no fault."""
    return as_number(value, "stats", []) if isinstance(value, int | float) else None
