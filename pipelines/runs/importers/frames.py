"""From what an importer read to the frames that land: the part that is the same for every format.

What belongs here: the row shapes, gathering rows into bounded batches, and building columns at once for a whole
batch. What a row means in a format is that format's module.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from lake.identity import text_digest
from lake.tables import CONTRACTS
from lake.validation import Reject, reject_rows
from pipelines.runs.importers.columns import as_lists, as_series, columns_of
from pipelines.runs.importers.packing import RecordPacker
from pipelines.runs.parameters import ParamRow, read_parameters
from pipelines.runs.redaction import redact_text

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping, Sequence

    from pipelines.runs.records import Fault
    from pipelines.runs.sources import SourceFile

# A batch of this many records, or bytes of records, is built and handed on; memory does not grow with the file.
CHUNK_RECORDS = 5_000
CHUNK_BYTES = 64 << 20
# A record may hold many values or spans.
CHUNK_ROWS = 50_000
# What the import step is called in bronze.rejects.
STEP = "import"
# Names of silver.runs.fingerprint and .code_version; what a format does not know stays null.
_STRUCTS = ("fingerprint", "code_version")


class OutputRow(NamedTuple):
    """One row of silver.outputs but for the digests, which are computed for the batch."""

    run_id: str
    sample_id: str
    repeat_index: int
    run_date: dt.date
    prompt: str | None
    output: str | None
    reference: str | None
    status: str
    finish_reason: str | None
    input_token_count: int | None
    output_token_count: int | None
    latency_ms: float | None
    time_to_first_token_ms: float | None
    scores: Sequence[tuple[str, float]]
    tags: Sequence[str]
    error_message: str | None
    started_at: dt.datetime | None


class TopToken(NamedTuple):
    """An alternative at one position."""

    token_id: int | None
    token: str
    logprob: float


class TokenRow(NamedTuple):
    """A generated token."""

    token_id: int | None
    token: str
    bytes: bytes | None
    logprob: float | None
    top_k: Sequence[TopToken] | None


class MetricRow(NamedTuple):
    """One row of silver.run_metrics."""

    run_id: str
    metric: str
    variant: str
    step: int
    run_date: dt.date
    value: float
    unit: str
    standard_error: float | None = None
    is_higher_better: bool | None = None
    repeat_index: int = 0
    standard_deviation: float | None = None
    sample_count: int | None = None
    recorded_at: dt.datetime | None = None


class SpanRow(NamedTuple):
    """One row of silver.spans; times in nanoseconds from the beginning of the trace's own clock."""

    run_id: str
    span_index: int
    run_date: dt.date
    name: str
    start_ns: int
    duration_ns: int
    span_id: str | None = None
    parent_span_id: str | None = None
    trace_id: str | None = None
    sample_id: str | None = None
    category: str | None = None
    process: str | None = None
    thread: str | None = None
    started_at: dt.datetime | None = None
    status: str = "ok"
    attributes: str | None = None


@dataclass(frozen=True, kw_only=True)
class ImportBatch:
    """Rows of one stretch of one file, ready for the lake.

    `chunk` counts the stretches of the file and depends on its content alone, so it can be part of a token.
    """

    file: SourceFile
    chunk: int
    runs: pl.DataFrame
    outputs: pl.DataFrame
    output_tokens: pl.DataFrame
    run_metrics: pl.DataFrame
    run_params: pl.DataFrame
    spans: pl.DataFrame
    raw_records: pl.DataFrame
    rejects: pl.DataFrame

    @property
    def record_count(self) -> int:
        """Records as received."""
        return self.raw_records.height


@dataclass(kw_only=True)
class BatchBuilder:
    """Gathers rows of one file until a batch is full."""

    file: SourceFile
    chunk: int = 0
    runs: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[OutputRow] = field(default_factory=list)
    tokens: list[tuple[OutputRow, Sequence[TokenRow]]] = field(default_factory=list)
    metrics: list[MetricRow] = field(default_factory=list)
    spans: list[SpanRow] = field(default_factory=list)
    # Rows of silver.spans that an importer made as columns.
    span_frames: list[pl.DataFrame] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    _raw: RecordPacker = field(default_factory=RecordPacker)
    _members: list[str] = field(default_factory=list)
    _record_indexes: list[int] = field(default_factory=list)
    _run_ids: list[str | None] = field(default_factory=list)
    _sample_ids: list[str | None] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether it is time to hand a batch on."""
        is_many = self._raw.count >= CHUNK_RECORDS or len(self.metrics) + len(self.spans) >= CHUNK_ROWS
        return is_many or self._raw.byte_count >= CHUNK_BYTES

    def keep(
        self,
        raw: bytes,
        *,
        record_index: int,
        member: str = "",
        run_id: str | None = None,
        sample_id: str | None = None,
    ) -> None:
        """Keep the record as received (but redacted)."""
        self._raw.add(raw)
        self._members.append(member)
        self._record_indexes.append(record_index)
        self._run_ids.append(run_id)
        self._sample_ids.append(sample_id)

    def reject(self, rule: str, message: str, *, record_index: int | None = None, raw: bytes | None = None) -> None:
        """Refuse a record, or the whole file when there is no index; `raw` must be redacted."""
        shown = None if raw is None else raw[:16_384].decode("utf-8", "replace")
        self.rejects.append(Reject(record_index=record_index, rule=rule, message=redact_text(message), raw=shown))

    def note(self, faults: Iterable[Fault], *, record_index: int | None, where: str) -> None:
        """Record fields that could not be used though the record landed."""
        self.rejects.extend(
            Reject(record_index=record_index, rule=fault.rule, message=f"{where}: {fault.message}", raw=fault.raw)
            for fault in faults
        )

    def flush(self) -> ImportBatch:
        """The batch so far; the builder starts the next one."""
        batch = ImportBatch(
            file=self.file,
            chunk=self.chunk,
            runs=run_frame(self.runs),
            outputs=output_frame(self.outputs),
            output_tokens=token_frame(self.tokens),
            run_metrics=metric_frame(self.metrics),
            run_params=param_frame(self.runs),
            spans=pl.concat([span_frame(self.spans), *self.span_frames]),
            raw_records=self._raw_frame(),
            rejects=reject_rows(
                table=STEP, source_uri=self.file.uri, source_sha256=self.file.sha256, entries=self.rejects
            ),
        )
        self.chunk += 1
        for rows in (self.runs, self.outputs, self.tokens, self.metrics, self.spans, self.span_frames, self.rejects):
            rows.clear()
        for keys in (self._members, self._record_indexes, self._run_ids, self._sample_ids):
            keys.clear()
        return batch

    def _raw_frame(self) -> pl.DataFrame:
        packed = self._raw.take()
        return _frame(
            "bronze.raw_records",
            {
                "file_sha256": [self.file.sha256] * len(packed),
                "member": self._members,
                "record_index": self._record_indexes,
                "run_id": self._run_ids,
                "sample_id": self._sample_ids,
                "raw": packed,
            },
        )


def run_frame(runs: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Rows of silver.runs; keys that a row lacks are null."""
    dtypes = CONTRACTS["silver.runs"].dtypes
    columns: dict[str, Any] = {name: [run.get(name) for run in runs] for name in dtypes}
    for name in _STRUCTS:
        known = [member.name for member in dtypes[name].fields]  # type: ignore[attr-defined]  # a Struct
        columns[name] = [{key: (run.get(name) or {}).get(key) for key in known} for run in runs]
    columns["tags"] = _tag_column([list(run.get("tags") or ()) for run in runs])
    return _frame("silver.runs", columns)


def output_frame(rows: Sequence[OutputRow]) -> pl.DataFrame:
    """Rows of silver.outputs with their digests."""
    columns: dict[str, Any] = dict(zip(OutputRow._fields, columns_of(rows, len(OutputRow._fields)), strict=True))
    columns["prompt_digest"] = [None if text is None else text_digest(text) for text in columns["prompt"]]
    columns["output_digest"] = [None if text is None else text_digest(text) for text in columns["output"]]
    columns["scores"] = _score_column(columns["scores"])
    columns["tags"] = _tag_column(columns["tags"])
    return _frame("silver.outputs", columns)


def token_frame(rows: Sequence[tuple[OutputRow, Sequence[TokenRow]]]) -> pl.DataFrame:
    """Rows of silver.output_tokens."""
    return _frame(
        "silver.output_tokens",
        {
            "run_id": [output.run_id for output, _ in rows],
            "sample_id": [output.sample_id for output, _ in rows],
            "repeat_index": [output.repeat_index for output, _ in rows],
            "run_date": [output.run_date for output, _ in rows],
            **_token_columns([tokens for _, tokens in rows]),
        },
    )


def metric_frame(rows: Sequence[MetricRow]) -> pl.DataFrame:
    """Rows of silver.run_metrics."""
    return _frame(
        "silver.run_metrics", dict(zip(MetricRow._fields, columns_of(rows, len(MetricRow._fields)), strict=True))
    )


def param_frame(runs: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Rows of silver.run_params, from what the rows of silver.runs hold as JSON under `parameters`.

    A run may carry `parameter_units`, units by parameter name; else a name's ending tells the unit (`_ms`).
    """
    rows = [
        parameter
        for run in runs
        for parameter in read_parameters(
            run["run_id"], run["run_date"], run.get("parameters"), units=run.get("parameter_units") or {}
        )
    ]
    return _frame(
        "silver.run_params", dict(zip(ParamRow._fields, columns_of(rows, len(ParamRow._fields)), strict=True))
    )


def span_frame(rows: Sequence[SpanRow]) -> pl.DataFrame:
    """Rows of silver.spans, without their places, which are known when all spans of a file are."""
    columns: dict[str, Any] = dict(zip(SpanRow._fields, columns_of(rows, len(SpanRow._fields)), strict=True))
    absent = CONTRACTS["silver.spans"].dtypes.keys() - columns.keys()
    return _frame("silver.spans", columns | {name: [None] * len(rows) for name in absent})


def _frame(table: str, columns: Mapping[str, Sequence[Any] | pl.Series]) -> pl.DataFrame:
    """A frame in the contract's types."""
    return pl.DataFrame(
        [
            given if isinstance(given, pl.Series) else as_series(name, given, dtype)
            for name, dtype in CONTRACTS[table].dtypes.items()
            for given in (columns[name],)
        ]
    )


def _score_column(scores: Sequence[Sequence[tuple[str, float]]]) -> pl.Series:
    names, values = columns_of([pair for row in scores for pair in row], 2)
    pairs = pl.DataFrame([as_series("scorer", names, pl.String()), as_series("value", values, pl.Float64())])
    return as_lists("scores", pairs.to_struct(), scores)


def _tag_column(tags: Sequence[Sequence[str]]) -> pl.Series:
    return as_lists("tags", as_series("tag", [tag for row in tags for tag in row], pl.String()), tags)


def _token_columns(rows: Sequence[Sequence[TokenRow]]) -> dict[str, pl.Series]:
    """One list a field: nested columns from flat ones, because a dictionary a token costs ten times as much."""
    ids, texts, raw, logprobs, top_lists = columns_of([token for row in rows for token in row], 5)
    top_ids, top_texts, top_logprobs = columns_of([top for tops in top_lists for top in tops or ()], 3)
    tops = pl.DataFrame(
        [
            as_series("token_id", top_ids, pl.Int64()),
            as_series("token", top_texts, pl.String()),
            as_series("logprob", top_logprobs, pl.Float64()),
        ]
    )
    flat = {
        "tokens": as_series("token", texts, pl.String()),
        "token_ids": as_series("token_id", ids, pl.Int64()),
        "token_bytes": as_series("bytes", raw, pl.Binary()),
        "logprobs": as_series("logprob", logprobs, pl.Float64()),
        "top_k": as_lists("top_k", tops.to_struct(), top_lists),
    }
    return {name: as_lists(name, items, rows) for name, items in flat.items()}
