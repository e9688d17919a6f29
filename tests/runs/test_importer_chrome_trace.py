from __future__ import annotations

import datetime as dt
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.runs.importers import SourceGroup, frames, importer_of
from pipelines.runs.importers.chrome_trace_events import read_block
from pipelines.runs.importers.chrome_trace_times import nanosecond_column, nanoseconds, times_as_written
from pipelines.runs.json_blocks import Block
from pipelines.runs.sources import Limits, identify
from tests.runs.declared.chrome_trace import event, pack_array, pack_object
from tests.runs.formats import Tables, raw_text, read, read_bytes, rules, shared

BASE_NS = 1_700_000_000_000_000_000  # 2023-11-14T22:13:20Z


def trace(tmp_path: Path, events: list[dict[str, Any]], **header: Any) -> Tables:
    content = json.dumps(header | {"traceEvents": events}).encode()
    return read_bytes(tmp_path, "trace.json", content, kind="chrome_trace")


def spans(tables: Tables) -> list[dict[str, Any]]:
    return tables["silver.spans"].sort("span_index").to_dicts()


def metrics(tables: Tables) -> dict[tuple[str, str], float]:
    return {(row["metric"], row["variant"]): row["value"] for row in tables["silver.run_metrics"].to_dicts()}


@pytest.mark.parametrize("name", ["hta_control", "hta_test"])
def test_totals_of_real_traces_are_those_of_their_json(name: str) -> None:
    path = shared("traces") / f"{name}.pt.trace.json.gz"
    counts: Counter[tuple[str, str]] = Counter()
    durations: Counter[tuple[str, str]] = Counter()
    for item in json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]:
        if item["ph"] == "X":
            counts[item["name"], item["cat"]] += 1
            durations[item["name"], item["cat"]] += item["dur"] * 1000
    tables = read(path)
    totals = tables["silver.spans"].group_by("name", "category").agg(pl.len(), pl.col("duration_ns").sum())
    assert {(row[0], row[1]): (row[2], row[3]) for row in totals.iter_rows()} == {
        key: (counts[key], durations[key]) for key in counts
    }
    assert rules(tables) == []
    run = tables["silver.runs"].row(0, named=True)
    assert (run["engine"], run["backend"], run["suite"], run["model"]) == ("pytorch", "cuda", "trace", "unknown")
    assert run["run_date"].isoformat() in ("2022-08-22", "2022-08-31")
    kernels = sum(duration for (_, category), duration in durations.items() if category == "kernel")
    assert metrics(tables)["gpu_time_ms", "kernel"] == pytest.approx(kernels / 1e6, abs=1e-9)
    assert metrics(tables)["span_count", ""] == counts.total()


def test_fields_land(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, "loop.json", pack_object([event(0)]))
    span = spans(tables)[0]
    # 1000.125 us after the base.
    assert span["start_ns"] == 1_000_125
    assert span["started_at"] == dt.datetime(2023, 11, 14, 22, 13, 20, 1000, tzinfo=dt.UTC)
    assert json.loads(span["attributes"]) == {"External id": 0, "Input Dims": [[2, 3], []]}
    run = tables["silver.runs"].row(0, named=True)
    assert (run["suite"], run["run_date"], run["status"]) == ("loop", dt.date(2023, 11, 14), "success")
    assert run["started_at"] == span["started_at"]
    assert run["ended_at"] - run["started_at"] == dt.timedelta(0)  # half a microsecond later
    assert metrics(tables) == {
        ("wall_time_ms", "trace"): 0.0005,
        ("span_count", ""): 1.0,
        ("span_count", "cpu_op"): 1.0,
    }


def test_the_header_becomes_hardware_parameters_and_code_version(tmp_path: Path) -> None:
    header = {
        "schemaVersion": 1,
        "deviceProperties": [{"id": 0, "name": "Accelerator 9"}, {"id": 1, "name": "Accelerator 9"}],
        "distributedInfo": {"backend": "nccl", "rank": 3, "world_size": 8},
        "with_stack": True,
        "trace_id": "F00D",
        "git_commit": "c0ffee",
        "metadata": {"git_branch": "topic"},
    }
    tables = trace(tmp_path, [event(0) | {"cat": "kernel"}], **header)
    run = tables["silver.runs"].row(0, named=True)
    assert run["fingerprint"]["hardware"] == "2 x Accelerator 9"
    assert (run["backend"], run["source_run_id"]) == ("cuda", "F00D")
    assert (run["code_version"]["commit"], run["code_version"]["branch"]) == ("c0ffee", "topic")
    numbers = {row["parameter"]: row["value"] for row in tables["silver.run_params"].to_dicts()}
    assert numbers == {
        "distributed.backend": "nccl",
        "distributed.rank": "3",
        "distributed.world_size": "8",
        "with_stack": "true",
    }


def test_processes_and_threads_are_named(tmp_path: Path) -> None:
    named = [
        {"ph": "M", "name": "process_name", "pid": 7, "args": {"name": "python"}},
        {"ph": "M", "name": "process_labels", "pid": 7, "args": {"labels": "GPU 0"}},
        {"ph": "M", "name": "thread_name", "pid": 7, "tid": 1, "args": {"name": "stream 1"}},
        {"ph": "M", "name": "thread_sort_index", "pid": 7, "tid": 1, "args": {"sort_index": 5}},
    ]
    run = trace(tmp_path, [event(0), *named])["silver.runs"].row(0, named=True)
    assert json.loads(run["environment"])["processes"] == {
        "7": {"name": "python", "labels": "GPU 0", "threads": {"1": {"name": "stream 1", "sort_index": 5}}}
    }


def test_begins_and_ends_nest_on_their_thread(tmp_path: Path) -> None:
    def mark(phase: str, ts: float, tid: int = 1, **more: Any) -> dict[str, Any]:
        return {"ph": phase, "pid": 1, "tid": tid, "ts": ts} | more

    tables = trace(
        tmp_path,
        [
            mark("B", 10, name="outer", args={"a": 1}),
            mark("B", 10.5, tid=2, name="elsewhere"),
            mark("B", 11.25, name="inner"),
            mark("E", 12.5),
            mark("E", 20, args={"b": 2}),
            mark("E", 21, tid=2),
        ],
    )
    assert [(span["span_index"], span["name"], span["start_ns"], span["duration_ns"]) for span in spans(tables)] == [
        (0, "outer", 10_000, 10_000),
        (1, "elsewhere", 10_500, 10_500),
        (2, "inner", 11_250, 1_250),
    ]
    assert json.loads(spans(tables)[0]["attributes"]) == {"a": 1, "b": 2}
    assert rules(tables) == []


def test_async_spans_belong_together_by_category_and_id(tmp_path: Path) -> None:
    def mark(phase: str, ts: int, id_: object, cat: str = "net", **more: Any) -> dict[str, Any]:
        return {"ph": phase, "pid": 1, "tid": 1, "ts": ts, "id": id_, "cat": cat, "name": f"load {id_}"} | more

    tables = trace(
        tmp_path,
        [
            mark("b", 1, "0x1"),
            mark("b", 2, "0x2"),
            mark("b", 3, "0x1", cat="disk"),
            mark("n", 3, "0x2"),
            mark("e", 5, "0x1"),
            mark("e", 7, "0x2", tid=9),
            mark("e", 9, "0x1", cat="disk"),
        ],
    )
    assert [(span["span_id"], span["category"], span["duration_ns"]) for span in spans(tables)] == [
        ("0x1", "net", 4_000),
        ("0x2", "net", 5_000),
        ("0x1", "disk", 6_000),
    ]
    assert metrics(tables)["instant_event_count", ""] == 1.0


def test_ends_and_begins_without_counterpart_are_told_by_place(tmp_path: Path) -> None:
    tables = trace(
        tmp_path,
        [
            {"ph": "E", "pid": 1, "tid": 1, "ts": 1},
            event(1),
            {"ph": "B", "name": "open", "pid": 1, "tid": 1, "ts": 2},
        ],
    )
    assert [span["name"] for span in spans(tables)] == ["op 1"]
    assert rules(tables) == ["event: unpaired", "event: unpaired"]
    assert sorted(tables["bronze.rejects"]["record_index"]) == [0, 2]


def test_instants_counters_and_flows_are_counted_but_no_spans(tmp_path: Path) -> None:
    others = [{"ph": phase, "name": "x", "pid": 1, "tid": 1, "ts": 1, "id": 3} for phase in "istfC"]
    tables = trace(tmp_path, [*others, event(0)])
    assert len(spans(tables)) == 1
    counted = {name: value for (name, _), value in metrics(tables).items() if name.endswith("_event_count")}
    assert counted == {"instant_event_count": 1.0, "flow_event_count": 3.0, "counter_event_count": 1.0}
    assert '"C"' in raw_text(tables)
    assert rules(tables) == []


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"ph": "?"}, "event: ph"),
        ({"ph": None}, "event: ph"),
        ({"dur": -1}, "event: dur"),
        ({"dur": None}, "event: dur"),
        ({"ts": "soon"}, "event: ts"),
        ({"ts": 1e300}, "event: ts"),
        ({"name": 5}, "event: name"),
    ],
)
def test_a_broken_event_is_told_by_its_place(tmp_path: Path, change: dict[str, Any], rule: str) -> None:
    tables = trace(tmp_path, [event(0), event(1) | change, event(2)])
    assert [span["name"] for span in spans(tables)] == ["op 0", "op 2"]
    assert [span["span_index"] for span in spans(tables)] == [0, 2]
    assert rules(tables) == [rule]
    assert tables["bronze.rejects"]["record_index"].to_list() == [1]


def test_a_quote_too_many_costs_its_event_alone(tmp_path: Path) -> None:
    content = pack_array([event(index) for index in range(9)]).replace(b'"op 4"', b'"op "4"')
    tables = read_bytes(tmp_path, "trace.json", content)
    assert [span["span_index"] for span in spans(tables)] == [0, 1, 2, 3, 5, 6, 7, 8]
    assert tables["bronze.rejects"]["record_index"].to_list() == [4]


def test_quotes_in_a_name_are_mended_where_the_name_has_its_own_line(tmp_path: Path) -> None:
    # PyTorch 2.13 writes the name of record_function('load "train"') like this.
    content = pack_object([event(0), event(1) | {"name": "load NAME"}, event(2)]).replace(b"NAME", b'"train"')
    tables = read_bytes(tmp_path, "trace.json", content)
    assert [span["name"] for span in spans(tables)] == ["op 0", 'load "train"', "op 2"]
    assert rules(tables) == ["name: quotes"]


def test_an_event_beyond_the_limit_is_told_and_the_others_land(tmp_path: Path) -> None:
    long = event(1) | {"args": {"stack": ["x"] * 4_000}}
    path = tmp_path / "trace.json"
    path.write_bytes(pack_array([event(0), long, event(2)]))
    tables = read(path, limits=Limits(line_bytes=5_000))
    assert [span["span_index"] for span in spans(tables)] == [0, 2]
    assert rules(tables) == ["event_bytes"]


def test_long_arguments_stay_in_the_raw_record(tmp_path: Path) -> None:
    tables = trace(tmp_path, [event(0) | {"args": {"stack": "frame;" * 20_000}}])
    assert spans(tables)[0]["attributes"] is None
    assert rules(tables) == ["attributes: bytes"]
    assert "frame;frame;" in raw_text(tables)


def test_members_that_we_do_not_know_become_attributes(tmp_path: Path) -> None:
    tables = trace(tmp_path, [event(0) | {"tdur": 3, "args": {"a": 1}}, event(1) | {"args": ["x"]}])
    assert [json.loads(span["attributes"]) for span in spans(tables)] == [{"a": 1, "tdur": 3}, {"args": ["x"]}]


def test_odd_events_do_not_change_how_the_others_are_read(tmp_path: Path) -> None:
    plain = [event(index) | {"ts": 7e12 + index / 8} for index in range(20)]
    odd = event(20) | {"pid": None, "args": {"x": float("nan")}}
    together = spans(trace(tmp_path / "both", [*plain, odd]))
    columns = ["span_index", "name", "category", "process", "thread", "start_ns", "duration_ns", "attributes"]
    alone = trace(tmp_path / "plain", plain)["silver.spans"].select(columns).to_dicts()
    assert [{key: span[key] for key in columns} for span in together[:20]] == alone
    assert together[20]["process"] is None


def test_a_base_after_the_events_dates_nothing(tmp_path: Path) -> None:
    content = json.dumps({"traceEvents": [event(0)], "baseTimeNanoseconds": BASE_NS}).encode()
    tables = read_bytes(tmp_path, "trace.json", content)
    assert spans(tables)[0]["started_at"] is None
    assert rules(tables) == ["base_time"]


def test_a_file_of_many_blocks_is_read_in_bounded_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trace.json"
    path.write_bytes(pack_array([event(index) for index in range(20_000)]))
    whole = read(path)
    monkeypatch.setattr(frames, "CHUNK_BYTES", 1 << 20)
    file = identify(path, root=tmp_path.resolve(), limits=Limits())
    importer = importer_of("chrome_trace")
    group = SourceGroup(source_kind="chrome_trace", importer_version=importer.version, files=(file,))
    batches = list(importer.read(group, limits=Limits()))
    assert len(batches) > 2
    assert max(batch.spans.height for batch in batches) < 20_000
    assert pl.concat([batch.spans for batch in batches]).equals(whole["silver.spans"])
    assert whole["silver.spans"]["span_index"].to_list() == list(range(20_000))


def test_secrets_among_many_events_are_redacted(tmp_path: Path) -> None:
    events = [event(index) for index in range(9_000)]
    events[5_000]["args"] = {"url": "https://user:hunter2secret@example.org/", "mask-kind": "a"}
    tables = trace(tmp_path, events)
    assert len(spans(tables)) == 9_000
    assert "hunter2" not in raw_text(tables) + str(spans(tables)[5_000])
    assert "[redacted]" in spans(tables)[5_000]["attributes"]


# Times are written as microseconds with three decimals; the whole nanoseconds must come back.
NANOSECONDS = st.integers(0, 4_000_000_000_000_000_000)


def written(nanosecond: int) -> str:
    return f"{nanosecond // 1000}.{nanosecond % 1000:03}"


@settings(deadline=None, max_examples=200)
@given(times=st.lists(NANOSECONDS, min_size=1, max_size=5))
def test_nanoseconds_are_exact_whatever_the_clock(times: list[int]) -> None:
    raw = b", ".join(b'{"ts": %s, "args": {"x": 1}}' % written(time).encode() for time in times)
    events = json.loads(b"[" + raw + b"]")
    assert [nanoseconds(time) for time in times_as_written(raw, events)] == times


@settings(deadline=None, max_examples=200)
@given(times=st.lists(st.integers(0, 2**43 * 1000 - 1), min_size=1, max_size=5))
# A time whose float is not the one that multiplying by a thousandth gives.
@example(times=[5_535_548_130_846_184])
def test_nanoseconds_are_exact_in_columns_too(times: list[int]) -> None:
    column = nanosecond_column([json.loads(written(time)) for time in times])
    assert column is not None
    assert column.to_list() == times


def test_a_time_in_the_arguments_does_not_confuse_the_times_of_events() -> None:
    raw = b'{"ts": 1700000000000000.123, "args": {"ts": 4}}, {"ph": "M"}, {"ts": 1700000000000000.124}'
    times = times_as_written(raw, json.loads(b"[" + raw + b"]"))
    assert [nanoseconds(time) for time in times] == [BASE_NS + 123, None, BASE_NS + 124]


@pytest.mark.parametrize("start", [0, 1, -5, 999])
def test_clocks_since_1970_are_exact_through_the_whole_import(tmp_path: Path, start: int) -> None:
    content = b'{"traceEvents": [' + b", ".join(
        b'{"ph": "X", "name": "x", "pid": 1, "tid": 1, "ts": %s, "dur": 0.001}' % written(BASE_NS + start + n).encode()
        for n in range(50)
    )
    tables = read_bytes(tmp_path, "trace.json", content + b"]}", kind="chrome_trace")
    assert tables["silver.spans"]["start_ns"].to_list() == [BASE_NS + start + n for n in range(50)]
    assert set(tables["silver.spans"]["duration_ns"]) == {1}
    assert spans(tables)[0]["started_at"].year == 2023


ARGUMENTS = st.none() | st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=200)
@given(arguments=st.lists(ARGUMENTS, min_size=1, max_size=6), others=st.lists(st.booleans(), min_size=6, max_size=6))
@example(arguments=[{"x": ",\n,"}, {}, None, {"b": 1, "a": "é"}], others=[False] * 6)
def test_arguments_are_written_alike_together_and_one_by_one(
    arguments: list[dict[str, Any] | None], others: list[bool]
) -> None:
    bare = {key: value for key, value in event(0).items() if key != "args"}
    events = [
        bare | ({} if args is None else {"args": args}) | ({"id": 1} if is_odd else {})
        for args, is_odd in zip(arguments, others, strict=False)
    ]
    raw = orjson.dumps(events)[1:-1]
    together = read_block(Block(7, raw, orjson.loads(b"[" + raw + b"]"))).spans
    singly = [read_block(Block(7, part, None, (part,))).spans for part in (orjson.dumps(item) for item in events)]
    assert together["attributes"].to_list() == pl.concat(singly)["attributes"].to_list()
    assert together.drop("span_index").equals(pl.concat(singly).drop("span_index"))


def test_arguments_too_deep_to_be_written_at_once_land_all_the_same(tmp_path: Path) -> None:
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    tables = trace(tmp_path, [event(0), event(1) | {"args": {"deep": deep}}, event(2)])
    assert tables["silver.spans"].height == 3
