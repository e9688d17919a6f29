"""The totals and statistics of a vLLM benchmark as normalised metrics: one name, one unit, and no zeros that mean none.

Which run they belong to is `vllm_bench_runs.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from pipelines.runs.importers.frames import MetricRow
from pipelines.runs.metric_names import METRIC_NAMES
from pipelines.runs.records import Fault, JsonObject, as_count, as_list, as_number

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator


class _Total(NamedTuple):
    """What a key of the file is called here; `factor` takes it to the unit of that name."""

    metric: str
    variant: str = ""
    factor: float = 1.0
    unit: str = "1"
    is_higher_better: bool | None = None


_TOTALS = {
    "duration": _Total("runtime_ms", factor=1000),
    "completed": _Total("completed_count"),
    "failed": _Total("failed_count"),
    "total_input_tokens": _Total("input_token_count"),
    "total_output_tokens": _Total("output_token_count"),
    "request_throughput": _Total("requests_per_s"),
    "request_goodput": _Total("good_requests_per_s"),
    # Old releases wrote the colon into the name.
    "request_goodput:": _Total("good_requests_per_s"),
    "input_throughput": _Total("input_tokens_per_s"),
    "output_throughput": _Total("output_tokens_per_s"),
    "total_token_throughput": _Total("total_tokens_per_s"),
    "max_output_tokens_per_s": _Total("output_tokens_per_s", "max"),
    "max_concurrent_requests": _Total("max_concurrent_requests", unit="requests"),
    "rtfx": _Total("rtfx", unit="ratio", is_higher_better=True),
    "total_input_sequences": _Total("input_sequence_count", unit="sequences"),
    "input_sequence_throughput": _Total("input_sequences_per_s", unit="sequences/s", is_higher_better=True),
    # A percentage; the rates by position are ratios already.
    "spec_decode_acceptance_rate": _Total(
        "spec_decode_acceptance_ratio", factor=0.01, unit="ratio", is_higher_better=True
    ),
    "spec_decode_acceptance_length": _Total("spec_decode_acceptance_length", unit="tokens", is_higher_better=True),
    "spec_decode_num_drafts": _Total("spec_decode_draft_count", unit="drafts"),
    "spec_decode_draft_tokens": _Total("spec_decode_draft_token_count", unit="tokens"),
    "spec_decode_accepted_tokens": _Total("spec_decode_accepted_token_count", unit="tokens"),
    "diffusion_committed_throughput": _Total("diffusion_tokens_per_s", unit="tokens/s", is_higher_better=True),
    "diffusion_steps_per_canvas": _Total("diffusion_steps_per_canvas", unit="steps", is_higher_better=False),
    "diffusion_committed_per_step": _Total("diffusion_tokens_per_step", unit="tokens", is_higher_better=True),
    "diffusion_committed_tokens": _Total("diffusion_committed_token_count", unit="tokens"),
    "diffusion_denoising_steps": _Total("diffusion_step_count", unit="steps"),
    "diffusion_canvas_positions": _Total("diffusion_canvas_position_count", unit="positions"),
    "probe_completed": _Total("probe_completed_count", unit="requests", is_higher_better=True),
    "probe_failed": _Total("probe_failed_count", unit="requests", is_higher_better=False),
}
_POSITIONS = "spec_decode_per_position_acceptance_rates"
# Zero here says that nothing of the kind was measured: no audio, or no request that came back.
_ZERO_IS_NONE = frozenset({"rtfx", "max_output_tokens_per_s", "max_concurrent_requests"})
_STATISTIC = re.compile(r"^(?P<probe>probe_)?(?P<statistic>mean|median|std|min|max|p\d+(?:\.\d+)?)_(?P<of>.+)_ms$")
_MEASURES = {
    "ttft": "time_to_first_token_ms",
    "tpot": "time_per_output_token_ms",
    "itl": "inter_token_latency_ms",
    "e2el": "latency_ms",
    "e2e_latency": "latency_ms",
    "client_queue_time": "queue_time_ms",
    "e2el_including_client_queue": "latency_including_queue_ms",
}
# Of these the file has one measurement a finished request.
_PER_REQUEST = frozenset({"time_to_first_token_ms", "latency_ms", "queue_time_ms", "latency_including_queue_ms"})
_LATENCIES = frozenset({*_MEASURES.values(), "probe_latency_ms"})


def is_metric(key: str) -> bool:
    """Whether a key of the file is a result rather than a setting."""
    return key in _TOTALS or key == _POSITIONS or _STATISTIC.match(key) is not None


def read_metrics(value: JsonObject, run_id: str, run_date: dt.date, faults: list[Fault]) -> list[MetricRow]:
    """Every result in the object; where all requests failed there are no latencies and no duration."""
    ignored: list[Fault] = []
    completed = as_count(value.get("completed"), "completed", ignored)
    rows: dict[tuple[str, str], MetricRow] = {}
    for total, number in _totals(value, completed, faults):
        row = _row(run_id, run_date, total.metric, total.variant, number)
        if total.metric not in METRIC_NAMES:
            row = row._replace(unit=total.unit, is_higher_better=total.is_higher_better)
        rows.setdefault((row.metric, row.variant), row)
    if completed != 0:
        for metric, statistics in _statistics(value, faults).items():
            for row in _statistic_rows(metric, statistics, run_id, run_date, completed):
                rows.setdefault((row.metric, row.variant), row)
    return list(rows.values())


def _totals(value: JsonObject, completed: int | None, faults: list[Fault]) -> Iterator[tuple[_Total, float]]:
    for key, total in _TOTALS.items():
        # How long it took to fail says nothing about speed.
        if completed == 0 and key == "duration":
            continue
        number = as_number(value.get(key), key, faults)
        scaled = None if number is None else as_number(number * total.factor, key, faults)
        if scaled is not None and not (scaled == 0 and key in _ZERO_IS_NONE):
            yield total, scaled
    for index, rate in enumerate(as_list(value.get(_POSITIONS))):
        number = as_number(rate, f"{_POSITIONS}[{index}]", faults)
        if number is not None:
            variant = f"position {index}"
            yield _Total("spec_decode_acceptance_ratio", variant, 1.0, "ratio", is_higher_better=True), number


def _statistics(value: JsonObject, faults: list[Fault]) -> dict[str, dict[str, float]]:
    """By measure and statistic, in milliseconds."""
    found: dict[str, dict[str, float]] = {}
    for key in value:
        match = _STATISTIC.match(key)
        number = as_number(value[key], key, faults) if match else None
        if match and number is not None:
            measure = _MEASURES.get(match["of"], f"{match['of']}_ms")
            found.setdefault(f"probe_{measure}" if match["probe"] else measure, {})[match["statistic"]] = number
    return found


def _statistic_rows(
    metric: str, statistics: dict[str, float], run_id: str, run_date: dt.date, completed: int | None
) -> Iterator[MetricRow]:
    """Rows of one measure; all zeros mean that it was not measured (no streaming, one token an answer)."""
    is_empty = not any(number for name, number in statistics.items() if name != "std")
    if is_empty and metric != "queue_time_ms":
        return
    count = completed if metric in _PER_REQUEST else None
    spread = statistics.get("std")
    for name, number in statistics.items():
        row = _row(run_id, run_date, metric, name, number)._replace(sample_count=count)
        if name == "mean" and spread is not None and spread >= 0:
            row = row._replace(standard_deviation=spread)
        # A smaller spread is no faster server.
        yield row._replace(is_higher_better=None) if name == "std" else row


def _row(run_id: str, run_date: dt.date, metric: str, variant: str, value: float) -> MetricRow:
    known = METRIC_NAMES.get(metric)
    is_latency = metric in _LATENCIES
    return MetricRow(
        run_id=run_id,
        metric=metric,
        variant=variant,
        step=0,
        run_date=run_date,
        value=value,
        unit=known.unit if known else "ms",
        is_higher_better=known.is_higher_better if known else (False if is_latency else None),
    )
