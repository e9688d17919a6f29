"""lm-evaluation-harness: `results_<date_id>.json` and `samples_<task>_<date_id>.jsonl` (measured with 0.4.13).

Files of one folder with one date id are one invocation; each task of it is a run whose suite is the task. What a
run is called and from what is `lm_eval_runs.py`, what a row says is `lm_eval_samples.py`; here is reading.

Sample rows are one per document *and filter*. With one filter a row is an output; with several, the rows of a
document become one output whose scores are named `metric,filter`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelines.runs.importers.frames import BatchBuilder, ImportBatch, OutputRow
from pipelines.runs.importers.lines import LineRecord, read_records
from pipelines.runs.importers.lm_eval_runs import TaskRun, file_names, read_invocation
from pipelines.runs.importers.lm_eval_samples import read_answers, read_scores
from pipelines.runs.records import (
    SHAPE_ERRORS,
    Fault,
    JsonObject,
    RecordError,
    as_text,
    parse_object,
)
from pipelines.runs.redaction import redact
from pipelines.runs.sources import FileHead, Limits, SourceError, SourceFile, read_head, read_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pipelines.runs.importers.guide import FormatGuide
    from pipelines.runs.importers.protocol import SourceGroup

_RESULTS_START = re.compile(rb'^\s*\{\s*"results"\s*:\s*\{\s*(?:\}|"(?:[^"\\]|\\.)*+"\s*:\s*\{)')
_RESULTS_SIGNS = (b'"alias"', b',none"', b'"n-shot"', b'"lm_eval_version"', b'"task_hashes"')
_RESULTS_KEYS = frozenset({"configs", "higher_is_better", "lm_eval_version", "n-shot", "task_hashes", "versions"})
_SAMPLE_SIGNS = frozenset({"arguments", "resps", "filtered_resps"})
_FILTER = re.compile(rb'"filter"\s*:\s*"((?:[^"\\]|\\.)*+)"')


class LmEvalImporter:
    """Reads invocations: results with the samples that belong to them, or either alone."""

    source_kind = "lm_eval"
    version = 1

    @property
    def guide(self) -> FormatGuide:
        """What the docs say about the format."""
        from pipelines.runs.importers.guides.lm_eval import GUIDE

        return GUIDE

    def detects(self, head: FileHead) -> bool:
        """A results object, or a line with a document and its answers."""
        record = head.record or {}
        if "doc_id" in record and _SAMPLE_SIGNS & record.keys():
            return True
        return head.packing != "zip" and is_results(head)

    def claims(self, _path: Path) -> None:
        """Nothing: a file speaks for itself."""

    def group_key(self, file: SourceFile) -> str:
        """The folder and the date id; a file that was renamed stands alone."""
        date_id = file_names(file.path.name).date_id
        return f"{file.path.parent}\x1f{date_id}" if date_id else file.sha256

    def companions(self, path: Path, /) -> list[Path]:
        """Files of the same invocation beside `path`."""
        date_id = file_names(path.name).date_id
        if not date_id:
            return []
        beside = (other for other in sorted(path.parent.iterdir()) if other != path and not other.name.startswith("."))
        return [other for other in beside if file_names(other.name).date_id == date_id]

    def read(self, group: SourceGroup, *, limits: Limits) -> Iterator[ImportBatch]:
        """Batches of the results, then of each samples file; a run's own row comes with its last outputs."""
        results = [file for file in group.files if _is_results_file(file, limits)]
        samples = [file for file in group.files if file not in results]
        builders = {file.sha256: BatchBuilder(file=file) for file in group.files}
        headers = [_read_results(builders[file.sha256], limits) for file in results]
        invocation = read_invocation(group, results, [header for header in headers if header is not None])
        for file in samples:
            yield from _read_samples(builders[file.sha256], invocation.task_of(file), limits)
        for file in results:
            builder = builders[file.sha256]
            for task in invocation.take_waiting():
                _finish(task, builder)
            yield builder.flush()


def is_results(head: FileHead) -> bool:
    """Whether a file that begins like this is a results file, as written or with its keys sorted."""
    if head.record:
        return "results" in head.record and bool(_RESULTS_KEYS & head.record.keys())
    is_as_written = _RESULTS_START.match(head.start) is not None and any(sign in head.start for sign in _RESULTS_SIGNS)
    return is_as_written or (b'"bootstrap_iters"' in head.start and b'"configs"' in head.start)


def _is_results_file(file: SourceFile, limits: Limits) -> bool:
    try:
        return is_results(read_head(file, limits=limits))
    except SourceError:
        return False


def _read_results(builder: BatchBuilder, limits: Limits) -> JsonObject | None:
    """The results object, kept as a raw record; what cannot be read is rejected."""
    try:
        raw = _whole(builder.file, limits)
    except SourceError as error:
        builder.reject(error.rule, str(error))
        return None
    raw = redact(raw)
    try:
        value, faults = parse_object(raw)
    except RecordError as error:
        builder.reject(error.rule, f"The results file cannot be read: {error}", record_index=0, raw=raw)
        return None
    builder.keep(raw, record_index=0)
    builder.note(faults, record_index=0, where="Results")
    return value


def _whole(file: SourceFile, limits: Limits) -> bytes:
    content = bytearray()
    for piece in read_pieces(file, limits=limits):
        content += piece
        if len(content) > limits.member_bytes:
            raise SourceError("member_bytes", f"The results file is longer than {limits.member_bytes:,} bytes.")
    return bytes(content.removeprefix(b"\xef\xbb\xbf"))


def _finish(task: TaskRun, builder: BatchBuilder) -> None:
    """Hand in a run that nothing more will be read for."""
    builder.runs.append(task.row)
    builder.metrics.extend(task.metrics)
    builder.note(task.faults, record_index=0, where=f"Results of {task.suite}")


@dataclass(kw_only=True)
class _Reading:
    """What must be known of earlier rows of a samples file."""

    task: TaskRun
    scores_of: dict[str, list[tuple[str, float]]] | None
    # Ids of documents, with the filter where there are several.
    seen: set[str | tuple[str, str]] = field(default_factory=set)
    emitted: set[str] = field(default_factory=set)


def _read_samples(builder: BatchBuilder, task: TaskRun, limits: Limits) -> Iterator[ImportBatch]:
    filters = task.filters or _filters_in(builder.file, limits)
    scores_of = _scores_of_documents(builder.file, limits) if len(filters) > 1 else None
    reading = _Reading(task=task, scores_of=scores_of)
    for record in read_records(builder, limits=limits):
        sample_id = as_text(record.value.get("doc_id"))
        builder.keep(record.raw, record_index=record.record_index, run_id=task.run_id, sample_id=sample_id)
        try:
            _take(record, sample_id, reading, builder)
        except SHAPE_ERRORS as error:
            record.faults.append(Fault("shape", f"The row has an unexpected shape ({type(error).__name__})."))
        if record.faults:
            builder.note(record.faults, record_index=record.record_index, where=f"Line {record.record_index + 1}")
        if builder.is_full:
            yield builder.flush()
    _finish(task, builder)
    yield builder.flush()


def _take(record: LineRecord, sample_id: str | None, reading: _Reading, builder: BatchBuilder) -> None:
    if sample_id is None:
        record.faults.append(Fault("doc_id", "The row has no doc_id; it was left out."))
        return
    identity: str | tuple[str, str] = sample_id
    if reading.scores_of is not None:
        identity = (sample_id, as_text(record.value.get("filter")) or "none")
    if identity in reading.seen:
        record.faults.append(Fault("duplicate", f"Document {sample_id} came before; the first row counts."))
        return
    reading.seen.add(identity)
    scores = read_scores(record.value, record.faults)
    if reading.scores_of is not None:
        if sample_id in reading.emitted:
            return
        reading.emitted.add(sample_id)
        scores = reading.scores_of[sample_id]
    _add_outputs(builder, record.value, sample_id, scores, reading.task)


def _add_outputs(
    builder: BatchBuilder, value: JsonObject, sample_id: str, scores: Sequence[tuple[str, float]], task: TaskRun
) -> None:
    prompt, output, reference, repeats = read_answers(value)
    row = OutputRow(
        task.run_id, sample_id, 0, task.run_date, prompt, output, reference, "ok", None, None, None, None, None, scores,
        (), None, None,
    )  # fmt: skip
    builder.outputs.append(row)
    for repeat_index, answer in enumerate(repeats, start=1):
        builder.outputs.append(row._replace(repeat_index=repeat_index, output=answer, scores=()))


def _filters_in(file: SourceFile, limits: Limits) -> frozenset[str]:
    """Filters that the rows may have, by a scan that is much cheaper than reading them; a superset at worst."""
    found: set[bytes] = set()
    rest = b""
    try:
        for piece in read_pieces(file, limits=limits):
            found.update(_FILTER.findall(rest + piece))
            # A name may lie across two pieces.
            rest = piece[-512:]
    except SourceError:
        pass
    return frozenset(name.decode("utf-8", "replace") for name in found)


def _scores_of_documents(file: SourceFile, limits: Limits) -> dict[str, list[tuple[str, float]]] | None:
    """Scores of every document over its filters, or None if the rows have only one filter after all.

    The one thing that is held for a whole file: the rows of a document are far apart, a filter's rows come together.
    """
    collected: dict[str, dict[tuple[str, str], float]] = {}
    filters: set[str] = set()
    for record in read_records(BatchBuilder(file=file), limits=limits):
        sample_id = as_text(record.value.get("doc_id"))
        if sample_id is None:
            continue
        row_filter = as_text(record.value.get("filter")) or "none"
        filters.add(row_filter)
        scores = collected.setdefault(sample_id, {})
        for name, number in _scores_or_none(record.value):
            scores.setdefault((name, row_filter), number)
    if len(filters) <= 1:
        return None
    return {
        sample_id: [(name if of == "none" else f"{name},{of}", number) for (name, of), number in scores.items()]
        for sample_id, scores in collected.items()
    }


def _scores_or_none(value: JsonObject) -> list[tuple[str, float]]:
    try:
        return read_scores(value, [])
    except SHAPE_ERRORS:
        return []
