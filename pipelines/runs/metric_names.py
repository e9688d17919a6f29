"""The metrics that every source's numbers are normalised to: one name, one unit, one direction.

What belongs here: names that more than one source has, or that Benchlake itself writes. A metric that only one tool
knows keeps that tool's name; its unit is then the importer's to say. docs/metrics.md is made from this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt

    from pipelines.runs.importers.frames import MetricRow


@dataclass(frozen=True)
class MetricName:
    """A normalised metric; `is_higher_better` is None where neither direction is an improvement."""

    name: str
    unit: str
    is_higher_better: bool | None
    description: str


_NAMES = (
    # Serving and inference, per request or token; the statistic (mean, median, p99) is the variant.
    MetricName("latency_ms", "ms", is_higher_better=False, description="From request to last token."),
    MetricName("time_to_first_token_ms", "ms", is_higher_better=False, description="From request to first token."),
    MetricName(
        "time_per_output_token_ms", "ms", is_higher_better=False, description="Mean time of a token after the first."
    ),
    MetricName("inter_token_latency_ms", "ms", is_higher_better=False, description="Between neighbouring tokens."),
    MetricName("queue_time_ms", "ms", is_higher_better=False, description="From request to start of work on it."),
    MetricName("requests_per_s", "requests/s", is_higher_better=True, description="Finished requests per second."),
    MetricName(
        "good_requests_per_s",
        "requests/s",
        is_higher_better=True,
        description="Requests per second within their goals.",
    ),
    MetricName("output_tokens_per_s", "tokens/s", is_higher_better=True, description="Generated tokens per second."),
    MetricName("input_tokens_per_s", "tokens/s", is_higher_better=True, description="Prompt tokens per second."),
    MetricName(
        "total_tokens_per_s", "tokens/s", is_higher_better=True, description="Prompt and generated tokens per second."
    ),
    MetricName("completed_count", "requests", is_higher_better=True, description="Requests that were answered."),
    MetricName("failed_count", "requests", is_higher_better=False, description="Requests that failed."),
    MetricName("input_token_count", "tokens", is_higher_better=None, description="Prompt tokens of the whole run."),
    MetricName("output_token_count", "tokens", is_higher_better=None, description="Generated tokens of the whole run."),
    MetricName("cost_usd", "USD", is_higher_better=False, description="What the run cost, as the source reckons it."),
    # Evaluation.
    MetricName("pass_ratio", "ratio", is_higher_better=True, description="Samples that passed, of those that count."),
    # Training and experiments.
    MetricName("loss", "nats", is_higher_better=False, description="Training or evaluation loss."),
    MetricName("perplexity", "1", is_higher_better=False, description="Exponential of the mean negative logprob."),
    MetricName("accuracy", "ratio", is_higher_better=True, description="Right answers, of all."),
    # What the run was made of and what it took.
    MetricName("runtime_ms", "ms", is_higher_better=False, description="From the start of the run to its end."),
    MetricName("model_size_bytes", "bytes", is_higher_better=False, description="Weights on disk or in memory."),
    MetricName("parameter_count", "parameters", is_higher_better=None, description="Weights of the model, counted."),
    MetricName("cpu_time_ms", "ms", is_higher_better=False, description="Processor time; the variant says of what."),
    MetricName(
        "gpu_time_ms", "ms", is_higher_better=False, description="Time on the accelerator; the variant says of what."
    ),
    MetricName("wall_time_ms", "ms", is_higher_better=False, description="Time that passed; the variant says in what."),
    MetricName(
        "peak_memory_bytes", "bytes", is_higher_better=False, description="Most memory held; the variant says where."
    ),
    MetricName("span_count", "spans", is_higher_better=None, description="Spans; the variant says of which category."),
    MetricName(
        "fallback_count",
        "fallbacks",
        is_higher_better=False,
        description="Uses of a slower path; the variant says which.",
    ),
)
METRIC_NAMES: dict[str, MetricName] = {metric.name: metric for metric in _NAMES}


def metric_row(
    run_id: str, run_date: dt.date, name: str, value: float, *, variant: str = "", step: int = 0
) -> MetricRow:
    """A row of a normalised metric, with its unit and direction; `_replace` adds what else is known.

    Raises `KeyError` for a name that is none of `METRIC_NAMES`.
    """
    # The importers read names from here while their package is still being loaded.
    from pipelines.runs.importers.frames import MetricRow

    metric = METRIC_NAMES[name]
    return MetricRow(
        run_id=run_id,
        metric=name,
        variant=variant,
        step=step,
        run_date=run_date,
        value=value,
        unit=metric.unit,
        is_higher_better=metric.is_higher_better,
    )
