"""promptfoo's `--output` files: JSON of versions 2 and 3, and JSON lines of results (measured with 0.121.20).

A file is an evaluation; every provider with every prompt is a run of it, since that is what promptfoo itself sums up.
Here is telling such files and going through them; what becomes of each result is `promptfoo_reading.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipelines.runs.importers.frames import BatchBuilder, ImportBatch
from pipelines.runs.importers.lines import read_records
from pipelines.runs.importers.promptfoo_header import HeaderReader
from pipelines.runs.importers.promptfoo_reading import TRACES, Reading
from pipelines.runs.importers.promptfoo_runs import Evaluation, read_evaluation
from pipelines.runs.importers.promptfoo_tables import TableCells, index_of, results_of
from pipelines.runs.importers.promptfoo_tests import SamplePlaces
from pipelines.runs.importers.protocol import FileImporter
from pipelines.runs.json_parts import Part, split_nested
from pipelines.runs.records import (
    SHAPE_ERRORS,
    Fault,
    JsonObject,
    RecordError,
    as_index,
    as_list,
    as_object,
    as_text,
    parse_object,
)
from pipelines.runs.redaction import redact_lines
from pipelines.runs.sources import FileHead, Limits, SourceError, SourceFile, read_head, read_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.runs.importers.guide import FormatGuide
    from pipelines.runs.importers.protocol import SourceGroup

_RESULTS, _NODE_RESULTS, _TABLE = "results.results", "results", "results.table.body"
_OPENED = frozenset({"results", _RESULTS, "results.table", _TABLE, TRACES})
# Of so many bytes of results, secrets are looked for together.
_BLOCK_BYTES = 1 << 20
_KNOWN_VERSIONS = (1, 2, 3)
_VERSIONED = re.compile(rb'"results"\s*:\s*\{\s*"(?:version"\s*:\s*\d|timestamp"\s*:\s*")')
_EVAL_ID = re.compile(rb'"(?:evalId|id)"\s*:\s*"eval-')
# What a result of this tool has and nobody else's.
_RESULT_KEYS = frozenset({"gradingResult", "namedScores", "failureReason", "promptIdx", "testIdx", "testCase"})
_RESULT_START = re.compile(
    rb'^\s*\{\s*"(?:cost|description|error|gradingResult|id|latencyMs|namedScores|promptIdx)"\s*:'
)
_RESULT_SIGNS = tuple(b'"' + key.encode() + b'"' for key in sorted(_RESULT_KEYS))
_ENOUGH_SIGNS = 3
_EVAL_KEYS = frozenset({"prompts", "config", "table", "stats", "timestamp"})


class PromptfooImporter(FileImporter):
    """Reads one evaluation a file, whole or as lines of results."""

    source_kind = "promptfoo"
    version = 1

    @property
    def guide(self) -> FormatGuide:
        """What the docs say about the format."""
        from pipelines.runs.importers.guides.promptfoo import GUIDE

        return GUIDE

    def detects(self, head: FileHead) -> bool:
        """An evaluation with its id or with versioned results, or a line with what only a result of it has."""
        if head.packing == "zip" or head.tables:
            return False
        record = head.record or {}
        return is_result(record) or _is_evaluation(record) or _begins_evaluation(head) or _begins_result(head)

    def read(self, group: SourceGroup, *, limits: Limits) -> Iterator[ImportBatch]:
        """Batches of the results; the runs' own rows come with the last."""
        (file,) = group.files
        builder = BatchBuilder(file=file)
        reader = _read_lines if _holds_lines(file, limits) else _read_whole
        yield from reader(builder, group, limits)
        yield builder.flush()


def is_result(record: JsonObject) -> bool:
    """Whether a record is a result of promptfoo."""
    return "prompt" in record and len(_RESULT_KEYS & record.keys()) >= _ENOUGH_SIGNS


def _is_evaluation(record: JsonObject) -> bool:
    results = record.get("results")
    if isinstance(results, dict):
        is_versioned = "version" in results and bool({"results", "table"} & results.keys())
        return is_versioned or ("evalId" in record and "config" in record)
    identity = record.get("id", record.get("evalId"))
    return isinstance(results, list) and isinstance(identity, str) and identity.startswith("eval-")


def _begins_evaluation(head: FileHead) -> bool:
    start = head.start.lstrip()
    is_named = _EVAL_ID.search(start) is not None and b'"config"' in start and b'"prompts"' in start
    return start.startswith(b"{") and (is_named or _VERSIONED.search(start) is not None)


def _begins_result(head: FileHead) -> bool:
    """A result whose line is longer than the head."""
    signs = sum(sign in head.start for sign in _RESULT_SIGNS)
    return head.record is None and _RESULT_START.match(head.start) is not None and signs >= _ENOUGH_SIGNS


def _holds_lines(file: SourceFile, limits: Limits) -> bool:
    """Whether a file is lines of results rather than one evaluation, which lines are not that begin like one."""
    try:
        head = read_head(file, limits=limits)
    except (SourceError, OSError):
        return False
    if is_result(head.record or {}):
        return True
    return not (_is_evaluation(head.record or {}) or _EVAL_ID.search(head.start) or _VERSIONED.search(head.start))


def _read_lines(builder: BatchBuilder, group: SourceGroup, limits: Limits) -> Iterator[ImportBatch]:
    """Twice through the lines: which repeat a test is can be told when all tests are known."""
    tests = SamplePlaces()
    for record in read_records(BatchBuilder(file=builder.file), limits=limits):
        _learn(record.value, tests)
    tests.settle()
    evaluation = read_evaluation({}, group, builder.file)
    reading = Reading(builder=builder, evaluation=evaluation, tests=tests)
    for record in read_records(builder, limits=limits):
        where = f"Line {record.record_index + 1}"
        reading.add(record.value, record.raw, record.faults, index=record.record_index, where=where)
        if builder.is_full:
            yield builder.flush()
    reading.finish()


def _learn(value: JsonObject, tests: SamplePlaces) -> None:
    index = as_index(value.get("testIdx"), "testIdx", [])
    if index is not None:
        try:
            tests.learn(index, value)
        except SHAPE_ERRORS:
            return


def _parts(file: SourceFile, limits: Limits) -> Iterator[Part]:
    return split_nested(read_pieces(file, limits=limits), opened=_OPENED, part_bytes=limits.member_bytes)


def _read_whole(builder: BatchBuilder, group: SourceGroup, limits: Limits) -> Iterator[ImportBatch]:
    """Twice through the file: the header is around the results, and only together do they tell the runs."""
    header = HeaderReader(builder=builder)
    tests, cells = SamplePlaces(), TableCells()
    has_results = False
    try:
        for part in _parts(builder.file, limits):
            if part.index is None:
                header.take(part)
            elif part.raw is not None and part.key != TRACES:
                value = _value_or_empty(part.raw)
                has_results |= part.key in (_RESULTS, _NODE_RESULTS)
                if part.key == _TABLE:
                    cells.learn(value, part.index)
                    tests.learn(index_of(value, part.index), {"testCase": value.get("test"), "vars": value.get("vars")})
                else:
                    _learn(value, tests)
    except SourceError:
        # The second pass meets the same end and says so.
        header.is_cut = True
    except SHAPE_ERRORS:
        pass
    tests.settle()
    evaluation = read_evaluation(header.finish(), group, builder.file)
    evaluation.status = "started" if header.is_cut else "success"
    _note_version(evaluation, builder)
    evaluation.begin_promised()
    reading = Reading(builder=builder, evaluation=evaluation, tests=tests, cells=cells)
    try:
        for part, raw in _clean_parts(builder.file, limits):
            _take_part(part, raw, reading, limits, has_results=has_results)
            if builder.is_full:
                yield builder.flush()
    except SourceError as error:
        builder.reject(error.rule, str(error))
    reading.finish()


def _clean_parts(file: SourceFile, limits: Limits) -> Iterator[tuple[Part, bytes | None]]:
    """Results, rows and traces without their secrets, which are looked for in many at once."""
    block: list[Part] = []
    size = 0
    try:
        for part in _parts(file, limits):
            if part.index is not None:
                block.append(part)
                size += len(part.raw or b"")
            if size >= _BLOCK_BYTES:
                yield from _cleaned(block)
                block, size = [], 0
    except SourceError:
        yield from _cleaned(block)
        raise
    yield from _cleaned(block)


def _cleaned(block: list[Part]) -> Iterator[tuple[Part, bytes | None]]:
    return zip(block, redact_lines([part.raw for part in block]), strict=True)


def _value_or_empty(raw: bytes) -> JsonObject:
    try:
        return parse_object(raw)[0]
    except RecordError:
        return {}


def _note_version(evaluation: Evaluation, builder: BatchBuilder) -> None:
    """A version that nobody has seen yet is read as far as it is like the last one that was."""
    version = as_object(evaluation.header.get("results")).get("version")
    if version is not None and version not in _KNOWN_VERSIONS:
        builder.reject(
            "version",
            f"The file says version {as_text(version)}, which is not known; it was read as version "
            f"{_KNOWN_VERSIONS[-1]} as far as it is alike. What is not alike stays in the raw records.",
        )


def _take_part(part: Part, raw: bytes | None, reading: Reading, limits: Limits, *, has_results: bool) -> None:
    """A result, a row of the table where there are no results, or a trace; the header was read before."""
    if part.index is None or (part.key == _TABLE and has_results):
        return
    member = "" if part.key in (_RESULTS, _NODE_RESULTS) else part.key
    index = part.index + 1 if member == "" else part.index
    where = f"{member or 'results'}[{part.index}]"
    if raw is None:
        message = f"{where} is longer than {limits.member_bytes:,} bytes and was left out."
        reading.builder.reject("member_bytes", message, record_index=index)
        return
    try:
        value, faults = parse_object(raw)
    except RecordError as error:
        reading.builder.reject(error.rule, f"{where}: {error}", record_index=index, raw=raw)
        return
    if part.key == TRACES:
        reading.add_trace(value, raw, faults, index=index)
    elif part.key == _TABLE:
        _add_row(value, raw, faults, reading, index, where)
    else:
        reading.add(value, raw, faults, index=index, where=where)


def _add_row(value: JsonObject, raw: bytes, faults: list[Fault], reading: Reading, index: int, where: str) -> None:
    """A row of the table, every cell of which is a result."""
    head = as_object(as_object(as_object(reading.evaluation.header.get("results")).get("table")).get("head"))
    variables = [as_text(name) or "" for name in as_list(head.get("vars"))]
    reading.builder.keep(raw, member=_TABLE, record_index=index)
    for cell in results_of(value, index, variables):
        reading.add(cell, None, [], index=index, where=where)
    reading.builder.note(faults, record_index=index, where=where)
