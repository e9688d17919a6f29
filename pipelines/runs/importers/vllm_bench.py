"""vLLM's serving benchmark, `vllm bench serve --save-result` (measured with 0.25.1).

A file holds one object, or several that `--append-result` put one after the other; each is a run. Beside it may lie
a `.pytorch.json` file, which says the same again in another shape. What a run is called and from what is
`vllm_bench_runs.py`, what was measured is `vllm_bench_metrics.py`, single requests are `vllm_bench_requests.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelines.runs.importers import frames
from pipelines.runs.importers.frames import BatchBuilder, ImportBatch
from pipelines.runs.importers.lines import LineRecord
from pipelines.runs.importers.objects import read_objects
from pipelines.runs.importers.vllm_bench_metrics import is_metric, read_metrics
from pipelines.runs.importers.vllm_bench_requests import read_requests
from pipelines.runs.importers.vllm_bench_runs import merge_pytorch, read_run
from pipelines.runs.records import SHAPE_ERRORS, Fault, RecordError, parse_json
from pipelines.runs.redaction import redact
from pipelines.runs.sources import FileHead, Limits, SourceError, SourceFile, read_head, read_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipelines.runs.importers.guide import FormatGuide
    from pipelines.runs.importers.protocol import SourceGroup

_PYTORCH_START = re.compile(rb'^\s*\[\s*\{\s*"benchmark"\s*:\s*\{')
_PYTORCH_NAME = ".pytorch.json"
# A long object with its keys as written, or sorted, has some of each in its first 64 KiB.
_TRAFFIC_SIGNS = (b'"request_rate"', b'"burstiness"', b'"request_throughput"')
_TARGET_SIGNS = (b'"backend"', b'"endpoint_type"')
_COUNT_SIGNS = (b'"num_prompts"', b'"completed"')


class VllmBenchImporter:
    """Reads result files; the PyTorch form only where its result file is not beside it."""

    source_kind = "vllm_bench"
    version = 1

    @property
    def guide(self) -> FormatGuide:
        """What the docs say about the format."""
        from pipelines.runs.importers.guides.vllm_bench import GUIDE

        return GUIDE

    def detects(self, head: FileHead) -> bool:
        """An object with a target, traffic and counts of requests, or the list that holds one metric an element."""
        if head.packing == "zip" or head.tables:
            return False
        return _is_result(head) or _is_pytorch(head)

    def claims(self, _path: Path, /) -> None:
        """Nothing: a file speaks for itself."""

    def group_key(self, file: SourceFile) -> str:
        """The folder and the name without its ending: a result and its PyTorch form."""
        return f"{file.path.parent}\x1f{_stem(file.path.name)}"

    def companions(self, path: Path, /) -> list[Path]:
        """The other form of the same result, beside `path`."""
        if not path.name.endswith(".json"):
            return []
        forms = (path.with_name(_stem(path.name) + ending) for ending in (".json", _PYTORCH_NAME))
        return [form for form in forms if form != path and form.is_file()]

    def read(self, group: SourceGroup, *, limits: Limits) -> Iterator[ImportBatch]:
        """Batches of the results, then of PyTorch forms; a run that came from a result is not made again."""
        reading = _Reading(group=group)
        forms = [file for file in group.files if _is_pytorch_file(file, limits)]
        for file in group.files:
            if file not in forms:
                yield from _read_results(BatchBuilder(file=file), reading, limits)
        for file in forms:
            yield from _read_pytorch(BatchBuilder(file=file), reading, limits)


@dataclass(kw_only=True)
class _Reading:
    """The runs that were made already."""

    group: SourceGroup
    seen: set[str] = field(default_factory=set)


def _is_result(head: FileHead) -> bool:
    start = head.start.lstrip()
    if not start.startswith(b"{"):
        return False
    # A pretty printed object may have an empty one on a line of its own, which then passes for the first record.
    keys = {b'"' + key.encode("utf-8", "replace") + b'"' for key in head.record or {}} or start
    return all(any(sign in keys for sign in signs) for signs in (_TRAFFIC_SIGNS, _TARGET_SIGNS, _COUNT_SIGNS))


def _is_pytorch(head: FileHead) -> bool:
    return _PYTORCH_START.match(head.start) is not None and b'"benchmark_values"' in head.start


def _is_pytorch_file(file: SourceFile, limits: Limits) -> bool:
    try:
        return _PYTORCH_START.match(read_head(file, limits=limits).start) is not None
    except (SourceError, OSError):
        return False


def _stem(name: str) -> str:
    bare = name.removesuffix(".gz")
    return bare.removesuffix(_PYTORCH_NAME) if bare.endswith(_PYTORCH_NAME) else bare.removesuffix(".json")


def _read_results(builder: BatchBuilder, reading: _Reading, limits: Limits) -> Iterator[ImportBatch]:
    for record in read_objects(builder, limits=limits):
        yield from _take(record, builder, reading)
        if builder.is_full:
            yield builder.flush()
    yield builder.flush()


def _take(record: LineRecord, builder: BatchBuilder, reading: _Reading) -> Iterator[ImportBatch]:
    """One object: kept as received, then its run, metrics and requests if it is a result."""
    where, value, faults = f"Object {record.record_index + 1}", record.value, record.faults
    if not any(is_metric(key) for key in value):
        builder.keep(record.raw, record_index=record.record_index)
        message = f"{where} holds nothing that a benchmark measures; it was left out."
        builder.reject("result", message, record_index=record.record_index, raw=record.raw)
        return
    run = read_run(value, builder.file, reading.group, faults)
    builder.keep(record.raw, record_index=record.record_index, run_id=run.run_id)
    if run.run_id in reading.seen:
        builder.note(
            [Fault("duplicate", "the same result came before; the first one counts.")],
            record_index=record.record_index,
            where=where,
        )
        return
    reading.seen.add(run.run_id)
    builder.runs.append(run.row)
    builder.metrics.extend(read_metrics(value, run.run_id, run.run_date, faults))
    try:
        for output in read_requests(value, run.run_id, run.run_date, run.started_at, faults):
            builder.outputs.append(output)
            if len(builder.outputs) >= frames.CHUNK_RECORDS:
                yield builder.flush()
    except SHAPE_ERRORS as error:
        faults.append(Fault("shape", f"The requests have an unexpected shape ({type(error).__name__})."))
    builder.note(faults, record_index=record.record_index, where=where)


def _read_pytorch(builder: BatchBuilder, reading: _Reading, limits: Limits) -> Iterator[ImportBatch]:
    raw = b"]"
    try:
        raw = redact(_whole(builder.file, limits))
        value, faults = parse_json(raw)
    except RecordError as error:
        rule = error.rule if error.rule != "json" or raw.rstrip().endswith(b"]") else "truncated"
        builder.reject(rule, f"The file cannot be read: {error}")
        yield builder.flush()
        return
    merged = merge_pytorch(value if isinstance(value, list) else [value])
    run = read_run(merged, builder.file, reading.group, faults)
    builder.keep(raw, record_index=0, run_id=run.run_id)
    if run.run_id not in reading.seen:
        builder.runs.append(run.row | {"expected_sample_count": None})
        builder.metrics.extend(read_metrics(merged, run.run_id, run.run_date, faults))
        builder.note(faults, record_index=0, where="File")
    yield builder.flush()


def _whole(file: SourceFile, limits: Limits) -> bytes:
    content = bytearray()
    for piece in read_pieces(file, limits=limits):
        content += piece
        if len(content) > limits.member_bytes:
            raise SourceError("member_bytes", f"The file is longer than {limits.member_bytes:,} bytes.")
    return bytes(content.removeprefix(b"\xef\xbb\xbf"))
