import json

from tests.runs.formats import Format, Record, Tables


def event(index: int) -> Record:
    return {
        "ph": "X",
        "cat": "cpu_op",
        "name": f"op {index}",
        "pid": 41,
        "tid": "worker",
        "ts": 1000.125 + index,
        "dur": 0.5,
        "args": {"External id": index, "Input Dims": [[2, 3], []]},
    }


def pack_object(records: list[Record]) -> bytes:
    header = {"schemaVersion": 1, "baseTimeNanoseconds": 1_700_000_000_000_000_000}
    return json.dumps(header | {"traceEvents": records, "traceName": "/tmp/loop_7.pt.trace.json"}, indent=2).encode()


def pack_array(records: list[Record]) -> bytes:
    return b"[\n" + b",\n".join(json.dumps(record).encode() for record in records) + b"\n]"


def landed(tables: Tables) -> list[str]:
    return sorted(tables["silver.spans"]["name"])


def check_good(tables: Tables) -> None:
    spans = tables["silver.spans"].to_dicts()
    assert [(span["start_ns"], span["duration_ns"]) for span in spans] == [
        (1_000_125, 500),
        (1_001_125, 500),
        (1_002_125, 500),
    ]
    assert {(span["category"], span["process"], span["thread"]) for span in spans} == {("cpu_op", "41", "worker")}


def identity(index: int) -> str:
    return f"op {index}"


def nan(record: Record) -> Record:
    return record | {"args": {"est. achieved occupancy %": float("nan")}}


def surrogate(record: Record) -> Record:
    return record | {"name": "a\ud800b"}


def cut_before(content: bytes) -> int:
    return content.index(b'"op 3"') + 20


FORMATS = tuple(
    Format(
        source_kind="chrome_trace",
        name=name,
        record=event,
        pack=pack,
        landed=landed,
        identity=identity,
        # Equal events are two spans: the same operator may be called twice within a microsecond.
        has_duplicates=False,
        cut_before=cut_before,
        nan=nan,
        surrogate=surrogate,
        good_tables=check_good,
    )
    for name, pack in (("loop.pt.trace.json", pack_object), ("trace.json", pack_array))
)
