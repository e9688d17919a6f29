import json

from tests.runs.formats import Format, Record, Tables

COLUMNS = ("result", "params", "version", "started_at", "duration", "stats_ci_99_a", "stats_ci_99_b", "samples")
STARTED_MS = 1_772_359_200_000  # 2026-03-01 10:00:00 UTC


def header() -> Record:
    return {
        "commit_hash": "c0ffee" + "0" * 34,
        "env_name": "virtualenv-py3.11-numpy",
        "date": STARTED_MS - 3_600_000,
        "params": {"machine": "box", "cpu": "any", "python": "3.11", "numpy": "2.0"},
        "python": "3.11",
        "requirements": {"numpy": "2.0"},
        "env_vars": {},
    }


def benchmark(index: int) -> Record:
    return {
        "name": f"suite.time_{index}",
        "result": [0.25, 0.5],
        "params": [["'a'", "'b'"]],
        "version": "1",
        "started_at": STARTED_MS + 1_000 * index,
        "duration": 2.0,
        "stats_ci_99_a": [0.2, None],
        "stats_ci_99_b": [0.3, float("inf")],
        "samples": None,
    }


def result_file(records: list[Record], **changes: object) -> bytes:
    """A result file; keys of a record that are no columns of asv's become columns."""
    more = dict.fromkeys(key for record in records for key in record if key not in {"name", *COLUMNS})
    columns = [*COLUMNS, *more]
    # By hand, because a benchmark may come twice.
    results = ", ".join(
        f"{json.dumps(str(record.get('name')))}: {json.dumps([record.get(column) for column in columns])}"
        for record in records
    )
    top = json.dumps(header() | {"result_columns": columns} | changes)
    return f'{top[:-1]}, "results": {{{results}}}, "durations": {{"<build>": 1.5}}, "version": 2}}'.encode()


def benchmarks(tables: Tables) -> list[str]:
    return sorted({name for name in tables["silver.run_metrics"]["metric"] if name != "wall_time_ms"})


FORMATS = (
    Format(
        source_kind="asv",
        name="c0ffee00-virtualenv-py3.11-numpy.json",
        record=benchmark,
        pack=result_file,
        landed=benchmarks,
        identity=lambda index: f"suite.time_{index}",
        cut_before=lambda content: content.index(b'"suite.time_3"') + 30,
        nan=lambda record: record | {"duration": float("nan")},
        surrogate=lambda record: record | {"name": "suite.time_a\ud800b"},
    ),
)
