import json

from tests.runs.formats import Format, Record, Tables
from tests.runs.serving_files import vllm_result


def pack_lines(records: list[Record]) -> bytes:
    return b"\n".join(json.dumps(record).encode() for record in records)


def pack_pretty(records: list[Record]) -> bytes:
    return b"\n".join(json.dumps(record, indent=2).encode() for record in records)


def suites(tables: Tables) -> list[str]:
    return sorted(tables["silver.runs"]["suite"])


def good_tables(tables: Tables) -> None:
    assert tables["silver.outputs"].height == 6
    assert tables["silver.runs"]["status"].to_list() == ["success"] * 3


def appended(name: str, pack: object) -> Format:
    return Format(
        source_kind="vllm_bench",
        name=name,
        record=vllm_result,
        pack=pack,
        landed=suites,
        identity=lambda index: f"rates-{index}",
        cut_before=lambda content: content.index(b"rates-3") + 40,
        nan=lambda record: record | {"p99_ttft_ms": float("nan")},
        surrogate=lambda record: record | {"generated_texts": ["a\ud800b", "c"]},
        good_tables=good_tables,
    )


FORMATS = (
    appended("serving.json", pack_lines),
    appended("pretty.json", pack_pretty),
)
