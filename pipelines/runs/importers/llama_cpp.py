"""llama.cpp: answers of its server, results of llama-bench and reports of llama-perplexity (docs/formats.md).

What belongs here: recognising which of the three a file is, and handing it to whoever reads that:
`llama_cpp_answers.py`, `llama_cpp_bench.py`, `llama_cpp_report.py`. Answers in the shape of OpenAI's interface, which
the server gives too, are `openai.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipelines.runs.importers.frames import BatchBuilder, ImportBatch
from pipelines.runs.importers.llama_cpp_answers import is_answer_record, read_answers
from pipelines.runs.importers.llama_cpp_bench import (
    has_bench_words,
    is_bench_header,
    is_bench_record,
    read_bench,
    read_bench_table,
)
from pipelines.runs.importers.llama_cpp_files import first_record, head_records
from pipelines.runs.importers.llama_cpp_report import is_report, read_report
from pipelines.runs.importers.protocol import FileImporter
from pipelines.runs.sources import SourceError, read_head

if TYPE_CHECKING:
    from pipelines.runs.importers.guide import FormatGuide
    from pipelines.runs.importers.protocol import SourceGroup
    from pipelines.runs.sources import FileHead, Limits


class LlamaCppImporter(FileImporter):
    """Reads what llama.cpp's own programs write."""

    source_kind = "llama_cpp"
    version = 1

    @property
    def guide(self) -> FormatGuide:
        """What the docs say about the format."""
        from pipelines.runs.importers.guides.llama_cpp import GUIDE

        return GUIDE

    def detects(self, head: FileHead) -> bool:
        """An answer with llama.cpp's own fields, a benchmark's record or header, or the marks of a report."""
        if head.packing == "zip" or head.tables:
            return False
        if is_bench_header(head.start) or is_report(head.start):
            return True
        first = first_record(head.start)
        if first is not None and is_bench_record(first):
            return True
        return any(is_answer_record(record) for record in head_records(head.start))

    def read(self, group: SourceGroup, *, limits: Limits) -> Iterator[ImportBatch]:
        """Batches of the file; the runs' own rows come with the last."""
        builder = BatchBuilder(file=group.files[0])
        try:
            start = read_head(builder.file, limits=limits).start
        except (SourceError, OSError):
            start = b""
        if is_bench_header(start):
            yield from read_bench_table(builder, group, limits=limits)
        elif is_report(start):
            yield from read_report(builder, group, limits=limits)
        elif has_bench_words(start):
            yield from read_bench(builder, group, limits=limits)
        else:
            yield from read_answers(builder, group, start, limits=limits)
        yield builder.flush()
