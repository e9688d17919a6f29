"""Reports of llama-perplexity: perplexity, and how far the logits of a model are from those that were saved.

What belongs here: the text of the report. It is written for people, so numbers are found by the words before them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from lake.identity import derived_id
from pipelines.runs.importers.frames import BatchBuilder, ImportBatch, MetricRow
from pipelines.runs.importers.llama_cpp_files import model_name
from pipelines.runs.records import Fault, JsonObject, as_number
from pipelines.runs.redaction import redact_lines
from pipelines.runs.sources import SourceError, read_lines, read_pieces

if TYPE_CHECKING:
    from pipelines.runs.importers.protocol import SourceGroup
    from pipelines.runs.sources import Limits

_MARKS = re.compile(
    rb"^(?:perplexity: calculating perplexity over|kl_divergence: computing over|Final estimate: PPL"
    rb"|=+ (?:Perplexity|KL divergence|Token probability) statistics =+)",
    re.MULTILINE,
)
_NUMBER = r"(?P<value>-?(?:\d[\d.]*(?:e[-+]?\d+)?|nan|inf))"
_LINE = re.compile(
    rf"^(?P<label>.+?)\s*[:=]\s*{_NUMBER}\s*(?:(?:±|\+/-)\s*(?P<error>(?:\d[\d.]*(?:e[-+]?\d+)?|nan|inf)))?\s*(?P<percent>%)?\s*$",
    re.IGNORECASE,
)
_MODEL = re.compile(r"loaded meta data .* from (?P<path>.+?\.gguf)\b")
_BUILD = re.compile(r"^(?:main: )?build(?::| =) (?P<number>\d+) \((?P<commit>[0-9a-f]+)\)")
_STATISTIC = re.compile(r"^(?P<name>Mean|Median|Minimum|Maximum|RMS|[\d.]+%)\s+(?P<of>KLD|Δp)$")
_STATISTICS = {"mean": "mean", "median": "median", "minimum": "min", "maximum": "max", "rms": "rms"}
_MOST_METRICS = 200


class _Name(NamedTuple):
    metric: str
    variant: str
    unit: str
    is_higher_better: bool | None


# The words of the report, and what they are called here.
_NAMES = {
    "Final estimate: PPL": _Name("perplexity", "", "1", is_higher_better=False),
    "Mean PPL(Q)": _Name("perplexity", "", "1", is_higher_better=False),
    "Mean PPL(base)": _Name("perplexity", "base", "1", is_higher_better=False),
    "Mean PPL(Q)/PPL(base)": _Name("perplexity_ratio", "", "ratio", is_higher_better=False),
    "Mean PPL(Q)-PPL(base)": _Name("perplexity_difference", "", "1", is_higher_better=False),
    "Mean ln(PPL(Q)/PPL(base))": _Name("perplexity_log_ratio", "", "nats", is_higher_better=False),
    "Cor(ln(PPL(Q)), ln(PPL(base)))": _Name("perplexity_correlation_ratio", "", "ratio", is_higher_better=True),
    "Same top p": _Name("same_top_token_ratio", "", "ratio", is_higher_better=True),
}


def is_report(start: bytes) -> bool:
    """Whether a text is such a report."""
    return _MARKS.search(start) is not None


def read_report(builder: BatchBuilder, group: SourceGroup, *, limits: Limits) -> Iterator[ImportBatch]:
    """The report as one run; its row and metrics come to the builder."""
    (file,) = group.files
    run_id, run_date = derived_id("run", group.source_kind, file.sha256), file.modified_at.date()
    found: dict[str, str | None] = {"model": None, "number": None, "commit": None}
    metrics: dict[tuple[str, str], MetricRow] = {}
    for index, raw, line in _lines(builder, limits):
        builder.keep(raw, record_index=index, run_id=run_id)
        _learn(line, found)
        faults: list[Fault] = []
        row = _metric(line, run_id, faults)
        if row is not None and len(metrics) < _MOST_METRICS:
            metrics.setdefault((row.metric, row.variant), row._replace(run_date=run_date))
        builder.note(faults, record_index=index, where=f"Line {index + 1}")
        if builder.is_full:
            yield builder.flush()
    builder.metrics.extend(metrics.values())
    builder.runs.append(_row(group, run_id, found, is_whole=bool(metrics)))
    if not metrics:
        builder.reject("results", "The report ends before its results.")


def _lines(builder: BatchBuilder, limits: Limits) -> Iterator[tuple[int, bytes, str]]:
    try:
        for block in read_lines(read_pieces(builder.file, limits=limits), line_bytes=limits.line_bytes):
            for offset, raw in enumerate(redact_lines(block.lines)):
                index = block.first_index + offset
                if raw is None:
                    message = f"Line {index + 1} is longer than {limits.line_bytes:,} bytes and was left out."
                    builder.reject("line_bytes", message, record_index=index)
                elif raw.strip():
                    yield index, raw, raw.decode("utf-8", "replace").strip()
    except SourceError as error:
        builder.reject(error.rule, str(error))


def _learn(line: str, found: dict[str, str | None]) -> None:
    if (model := _MODEL.search(line)) and found["model"] is None:
        found["model"] = model_name(model["path"])
    if (build := _BUILD.match(line)) and found["commit"] is None:
        found["number"], found["commit"] = build["number"], build["commit"]


def _metric(line: str, run_id: str, faults: list[Fault]) -> MetricRow | None:
    """The metric in a line, None if there is none; percentages as ratios."""
    match = _LINE.match(line)
    name = _name(match["label"]) if match else None
    if match is None or name is None:
        return None
    scale = 0.01 if match["percent"] else 1.0
    value = as_number(match["value"], match["label"], faults)
    error = as_number(match["error"], f"{match['label']} error", faults, minimum=0)
    if value is None:
        return None
    return MetricRow(
        run_id=run_id,
        metric=name.metric,
        variant=name.variant,
        step=0,
        run_date=None,  # type: ignore[arg-type]  # set by the caller
        value=value * scale,
        unit=name.unit,
        standard_error=None if error is None else error * scale,
        is_higher_better=name.is_higher_better,
    )


def _name(label: str) -> _Name | None:
    known = _NAMES.get(" ".join(label.split()))
    statistic = _STATISTIC.match(" ".join(label.split()))
    if known is not None or statistic is None:
        return known
    word = statistic["name"].lower()
    variant = _STATISTICS.get(word) or f"p{word.removesuffix('%').removesuffix('.0')}"
    if statistic["of"] == "KLD":
        return _Name("kl_divergence", variant, "nats", is_higher_better=False)
    return _Name("token_probability_change_ratio", variant, "ratio", is_higher_better=None)


def _row(group: SourceGroup, run_id: str, found: dict[str, str | None], *, is_whole: bool) -> JsonObject:
    (file,) = group.files
    commit, number = found["commit"], found["number"]
    return {
        "run_id": run_id,
        "run_date": file.modified_at.date(),
        "source_kind": group.source_kind,
        "file_sha256": file.sha256,
        "content_digest": group.content_digest,
        "suite": "llama-perplexity",
        "backend": "llama.cpp",
        "model": found["model"] or "unknown",
        "engine": "llama.cpp",
        "engine_version": f"b{number}-{commit}" if commit else None,
        "code_version": {"commit": commit} if commit else {},
        "started_at": file.modified_at,
        "status": "success" if is_whole else "started",
    }
