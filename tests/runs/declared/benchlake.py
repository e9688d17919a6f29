from tests.runs.formats import Format, Record
from tests.runs.run_files import benchlake_output, benchlake_run, json_lines


def pack(records: list[Record]) -> bytes:
    end = {"type": "end", "status": "success", "ended_at": "2026-03-01T10:05:00Z"}
    return json_lines([benchlake_run(), *records, end])


FORMATS = (
    Format(
        source_kind="benchlake",
        name="run.jsonl",
        record=benchlake_output,
        pack=pack,
        is_lines=True,
        header_lines=1,
        identity=lambda index: f"s{index}",
        cut_before=lambda content: content.index(b'"s3"') + 40,
        nan=lambda record: record | {"scores": {"exact_match": float("nan"), "f1": 0.5}},
        surrogate=lambda record: record | {"output": "a\ud800b"},
    ),
)
