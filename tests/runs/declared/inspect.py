from tests.runs.formats import Format, Record
from tests.runs.run_files import inspect_json, inspect_sample, inspect_zip


def nan(record: Record) -> Record:
    return record | {"scores": {"exact_match": {"value": float("nan")}, "f1": {"value": 0.5}}}


def surrogate(record: Record) -> Record:
    return record | {"output": {"completion": "a\ud800b"}}


FORMATS = (
    Format(
        source_kind="inspect",
        name="log.json",
        record=inspect_sample,
        pack=inspect_json,
        cut_before=lambda content: content.index(b'"id": 3') + 40,
        nan=nan,
        surrogate=surrogate,
    ),
    Format(
        source_kind="inspect",
        name="log.eval",
        record=inspect_sample,
        pack=inspect_zip,
        # A zip holds a member once.
        has_duplicates=False,
        cut_before=lambda content: content.index(b"samples/3_") + 40,
        nan=nan,
        surrogate=surrogate,
    ),
)
