"""What a program may log about its run: outputs, metrics, parameters, spans, measured stretches, fallbacks.

What belongs here: one method a thing that can be logged, each a checked line in the run's file at once. How a run
begins and ends is `run_writer.py`, what a line may hold is declared in `run_format.py`, the file's bytes and lock are
`live_files.py`, clocks are `measuring.py`.
"""

from __future__ import annotations

import datetime as dt
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

from lake.errors import UserError
from pipelines.runs.live_files import LiveFile
from pipelines.runs.loggable import checked, plain_value
from pipelines.runs.measuring import Stopwatch
from pipelines.runs.metric_names import METRIC_NAMES
from pipelines.runs.parameters import unit_of
from pipelines.runs.run_lines import Line, encode_line, instant
from pipelines.runs.run_progress import RunProgress

Clock = Callable[[], dt.datetime]
OutputStatus = Literal["ok", "assert_fail", "error", "timeout", "cancelled"]
Instant = dt.datetime | str

# Which span encloses what this thread or task is measuring: run id and span id.
_ENCLOSING: ContextVar[tuple[str, str] | None] = ContextVar("benchlake_enclosing_span", default=None)


class RunLog:
    """A run that can be logged to, from any thread; what is logged is with the operating system when a call returns.

    What is logged is checked at the call: a wrong type is a `UserError` that says what is allowed.
    """

    def __init__(self, file: LiveFile, progress: RunProgress, *, clock: Clock) -> None:
        self._file = file
        self._progress = progress
        self._clock = clock
        self._writing = threading.RLock()
        self._is_ended = False
        self._opened_ns = time.perf_counter_ns()
        self._opened_after = clock() - progress.started_at

    @property
    def run_id(self) -> str:
        """Id of the run, as in every table."""
        return self._progress.run_id

    @property
    def path(self) -> Path:
        """The run file."""
        return self._file.path

    @property
    def started_at(self) -> dt.datetime:
        """When the run began, in UTC; a run that was taken up keeps its first start."""
        return self._progress.started_at

    def log_output(  # noqa: PLR0913 - the columns of silver.outputs
        self,
        sample_id: str | int,
        *,
        output: Any = None,  # noqa: ANN401 - any JSON
        prompt: Any = None,  # noqa: ANN401 - any JSON
        reference: Any = None,  # noqa: ANN401 - any JSON
        scores: Mapping[str, float | None] | None = None,
        repeat_index: int = 0,
        status: OutputStatus | None = None,
        error_message: str | None = None,
        latency_ms: float | None = None,
        time_to_first_token_ms: float | None = None,
        input_token_count: int | None = None,
        output_token_count: int | None = None,
        finish_reason: str | None = None,
        tags: Sequence[str] = (),
        started_at: Instant | None = None,
        tokens: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Log what came back for one sample; leave out what is unknown.

        `status` is `error` if there is an `error_message`, else `ok`. A sample that is asked several times has a
        `repeat_index` each, from 0; a repeat can be logged once. Texts may also be any JSON, for instance a list of
        chat messages, which is kept as JSON text.
        """
        given = {
            "type": "output",
            "sample_id": sample_id,
            "repeat_index": repeat_index,
            "prompt": prompt,
            "output": output,
            "reference": reference,
            "status": status or ("ok" if error_message is None else "error"),
            "finish_reason": finish_reason,
            "input_token_count": input_token_count,
            "output_token_count": output_token_count,
            "latency_ms": latency_ms,
            "time_to_first_token_ms": time_to_first_token_ms,
            "scores": scores if scores is not None else {},
            "tags": tags,
            "error_message": error_message,
            "started_at": started_at,
            "tokens": tokens if tokens is not None else [],
        }
        with self._writing:
            line = self._checked("log_output", given)
            key = (str(line["sample_id"]), int(line["repeat_index"]))
            if key in self._progress.outputs:
                raise UserError(
                    f"log_output: sample {key[0]!r}, repeat {key[1]} of run {self.run_id} is logged already. "
                    f"Give another repeat_index if it was asked again, or ask `has_output` first."
                )
            self._append(line)
            self._progress.outputs.add(key)

    def has_output(self, sample_id: str | int, *, repeat_index: int = 0) -> bool:
        """Whether the sample is logged, also by an earlier process whose run this one goes on with."""
        return (str(sample_id), repeat_index) in self._progress.outputs

    def log_metric(  # noqa: PLR0913 - the columns of silver.run_metrics
        self,
        metric: str,
        value: float,
        *,
        unit: str | None = None,
        step: int = 0,
        variant: str = "",
        repeat_index: int | None = None,
        standard_error: float | None = None,
        standard_deviation: float | None = None,
        sample_count: int | None = None,
        is_higher_better: bool | None = None,
    ) -> None:
        """Log a number about the run, or about one `step` of it.

        `variant` tells values of one metric apart (a statistic, a data set). The same metric, variant and step again
        is another measurement and gets the next `repeat_index`. Unit and direction of the metrics in docs/metrics.md
        are known; of others the unit is what the name ends with (`_ms`), else 1. A value that is NaN or infinite is no
        measurement, but no reason to end a training run either: it is written as such, and the import names it in
        bronze.rejects.
        """
        is_unusable = _is_not_finite(value)
        with self._writing:
            known = METRIC_NAMES.get(metric) if isinstance(metric, str) else None
            if known is not None and unit not in {None, known.unit}:
                raise UserError(
                    f"log_metric: {metric} is kept in {known.unit}, not {unit!r}; convert the value, or use a name of "
                    "your own."
                )
            line = self._checked(
                "log_metric",
                {
                    "type": "metric",
                    "metric": metric,
                    "value": 0.0 if is_unusable else value,
                    "unit": unit or (known.unit if known is not None else unit_of(str(metric)) or "1"),
                    "variant": variant,
                    "step": step,
                    "repeat_index": 0 if repeat_index is None else repeat_index,
                    "standard_error": standard_error,
                    "standard_deviation": standard_deviation,
                    "sample_count": sample_count,
                    "is_higher_better": known.is_higher_better
                    if known is not None and is_higher_better is None
                    else is_higher_better,
                    "recorded_at": instant(self._clock()),
                },
            )
            key = (metric, str(line["variant"]), int(line["step"]))
            repeats = self._progress.repeats
            if repeat_index is None:
                line["repeat_index"] = repeats.next_index(*key)
            elif repeats.has(*key, int(line["repeat_index"])):
                raise UserError(
                    f"log_metric: {metric} {variant} at step {step}, repeat {repeat_index} is logged already; leave "
                    "repeat_index out for the next one."
                )
            self._append(line | {"value": str(float(value))} if is_unusable else line)
            repeats.add(*key, int(line["repeat_index"]))

    def log_params(self, parameters: Mapping[str, Any], *, units: Mapping[str, str] | None = None) -> None:
        """Log settings that the run is made with: hyperparameters, model and sampling settings.

        `units` are units by name of the parameter. A parameter has one value in a run: the same value again changes
        nothing, another is refused.
        """
        if not isinstance(parameters, Mapping):
            raise UserError(
                f"log_params: parameters is {type(parameters).__name__}; allowed: a dict of names and values."
            )
        unknown = sorted(set(units or {}) - set(parameters))
        if unknown:
            raise UserError(f"log_params: units names {', '.join(unknown)}, which the parameters do not.")
        with self._writing:
            lines = [
                self._checked(
                    "log_params",
                    {"type": "param", "parameter": name, "value": value, "unit": (units or {}).get(name)},
                )
                for name, value in parameters.items()
            ]
            for line in lines:
                self._refuse_other_value(line)
            for line in lines:
                if line["parameter"] not in self._progress.parameters:
                    self._append(line)
                    self._progress.parameters[line["parameter"]] = line["value"]

    def log_model(self, *, size_bytes: int | None = None, parameter_count: int | None = None) -> None:
        """Log how large the model is: its weights in bytes, and how many there are."""
        for metric, value in (("model_size_bytes", size_bytes), ("parameter_count", parameter_count)):
            if value is not None:
                self.log_metric(metric, value)

    def log_span(  # noqa: PLR0913 - the columns of silver.spans
        self,
        name: str,
        *,
        start_ns: int,
        duration_ns: int,
        span_id: str | None = None,
        parent_span_id: str | None = None,
        trace_id: str | None = None,
        sample_id: str | int | None = None,
        category: str | None = None,
        process: str | int | None = None,
        thread: str | int | None = None,
        started_at: Instant | None = None,
        status: Literal["ok", "error"] = "ok",
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Log one interval of what the run spent its time on; all spans of a run are on one clock, in nanoseconds."""
        span = {
            "type": "span",
            "name": name,
            "start_ns": start_ns,
            "duration_ns": duration_ns,
            "span_id": span_id,
            "parent_span_id": parent_span_id,
            "trace_id": trace_id,
            "sample_id": sample_id,
            "category": category,
            "process": process,
            "thread": thread,
            "started_at": started_at,
            "status": status,
            "attributes": attributes,
        }
        with self._writing:
            line = self._checked("log_span", span)
            if line["span_id"] in self._progress.span_ids:
                raise UserError(f"log_span: span {span_id!r} is logged already; span ids are unique in a run.")
            self._append(line)
            if line["span_id"] is not None:
                self._progress.span_ids.add(line["span_id"])

    @contextmanager
    def measure(self, name: str, *, step: int = 0) -> Iterator[Stopwatch]:
        """Measure a `with` block: wall_time_ms and cpu_time_ms of it, with `name` as the variant, and a span.

        Where the program has loaded torch and it has an accelerator, also gpu_time_ms and peak_memory_bytes. The
        block is given the stopwatch, whose times can be read after it. Of a block that raises only the span is
        logged, as an error: its time is not what the work takes.
        """
        if not isinstance(name, str) or isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise UserError(f"measure: name is {name!r} and step {step!r}; allowed: text, and a whole number from 0.")
        outer, span_id = _ENCLOSING.get(), uuid.uuid4().hex[:16]
        token = _ENCLOSING.set((self.run_id, span_id))
        watch = Stopwatch.start()
        status: Literal["ok", "error"] = "error"
        try:
            yield watch
            status = "ok"
        finally:
            watch.stop()
            _ENCLOSING.reset(token)
            if status == "ok":
                self._log_times(name, watch, step=step)
            self.log_span(
                name,
                start_ns=self._since_start_ns(watch.started_ns),
                duration_ns=watch.duration_ns,
                span_id=span_id,
                parent_span_id=outer[1] if outer is not None and outer[0] == self.run_id else None,
                category="measure",
                thread=threading.current_thread().name,
                status=status,
            )

    def count_fallback(self, name: str, *, count: int = 1) -> None:
        """Count uses of a slower path, for instance "flash_attention -> math"; the sums are written at the end.

        A count of 0 says that the path was watched: its sum is written even if it stays 0. Sums that were not yet
        written are lost with a killed process.
        """
        count = plain_value(count, "count_fallback: count")
        if not isinstance(name, str) or isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise UserError(
                f"count_fallback: name is {name!r} and count {count!r}; allowed: text, and a whole number from 0."
            )
        with self._writing:
            self._refuse_ended("count_fallback")
            self._progress.fallbacks[name] = self._progress.fallbacks.get(name, 0) + count

    def _log_times(self, name: str, watch: Stopwatch, *, step: int) -> None:
        self.log_metric("wall_time_ms", watch.wall_time_ms, variant=name, step=step)
        self.log_metric("cpu_time_ms", watch.cpu_time_ms, variant=name, step=step)
        if watch.gpu_time_ms is not None:
            self.log_metric("gpu_time_ms", watch.gpu_time_ms, variant=name, step=step)
        if watch.peak_memory_bytes is not None:
            self.log_metric("peak_memory_bytes", watch.peak_memory_bytes, variant=name, step=step)

    def _since_start_ns(self, moment_ns: int) -> int:
        """A reading of the monotonic clock as nanoseconds since the start of the run, also of a resumed one."""
        before = self._opened_after // dt.timedelta(microseconds=1) * 1000
        return before + moment_ns - self._opened_ns

    def _refuse_other_value(self, line: Line) -> None:
        name = line["parameter"]
        standing = self._progress.parameters.get(name, line["value"])
        if standing != line["value"] or type(standing) is not type(line["value"]):
            raise UserError(
                f"log_params: {name} is {standing!r} in this run and cannot become {line['value']!r}. What changes "
                "within a run is a metric with a step."
            )

    def _checked(self, call: str, line: Line) -> dict[str, Any]:
        self._refuse_ended(call)
        return checked(call, line)

    def _refuse_ended(self, call: str) -> None:
        if self._is_ended:
            raise UserError(
                f"{call}: the run {self.run_id} has ended. Log inside its `with` block, or go on with it by "
                f"start_run(run_id={self.run_id!r}, resume=True, ...)."
            )

    def _append(self, line: Line) -> None:
        self._file.append(encode_line(line))


def _is_not_finite(value: object) -> bool:
    """Whether a number of any library is NaN or infinite; what is no number is told by the check of the line."""
    try:
        return not isinstance(value, str) and not math.isfinite(float(value))  # type: ignore[arg-type]  # that is asked
    except (TypeError, ValueError, OverflowError):
        return False
