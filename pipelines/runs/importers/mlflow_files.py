"""A run in an MLflow file store: meta.yaml, and a small file a parameter, a tag and a metric.

What belongs here: reading the bound parts of one folder. Where they lie is `mlflow_folders.py`, what they mean
`mlflow_runs.py`; the traces among them are read by `mlflow_trace_files.py`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.runs.importers.mlflow_folders import META, RUN_PARTS
from pipelines.runs.importers.mlflow_runs import RunFacts, TrackedRun, measured, read_run, runtime_metric
from pipelines.runs.records import SHAPE_ERRORS, Fault, JsonObject, as_object, as_text, canonical_json, parse_json
from pipelines.runs.redaction import redact, redact_lines
from pipelines.runs.repeats import StepCounts
from pipelines.runs.sources import Limits, SourceError, SourceFile, read_lines, read_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.runs.importers.frames import BatchBuilder, ImportBatch
    from pipelines.runs.importers.protocol import SourceGroup

# Values of one step are put in the order of their time within as many lines; a longer metric is a rare thing, and its
# lines come in that order anyway.
_SORTED_LINES = 200_000
# A description has a few hundred bytes; the parser takes a second for this many.
_YAML_BYTES = 1 << 18
# MLflow's own reader takes a line of these lengths: time and value, the step, and the data set's name and digest.
_LINE_FIELDS = (2, 3, 5)


class _Point(NamedTuple):
    """A line of a metric's file."""

    step: int
    timestamp_ms: int
    value: float


class SmallPart(NamedTuple):
    """A part that is read whole; `value` is what its YAML says, or its text without secrets."""

    name: str
    value: object


@dataclass(kw_only=True)
class RunFolder:
    """One run's folder: `read_small` gathers what it says of itself, then `open_run` and `read_metrics`."""

    group: SourceGroup
    builder: BatchBuilder
    limits: Limits
    header: JsonObject = field(default_factory=dict)
    experiment: JsonObject = field(default_factory=dict)
    params: JsonObject = field(default_factory=dict)
    tags: JsonObject = field(default_factory=dict)
    inputs: list[JsonObject] = field(default_factory=list)
    datasets: dict[str, JsonObject] = field(default_factory=dict)

    @property
    def folder_id(self) -> str | None:
        """The folder's name, which is the run's id; None for a file that was given alone."""
        (bundle,) = self.group.files
        return bundle.path.name if bundle.parts else None

    def read_small(self) -> Iterator[ImportBatch]:
        """Batches of the parts that are a few bytes each."""
        (bundle,) = self.group.files
        for name, part in named_parts(bundle):
            if _is_small(name):
                value = read_small(name, part, self.builder, run_id=self.folder_id, limits=self.limits).value
                self._take(name, part, value)
            if self.builder.is_full:
                yield self.builder.flush()

    def open_run(self) -> TrackedRun:
        """The run that the small parts tell of."""
        faults: list[Fault] = []
        if not self.header:
            self.builder.reject("meta", f"{META} of the run cannot be used; what else is there was imported.")
        run = read_run(self._facts(), self.group, faults)
        self.builder.note(faults, record_index=0, where=META)
        return run

    def read_metrics(self, run: TrackedRun) -> Iterator[ImportBatch]:
        """Batches of the metrics, a stretch of lines at a time."""
        (bundle,) = self.group.files
        for name, part in named_parts(bundle):
            if name.startswith("metrics/"):
                yield from _read_metric(name, part, run, self.builder, self.limits)
        self.builder.metrics.extend(runtime_metric(run))

    def _take(self, name: str, part: SourceFile, value: object) -> None:
        kind, _, key = name.partition("/")
        if name == META:
            self.header = as_object(value)
        elif name == f"../{META}":
            self.experiment = as_object(value)
        elif kind in ("params", "tags") and value is not None:
            (self.params if kind == "params" else self.tags)[key] = value
        elif kind == "inputs":
            self.inputs.append(as_object(value))
        elif name.startswith("../datasets/") and isinstance(value, dict):
            self.datasets[part.path.parent.name] = value

    def _facts(self) -> RunFacts:
        (bundle,) = self.group.files
        named = as_text(self.header.get("run_id")) or as_text(self.header.get("run_uuid"))
        return RunFacts(
            run_id=named or self.folder_id or bundle.sha256,
            header=self.header,
            experiment=self.experiment,
            params=self.params,
            tags=self.tags,
            datasets=[described for entry in self.inputs if (described := _dataset(entry, self.datasets))],
        )


def named_parts(bundle: SourceFile) -> list[tuple[str, SourceFile]]:
    """Parts by their path in the folder; a file that was given alone is taken for meta.yaml."""
    if not bundle.parts:
        return [(META, bundle)]
    return [(PurePosixPath(os.path.relpath(part.path, bundle.path)).as_posix(), part) for part in bundle.parts]


def read_small(name: str, part: SourceFile, builder: BatchBuilder, *, run_id: str | None, limits: Limits) -> SmallPart:
    """A part with its secrets taken out, kept as a raw record; its value is None if it cannot be read."""
    try:
        raw = read_whole(part, limits=limits)
    except SourceError as error:
        builder.reject(f"{name}: {error.rule}", f"{name}: {error}")
        return SmallPart(name, None)
    value = parse_yaml(raw) if name.endswith(".yaml") else {_last_name(name): raw.decode("utf-8", "replace")}
    if not isinstance(value, dict):
        clean = redact(raw)
        builder.keep(clean, record_index=0, member=name, run_id=run_id)
        builder.reject(f"{name}: yaml", f"{name} is not a YAML mapping.", record_index=0, raw=clean)
        return SmallPart(name, None)
    # As JSON, so that a name that tells of a secret stands before its value.
    clean = redact(canonical_json(value).encode("utf-8", "replace"))
    value, _ = parse_json(clean)
    if not name.endswith(".yaml"):
        value = as_text(as_object(value).get(_last_name(name))) or ""
        clean = value.encode()
    builder.keep(clean, record_index=0, member=name, run_id=run_id)
    return SmallPart(name, value)


def read_whole(part: SourceFile, *, limits: Limits) -> bytes:
    """All bytes of a part; raises `SourceError` beyond the limit of a line, which no parameter comes near."""
    content = bytearray()
    for piece in read_pieces(part, limits=limits):
        content += piece
        if len(content) > limits.line_bytes:
            raise SourceError("line_bytes", f"longer than {limits.line_bytes:,} bytes; it was left out.")
    return bytes(content)


def parse_yaml(raw: bytes) -> Any:  # noqa: ANN401  # whatever a file holds
    """The value of a YAML text; None if it cannot be read, or would unfold to more than it says."""
    import yaml

    if len(raw) > _YAML_BYTES:
        return None
    try:
        # Aliases make a small file stand for a huge value, and MLflow writes none.
        if b"*" in raw and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(raw, Loader=yaml.SafeLoader)):
            return None
        # The loader in Python: the one in C overflows its stack where this one raises.
        return yaml.load(raw, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, *SHAPE_ERRORS):
        return None


def _is_small(name: str) -> bool:
    """Whether a part tells of the run as a whole; metrics are streamed, traces are read apart."""
    kind = name.partition("/")[0]
    return name in (META, f"../{META}") or name.startswith("../datasets/") or (kind in RUN_PARTS and kind != "metrics")


def _dataset(entry: JsonObject, datasets: dict[str, JsonObject]) -> JsonObject | None:
    """Name and digest of an input, which is what a database knows of it too."""
    ids = (as_text(entry.get(key)) or "" for key in ("destination_id", "source_id"))
    found = next((datasets[name] for name in ids if name in datasets), None)
    return {key: found.get(key) for key in ("name", "digest")} if found else None


def _read_metric(
    name: str, part: SourceFile, run: TrackedRun, builder: BatchBuilder, limits: Limits
) -> Iterator[ImportBatch]:
    """Rows of one metric's file, a stretch of lines a raw record."""
    key = name.partition("/")[2]
    counts, points = StepCounts(), list[_Point]()
    try:
        for index, block in enumerate(read_lines(read_pieces(part, limits=limits), line_bytes=limits.line_bytes)):
            (kept,) = redact_lines([b"\n".join(line or b"" for line in block.lines)])
            builder.keep(kept or b"", record_index=index, member=name, run_id=run.run_id)
            for offset, line in enumerate(block.lines):
                _take_point(line, name, block.first_index + offset, index, points, builder)
            if len(points) >= _SORTED_LINES:
                _add_points(points, key, counts, run, builder)
            if builder.is_full:
                yield builder.flush()
    except SourceError as error:
        builder.reject(f"{name}: {error.rule}", f"{name}: {error}")
    _add_points(points, key, counts, run, builder)


def _take_point(
    line: bytes | None, name: str, at: int, record_index: int, points: list[_Point], builder: BatchBuilder
) -> None:
    if line is not None and not line.strip():
        return
    fields = (line or b"").split()
    try:
        if line is None or len(fields) not in _LINE_FIELDS:
            raise ValueError(f"{len(fields)} fields instead of 2, 3 or 5")  # noqa: TRY301  # told like a bad number
        points.append(_Point(int(fields[2]) if len(fields) > 2 else 0, int(fields[0]), float(fields[1])))  # noqa: PLR2004
    except ValueError as error:
        reason = "it is too long" if line is None else str(error)
        builder.reject(
            f"{name}: line",
            f"{name}, line {at + 1}: {reason}.",
            record_index=record_index,
            raw=redact(line or b"")[:200],
        )


def _add_points(points: list[_Point], key: str, counts: StepCounts, run: TrackedRun, builder: BatchBuilder) -> None:
    """Turn the gathered points into rows, and forget them."""
    faults: list[Fault] = []
    for point in sorted(points, key=lambda point: (point.step, point.timestamp_ms)):
        row = measured(run, key, point.value, step=point.step, at=point.timestamp_ms, faults=faults)
        if row is not None:
            builder.metrics.append(row._replace(repeat_index=counts.take(row.step)))
    builder.note(faults, record_index=0, where=f"metrics/{key}")
    points.clear()


def _last_name(name: str) -> str:
    """The last word of a dotted or nested key: that of the value itself."""
    return name.rpartition("/")[2].rpartition(".")[2] or name
