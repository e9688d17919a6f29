"""lm-evaluation-harness: `results_<date_id>.json` and `samples_<task>_<date_id>.jsonl` (measured with 0.4.13).

Files of one folder with one date id are one invocation; each task of it is a run whose suite is the task. What a
run is called and from what is `lm_eval_runs.py`; here is reading, and what a sample row says.

Sample rows are one per document *and filter*. With one filter a row is an output; with several, the rows of a
document become one output whose scores are named `metric,filter`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.runs.importers.frames import BatchBuilder, ImportBatch, OutputRow
from pipelines.runs.importers.lines import LineRecord, read_records
from pipelines.runs.importers.lm_eval_runs import TaskRun, file_names, read_invocation
from pipelines.runs.importers.protocol import SourceGroup
from pipelines.runs.records import (
    SHAPE_ERRORS, Fault, JsonObject, RecordError, as_list, as_number, as_text, parse_object,
)  # fmt: skip
from pipelines.runs.redaction import redact
from pipelines.runs.sources import FileHead, Limits, SourceError, SourceFile, read_head, read_pieces

_RESULTS_START = re.compile(rb'^\s*\{\s*"results"\s*:\s*\{\s*(?:\}|"(?:[^"\\]|\\.)*+"\s*:\s*\{)')
_RESULTS_SIGNS = (b'"alias"', b',none"', b'"n-shot"', b'"lm_eval_version"', b'"task_hashes"')
_RESULTS_KEYS = frozenset({"configs", "higher_is_better", "lm_eval_version", "n-shot", "task_hashes", "versions"})
_SAMPLE_SIGNS = frozenset({"arguments", "resps", "filtered_resps"})
_FILTER = re.compile(rb'"filter"\s*:\s*"((?:[^"\\]|\\.)*+)"')
# Keys of a sample row that are not metrics, for versions that did not list the metrics.
_PLAIN_KEYS = frozenset(
    {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash", "prompt_hash",
     "target_hash"}
)  # fmt: skip


class LmEvalImporter:
    """Reads invocations: results with the samples that belong to them, or either alone."""

    source_kind = "lm_eval"
    version = 1

    def detects(self, head: FileHead) -> bool:
        """A results object, or a line with a document and its answers."""
        record = head.record or {}
        if "doc_id" in record and _SAMPLE_SIGNS & record.keys():
            return True
        return head.packing != "zip" and is_results(head)

    def group_key(self, file: SourceFile) -> str:
        """The folder and the date id; a file that was renamed stands alone."""
        date_id = file_names(file.path.name).date_id
        return f"{file.path.parent}\x1f{date_id}" if date_id else file.sha256

    def companions(self, path: Path) -> list[Path]:
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
    seen: set[tuple[str, str]] = field(default_factory=set)
    emitted: set[str] = field(default_factory=set)


def _read_samples(builder: BatchBuilder, task: TaskRun, limits: Limits) -> Iterator[ImportBatch]:
    filters = task.filters or _filters_in(builder.file, limits)
    scores_of = _scores_of_documents(builder.file, limits) if len(filters) > 1 else None
    reading = _Reading(task=task, scores_of=scores_of)
    for record in read_records(builder, limits=limits):
        sample_id = as_text(record.value.get("doc_id"))
        builder.keep(record.raw, record_index=record.index, run_id=task.run_id, sample_id=sample_id)
        try:
            _take(record, sample_id, reading, builder)
        except SHAPE_ERRORS as error:
            record.faults.append(Fault("shape", f"The row has an unexpected shape ({type(error).__name__})."))
        if record.faults:
            builder.note(record.faults, record_index=record.index, where=f"Line {record.index + 1}")
        if builder.is_full:
            yield builder.flush()
    _finish(task, builder)
    yield builder.flush()


def _take(record: LineRecord, sample_id: str | None, reading: _Reading, builder: BatchBuilder) -> None:
    if sample_id is None:
        record.faults.append(Fault("doc_id", "The row has no doc_id; it was left out."))
        return
    row_filter = as_text(record.value.get("filter")) or "none"
    is_single = reading.scores_of is None
    identity = (sample_id, "" if is_single else row_filter)
    if identity in reading.seen:
        record.faults.append(Fault("duplicate", f"Document {sample_id} came before; the first row counts."))
        return
    reading.seen.add(identity)
    scores = _scores(record.value, record.faults)
    if reading.scores_of is not None:
        if sample_id in reading.emitted:
            return
        reading.emitted.add(sample_id)
        scores = reading.scores_of[sample_id]
    builder.outputs.extend(_outputs(record.value, sample_id, scores, reading.task))


def _outputs(
    value: JsonObject, sample_id: str, scores: list[tuple[str, float]], task: TaskRun
) -> Iterator[OutputRow]:
    prompt, output, reference, repeats = _answers(value)
    for repeat_index, answer in enumerate([output, *repeats]):
        yield OutputRow(
            task.run_id, sample_id, repeat_index, task.run_date, prompt, answer, reference, "ok", None, None, None,
            None, None, scores if repeat_index == 0 else (), (), None, None,
        )  # fmt: skip


def _answers(value: JsonObject) -> tuple[str | None, str | None, str | None, list[str | None]]:
    """Prompt, first answer, reference, and the answers of further repeats (their scores are in the first)."""
    requests = [_request(item) for item in _request_list(value.get("arguments"))]
    prompt = as_text(requests[0][0]) if requests else None
    target = as_text(value.get("target"))
    responses = as_list(value.get("resps"))
    continuations = [request[1] for request in requests]
    if continuations and all(isinstance(item, str) for item in continuations):
        return prompt, _chosen(continuations, responses), _choice_text(target, continuations), []
    answers = as_list(responses[0]) if responses and isinstance(responses[0], list) else responses[:1]
    texts = [as_text(answer) for answer in answers]
    if continuations and continuations[0] is None:
        # Rolling log-likelihood: the response is a number about the prompt, nothing was answered.
        texts = []
    return prompt, texts[0] if texts else None, target, texts[1:]


def _request_list(arguments: Any) -> list[Any]:
    return list(arguments.values()) if isinstance(arguments, dict) else as_list(arguments)


def _request(item: Any) -> tuple[Any, Any]:
    """Prompt and second argument: generation settings, a continuation, or None. Old versions wrote lists."""
    if isinstance(item, dict):
        return item.get("arg_0"), item.get("arg_1")
    parts = as_list(item)
    return parts[0] if parts else None, parts[1] if len(parts) > 1 else None


def _chosen(continuations: list[str], responses: list[Any]) -> str | None:
    """The continuation with the highest log-probability; the first of equal ones, as argmax has it."""
    logprobs = [_choice_logprob(response) for response in responses[: len(continuations)]]
    known = [(logprob, -index) for index, logprob in enumerate(logprobs) if logprob is not None]
    return continuations[-max(known)[1]] if known else None


def _choice_logprob(response: Any) -> float | None:
    """`[["-0.1", "False"]]`: numbers are written as text."""
    pair = as_list(response)
    while pair and isinstance(pair[0], list):
        pair = pair[0]
    return as_number(pair[0], "resps", []) if pair else None


def _choice_text(target: str | None, continuations: list[str]) -> str | None:
    """The text of the right choice, so that it can be read beside the chosen one; targets are written as indexes."""
    is_index = target is not None and len(continuations) > 1 and target.isascii() and target.isdigit()
    if target is None or not is_index or int(target) >= len(continuations):
        return target
    return continuations[int(target)]


def _scores(value: JsonObject, faults: list[Fault]) -> list[tuple[str, float]]:
    """Scores of a row. Lists and objects are parts of a corpus metric, no score of one document: they stay raw."""
    listed = value.get("metrics")
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else value.keys() - _PLAIN_KEYS
    scores = []
    for name in sorted(names) if listed is None else dict.fromkeys(names):
        given = value.get(name)
        if given is None or isinstance(given, list | dict) or (listed is None and isinstance(given, str)):
            continue
        number = given if type(given) is float and given - given == 0 else as_number(given, name, faults)
        if number is not None:
            scores.append((name, number))
    return scores


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


def _scores_of_documents(file: SourceFile, limits: Limits) -> dict[str, list[tuple[str, float]]]:
    """Scores of every document over its filters; the one thing that is held for a whole file with several filters."""
    collected: dict[str, dict[str, float]] = {}
    for record in read_records(BatchBuilder(file=file), limits=limits):
        sample_id = as_text(record.value.get("doc_id"))
        if sample_id is None:
            continue
        row_filter = as_text(record.value.get("filter")) or "none"
        scores = collected.setdefault(sample_id, {})
        for name, number in _scores_or_none(record.value):
            scores.setdefault(name if row_filter == "none" else f"{name},{row_filter}", number)
    return {sample_id: list(scores.items()) for sample_id, scores in collected.items()}


def _scores_or_none(value: JsonObject) -> list[tuple[str, float]]:
    try:
        return _scores(value, [])
    except SHAPE_ERRORS:
        return []


