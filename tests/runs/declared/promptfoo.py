import json

from tests.runs.formats import PLANTED, Format, Record, Tables
from tests.runs.run_files import json_lines
from tests.runs.serving_files import promptfoo_evaluation, promptfoo_result, promptfoo_table


def pack_whole(records: list[Record]) -> bytes:
    return json.dumps(promptfoo_evaluation(records), indent=2).encode()


def pack_table(records: list[Record]) -> bytes:
    return json.dumps(promptfoo_table(records)).encode()


def outputs(tables: Tables) -> list[str]:
    return sorted(filter(None, tables["silver.outputs"]["output"]))


def nan(record: Record) -> Record:
    return record | {"latencyMs": float("nan")}


def surrogate(record: Record) -> Record:
    return record | {"response": {"output": "a\ud800b"}}


def secret(record: Record) -> Record:
    http = {"requestHeaders": {"authorization": "Bearer hunter2secret"}}
    return record | {"response": record["response"] | {"metadata": {"http": http}}} | PLANTED


def good_tables(tables: Tables) -> None:
    assert tables["silver.outputs"]["status"].to_list() == ["assert_fail"] * 3
    assert tables["silver.outputs"]["sample_id"].to_list() == ["0", "1", "2"]
    assert tables["silver.runs"].height == 1


FORMATS = (
    Format(
        source_kind="promptfoo",
        name="output.json",
        record=promptfoo_result,
        pack=pack_whole,
        cut_before=lambda content: content.index(b'"id": "result-3"') + 40,
        nan=nan,
        surrogate=surrogate,
        secret=secret,
        good_tables=good_tables,
    ),
    Format(
        source_kind="promptfoo",
        name="output.jsonl",
        record=promptfoo_result,
        pack=json_lines,
        is_lines=True,
        cut_before=lambda content: content.index(b'"result-3"') + 40,
        nan=nan,
        surrogate=surrogate,
        secret=secret,
        good_tables=good_tables,
    ),
    Format(
        source_kind="promptfoo",
        name="version_2.json",
        record=promptfoo_result,
        pack=pack_table,
        # Without ids, the same result again is a repeat; and its place in the table is its only name.
        has_duplicates=False,
        landed=outputs,
        identity=lambda index: f"City {index}",
        surrogate=surrogate,
        secret=secret,
        good_tables=good_tables,
    ),
)
