"""The run of a Chrome trace: its header, the names of its processes and threads, and totals over its spans.

What belongs here: everything about a trace that is not one span. What an event says is `chrome_trace_events.py`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from lake.identity import derived_id
from pipelines.runs.importers.chrome_trace_events import COUNTED_PHASES, BlockEvents, TimedEvent, text_or_none
from pipelines.runs.importers.code_keys import lift_code_version
from pipelines.runs.importers.frames import MetricRow
from pipelines.runs.metric_names import metric_row
from pipelines.runs.parameters import as_parameters
from pipelines.runs.records import JsonObject, as_list, as_object, as_text, canonical_json

if TYPE_CHECKING:
    from pipelines.runs.importers.protocol import SourceGroup

UNKNOWN = "unknown"
# Members of the trace that say how it was recorded; they bear on its times.
_SETTINGS = ("record_shapes", "profile_memory", "with_stack", "with_flops", "with_modules", "displayTimeUnit")
# Members that may hold a code version and other free metadata of the people who recorded the trace.
_METADATA = ("metadata", "otherData")
_GPU_CATEGORIES = frozenset({"kernel", "gpu_memcpy", "gpu_memset"})
# Members beyond this stay in the raw records alone, and so do names and categories beyond their number.
_MEMBER_CHARACTERS = 1 << 16
_MAX_NAMES = 10_000
_MAX_CATEGORIES = 200
# 2001 to 2096: a clock of microseconds since the machine started never gets there.
_WALL_CLOCK_NS = range(10**18, 4 * 10**18)
_NAME_ENDINGS = re.compile(r"(?:\.gz|\.json|\.trace|\.pt|[._-]?\d+)+$")


@dataclass(kw_only=True)
class TraceRun:
    """What is known of the run while its trace is read; `run_date` is known from the first span on."""

    group: SourceGroup
    header: JsonObject = field(default_factory=dict)
    is_truncated: bool = False
    run_date: dt.date | None = None
    _first_start_ns: int | None = None
    _start_ns: int | None = None
    _end_ns: int | None = None
    _counts: Counter[str] = field(default_factory=Counter)
    _durations_ns: Counter[str] = field(default_factory=Counter)
    _phases: Counter[str] = field(default_factory=Counter)
    _processes: dict[str, JsonObject] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Derived from the file: a trace has no id of its own that two ranks do not share."""
        return derived_id("run", self.group.source_kind, self.group.files[0].sha256)

    @property
    def wall_base_ns(self) -> int | None:
        """What makes a span's start nanoseconds since 1970: 0 if it counts so itself, else the trace's base, if any."""
        if self._first_start_ns is not None and self._first_start_ns in _WALL_CLOCK_NS:
            return 0
        base = self.header.get("baseTimeNanoseconds")
        return base if isinstance(base, int) and base in _WALL_CLOCK_NS else None

    def add(self, events: BlockEvents) -> None:
        """Count a block's events; its spans are added many blocks at a time."""
        self._phases.update(events.phases)
        for event in events.others:
            if event.phase == "M":
                self._name(event)

    def add_spans(self, spans: pl.DataFrame) -> None:
        """Add spans to the totals; the first ones date the run."""
        if spans.is_empty():
            return
        start_ns, end_ns = _extent(spans)
        if self.run_date is None:
            self._first_start_ns = start_ns
            self.run_date = self._instant(start_ns, self.group.files[0].modified_at).date()
        self._start_ns = start_ns if self._start_ns is None else min(start_ns, self._start_ns)
        self._end_ns = end_ns if self._end_ns is None else max(end_ns, self._end_ns)
        totals = spans.group_by("category").agg(pl.len(), pl.col("duration_ns").cast(pl.Int128).sum())
        for category, count, duration_ns in totals.iter_rows():
            self._counts[category or ""] += count
            self._durations_ns[category or ""] += duration_ns

    def row(self) -> JsonObject:
        """The row of silver.runs."""
        (file,) = self.group.files
        code_version, code_keys = lift_code_version(self._free_metadata())
        # The earliest span may come late in the file; it dates the run unless the date is written already.
        started_at = self._instant(self._start_ns, file.modified_at)
        if self.run_date is not None and started_at.date() != self.run_date:
            started_at = self._instant(self._first_start_ns, file.modified_at)
        devices = [as_object(device) for device in as_list(self.header.get("deviceProperties"))]
        return {
            "run_id": self.run_id,
            "run_date": started_at.date(),
            "source_kind": self.group.source_kind,
            "source_run_id": as_text(self.header.get("trace_id")),
            "file_sha256": file.sha256,
            "content_digest": self.group.content_digest,
            "suite": _suite(self.header.get("traceName")),
            "backend": self._backend(devices),
            "model": UNKNOWN,
            "engine": "pytorch" if self._is_pytorch else None,
            "parameters": as_parameters(self._parameters()),
            "environment": as_parameters(self._environment(code_keys)),
            "fingerprint": {"hardware": _hardware(devices)},
            "code_version": code_version,
            "started_at": started_at,
            "ended_at": None if self.wall_base_ns is None else self._instant(self._end_ns, file.modified_at),
            "status": "started" if self.is_truncated else "success",
        }

    def metrics(self) -> Iterator[MetricRow]:
        """Counts of spans, the time between the first and the last, and what the accelerator was busy with.

        Times of CPU spans are not summed: they enclose each other.
        """
        run_date = self.run_date or self.group.files[0].modified_at.date()
        if self._start_ns is not None and self._end_ns is not None:
            wall_ms = (self._end_ns - self._start_ns) / 1_000_000
            yield metric_row(self.run_id, run_date, "wall_time_ms", wall_ms, variant="trace")
        yield metric_row(self.run_id, run_date, "span_count", self._counts.total())
        for category, count in sorted(self._counts.most_common(_MAX_CATEGORIES)):
            if category:
                yield metric_row(self.run_id, run_date, "span_count", count, variant=category)
        for category in sorted(_GPU_CATEGORIES & self._durations_ns.keys()):
            busy_ms = self._durations_ns[category] / 1_000_000
            yield metric_row(self.run_id, run_date, "gpu_time_ms", busy_ms, variant=category)
        counted = Counter[str]()
        for phase, count in self._phases.items():
            if phase in COUNTED_PHASES:
                counted[COUNTED_PHASES[phase]] += count
        for kind, count in sorted(counted.items()):
            yield MetricRow(self.run_id, f"{kind}_event_count", "", 0, run_date, float(count), "events")

    def _instant(self, start_ns: int | None, otherwise: dt.datetime) -> dt.datetime:
        base = self.wall_base_ns
        if base is None or start_ns is None:
            return otherwise
        try:
            return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=(base + start_ns) // 1000)
        except OverflowError:
            return otherwise

    def _name(self, event: TimedEvent) -> None:
        """Take a name, label or order of a process or thread."""
        value = event.value
        subject, _, what = str(value.get("name")).partition("_")
        given = as_object(value.get("args")).get("labels" if what == "labels" else what)
        process, thread = text_or_none(value.get("pid")), text_or_none(value.get("tid"))
        if subject not in ("process", "thread") or given is None or process is None:
            return
        if process not in self._processes and len(self._processes) >= _MAX_NAMES:
            return
        place = self._processes.setdefault(process, {})
        if subject == "thread" and thread is not None:
            threads = place.setdefault("threads", {})
            if thread not in threads and len(threads) >= _MAX_NAMES:
                return
            place = threads.setdefault(thread, {})
        place[what] = given if isinstance(given, str | int) else canonical_json(given)

    @property
    def _is_pytorch(self) -> bool:
        return "cpu_op" in self._counts or {"schemaVersion", "deviceProperties"} <= self.header.keys()

    def _backend(self, devices: list[JsonObject]) -> str:
        if any("cuda" in category for category in self._counts) or "kernel" in self._counts:
            names = " ".join(str(device.get("name")) for device in devices).lower()
            return "rocm" if any(word in names for word in ("amd", "radeon", "instinct", "gfx")) else "cuda"
        for device in ("hip", "xpu", "mtia"):
            if any(category.startswith(f"{device}_") for category in self._counts):
                return "rocm" if device == "hip" else device
        return "cpu" if self._is_pytorch else UNKNOWN

    def _free_metadata(self) -> JsonObject:
        found: JsonObject = {}
        for member in (self.header, *(as_object(self.header.get(name)) for name in _METADATA)):
            found |= {key: value for key, value in member.items() if isinstance(value, str | int)}
        return found

    def _parameters(self) -> JsonObject:
        settings = {name: self.header[name] for name in _SETTINGS if name in self.header}
        distributed = self.header.get("distributedInfo")
        return settings | ({"distributed": distributed} if isinstance(distributed, dict) else {})

    def _environment(self, code_keys: frozenset[str]) -> JsonObject:
        taken = {*_SETTINGS, *code_keys, "distributedInfo", "traceName", "trace_id", "traceEvents"}
        rest = {
            name: value
            for name, value in self.header.items()
            if name not in taken and value is not None and len(canonical_json(value)) <= _MEMBER_CHARACTERS
        }
        return rest | ({"processes": self._processes} if self._processes else {})


def _extent(spans: pl.DataFrame) -> tuple[int, int]:
    start, end = spans.select(
        pl.col("start_ns").min(), (pl.col("start_ns") + pl.col("duration_ns")).max().alias("end_ns")
    ).row(0)
    return start, end


def _suite(trace_name: Any) -> str:  # noqa: ANN401  # whatever the file holds
    """The trace's name without folder, endings and the numbers that make it unique."""
    base = re.split(r"[/\\]", trace_name)[-1] if isinstance(trace_name, str) else ""
    return _NAME_ENDINGS.sub("", base) or "trace"


def _hardware(devices: list[JsonObject]) -> str | None:
    names = Counter(name for device in devices if (name := as_text(device.get("name"))))
    return ", ".join(f"{count} x {name}" for name, count in sorted(names.items())) or None
