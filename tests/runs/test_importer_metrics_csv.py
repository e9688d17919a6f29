from __future__ import annotations

import datetime as dt
import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.store import Lake
from pipelines.runs.importers import detect_importer
from pipelines.runs.importers.metrics_csv_values import read_instant, read_number, read_step
from pipelines.runs.sources import Limits, identify, read_head
from pipelines.runs.steps import import_paths
from tests.runs.formats import Tables, everything, raw_text, read, read_bytes, rules, shared

NOW = dt.datetime(2026, 3, 5, 12, tzinfo=dt.UTC)


def text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def detected(folder: Path, content: bytes) -> str | None:
    (folder / "some").write_bytes(content)
    importer = detect_importer(
        read_head(identify(folder / "some", root=folder.resolve(), limits=Limits()), limits=Limits())
    )
    return importer.source_kind if importer else None


def values(tables: Tables, *columns: str) -> list[tuple[Any, ...]]:
    return tables["silver.run_metrics"].select(columns or ("metric", "variant", "step", "value", "unit")).rows()


@pytest.mark.parametrize(
    "content",
    [
        text("step,loss", "1,0.5"),
        text("epoch;loss", "1;0,5"),
        text("Wall time\tStep\tValue", "1772359200.5\t1\t2"),
        text(",step,loss", "0,1,0.5"),
        text("# made by us", "date,throughput", "2026-03-01,5"),
        text("commit,latency_ms", "c0ffee,5"),
        text("git_sha;runtime (s)", "c0ffee;5"),
        text("run_id,accuracy", "night-1,0.5"),
        text("metric,value", "loss,0.5"),
        text('"step","loss, mean"', '"1","0.5"'),
        b"\xef\xbb\xbf" + text("step,loss", "1,0.5"),
        b"step,loss\r\n1,0.5\r\n",
        b"step,loss\n1,0.5",
    ],
)
def test_tables_of_metrics_are_known(content: bytes, tmp_path: Path) -> None:
    assert detected(tmp_path, content) == "metrics_csv"


@pytest.mark.parametrize(
    "content",
    [
        text("name,email,created_at,age", "Ann,ann@example.org,2026-03-01,40"),
        text("name,phone,date", "Ann,5551234,2026-03-01"),
        text("time,place", "2026-03-01,Rome"),
        text("step,what", "first,mix"),
        text("step by step, we go", "1, and 2"),
        text("commit,points", "we all commit,5"),
        text("a,b", "1,2"),
        text("1,2", "3,4"),
        text("step,step", "1,2"),
        text("step,loss"),
        text("step,loss", "1,2,3", "1", "1,2,3,4"),
        text("step,", "1,2"),
        text("build_commit,test_time,avg_ts", "c0ffee,2026-03-01,5"),
        text("metric,value", "height,tall"),
        text("time,weight\0", "2026-03-01,5"),
        text("step,loss", "1,0.5").decode().encode("utf-16"),
        text("step,loss", "1,0.5").replace(b"loss", b"lo\xffss"),
        text("Dear reader, in time", "we, at last, met at 5, by the run"),
        text('{"step": 1, "loss": 2}', '{"step": 2, "loss": 3}'),
    ],
)
def test_other_tables_and_texts_are_nobodys(content: bytes, tmp_path: Path) -> None:
    assert detected(tmp_path, content) is None


def test_a_training_curve_is_one_run(tmp_path: Path) -> None:
    content = text(
        "epoch,step,train_loss,val_loss,time",
        "0,0,0.9,,2026-03-01T10:00:00Z",
        "0,10,0.8,,2026-03-01T10:05:00Z",
        # As Lightning logs: the same step again with another metric.
        "0,10,,0.7,2026-03-01T10:06:00Z",
    )
    tables = read_bytes(tmp_path, "tiny.csv", content)
    (run,) = tables["silver.runs"].to_dicts()
    assert (run["suite"], run["model"], run["status"]) == ("tiny", "unknown", "success")
    assert run["started_at"] == dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
    assert run["ended_at"] == dt.datetime(2026, 3, 1, 10, 6, tzinfo=dt.UTC)
    assert values(tables) == [
        ("loss", "train", 0, 0.9, "nats"),
        ("loss", "train", 10, 0.8, "nats"),
        ("loss", "val", 10, 0.7, "nats"),
    ]
    assert tables["silver.run_metrics"]["recorded_at"][2] == dt.datetime(2026, 3, 1, 10, 6, tzinfo=dt.UTC)
    assert rules(tables) == []


def test_a_run_column_tells_runs_apart(tmp_path: Path) -> None:
    content = text("run_id,step,loss,model,seed", "a,0,0.9,tiny,1", "b,0,0.8,large,2", "a,1,0.7,tiny,1")
    tables = read_bytes(tmp_path, "runs.csv", content)
    runs = tables["silver.runs"].sort("source_run_id")
    assert runs.select("source_run_id", "model", "parameters").rows() == [
        ("a", "tiny", '{"seed":"1"}'),
        ("b", "large", '{"seed":"2"}'),
    ]
    counts = tables["silver.run_metrics"].join(runs, on="run_id").group_by("source_run_id").len()
    assert dict(counts.iter_rows()) == {"a": 2, "b": 1}
    assert tables["silver.run_params"]["number"].sort().to_list() == [1.0, 2.0]


def test_a_history_is_a_run_a_row(tmp_path: Path) -> None:
    content = text(
        "time;commit;branch;pr;suite;host;p99 latency (s);requests",
        "2026.03.01 3:00:00 +0100;c0ffee;main;17;serving;box;0,25;1000",
        "2026.03.02 3:00:00 +0100;decade;main;;serving;box;n/a;1001",
    )
    tables = read_bytes(tmp_path, "history.csv", content)
    first, second = tables["silver.runs"].to_dicts()
    assert first["started_at"] == dt.datetime(2026, 3, 1, 2, tzinfo=dt.UTC)
    assert (first["suite"], first["parameters"]) == ("serving", '{"host":"box"}')
    assert first["code_version"] == {
        "commit": "c0ffee",
        "branch": "main",
        "pull_request": "17",
        "is_dirty": None,
        "repository_url": None,
    }
    assert second["code_version"]["pull_request"] is None
    assert values(tables) == [
        ("latency_ms", "p99", 0, 250.0, "ms"),
        ("requests", "", 0, 1000.0, "1"),
        ("requests", "", 0, 1001.0, "1"),
    ]


def test_a_history_that_grows_adds_its_new_rows(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    path = tmp_path / "history.csv"
    rows = [f"2026-03-0{day},c0ffee{day},{day}.5" for day in range(1, 5)]
    path.write_bytes(text("date,commit,latency_ms", *rows[:2]))
    import_paths(lake, [path], now=NOW)
    before = lake.read("silver.runs")["run_id"].to_list()
    path.write_bytes(text("date,commit,latency_ms", *rows))
    import_paths(lake, [path], now=NOW)
    after = lake.read("silver.runs").sort("started_at")
    assert after["run_id"].to_list()[:2] == sorted(before, key=after["run_id"].to_list().index)
    assert after.height == lake.read("silver.run_metrics").height == 4


def test_curves_without_a_name_are_one_run_while_they_grow_and_another_in_another_file(tmp_path: Path) -> None:
    def run_id(folder: str, *rows: str) -> str:
        found: str = read_bytes(tmp_path / folder, "loss.csv", text("step,loss", *rows))["silver.runs"]["run_id"][0]
        return found

    assert run_id("a", "0,0.91") == run_id("a", "0,0.91", "1,0.8") != run_id("b", "0,0.92", "1,0.8")


def test_a_list_of_metrics(tmp_path: Path) -> None:
    content = text(
        "metric,value,unit,variant,step,stderr,n,higher_is_better,repeat,note",
        "latency,0.25,s,p99,0,0.01,100,,0,x",
        "latency,0.35,s,p99,0,0.01,100,,1,x",
        "f1,0.5,,macro,7,,,true,,x",
        "f1,0.6,,macro,7,,,true,,x",
        ",5,,,0,,,,,x",
    )
    tables = read_bytes(tmp_path, "list.csv", content)
    columns = ("metric", "variant", "step", "repeat_index", "value", "unit", "standard_error", "sample_count")
    assert values(tables, *columns) == [
        ("latency_ms", "p99", 0, 0, 250.0, "ms", 10.0, 100),
        ("latency_ms", "p99", 0, 1, 350.0, "ms", 10.0, 100),
        ("f1", "macro", 7, 0, 0.5, "1", None, None),
    ]
    assert tables["silver.run_metrics"]["is_higher_better"].to_list() == [False, False, True]
    assert rules(tables) == ["duplicate", "metric"]
    assert tables["silver.runs"].height == 1


def test_bad_rows_are_refused_by_their_line_and_the_rest_lands(tmp_path: Path) -> None:
    content = b"\n".join(
        [
            b"step,loss,note",
            b'0,0.9,"a ""quoted"" word, and',
            b'a second line"',
            b"1,0.8",
            b"2,0.7,a,b",
            b'3,0.6,"never closed',
            b"4,0.5,fine",
            b"x,0.4,no step",
            b"5,high,no number",
            b"6,0.3,\xff",
            b"7,0.2," + b"y" * 200_000,
            b"8,0.1," + b"z" * 9_000,
            b"",
            b"9,0.05,last",
        ]
    )
    tables = read_bytes(tmp_path, "bad.csv", content, limits=Limits(line_bytes=150_000))
    assert values(tables, "step", "value") == [(0, 0.9), (4, 0.5), (8, 0.1), (9, 0.05)]
    said = tables["bronze.rejects"].select("record_index", "rule").rows()
    assert sorted(said) == [
        (3, "width"),
        (4, "width"),
        (5, "quotes"),
        (7, "step"),
        (8, "loss: number"),
        (9, "encoding"),
        (10, "line_bytes"),
    ]
    assert "Line 6 has a quote" in tables["bronze.rejects"].filter(pl.col("record_index") == 5)["message"][0]
    assert json.loads(raw_text(tables).split("\n")[1])["note"] == 'a "quoted" word, and\na second line'


def test_a_stray_quote_costs_one_row_however_far_the_next_one_is(tmp_path: Path) -> None:
    rows = [f"{step},0.5,x" for step in range(500)]
    rows[100] = '100,0.5,"x'
    rows[400] = '400,0.5,"x'
    tables = read_bytes(tmp_path, "stray.csv", text("step,loss,note", *rows))
    assert len(values(tables)) == 498
    assert tables["bronze.rejects"]["record_index"].to_list() == [101, 401]


def test_gzip_and_a_cut_end(tmp_path: Path) -> None:
    content = text("step,loss", "0,0.9", "1,0.8")
    assert len(values(read_bytes(tmp_path, "a.csv.gz", gzip.compress(b"\xef\xbb\xbf" + content)))) == 2
    assert read(tmp_path / "a.csv.gz")["silver.runs"]["suite"].to_list() == ["a"]
    cut = read_bytes(tmp_path, "b.csv.gz", gzip.compress(content)[:-6])
    assert rules(cut) == ["truncated"]
    assert len(values(read_bytes(tmp_path, "c.csv", content[:-1]))) == 2


def test_secrets_go_by_the_name_of_their_column(tmp_path: Path) -> None:
    content = text("step,loss,api_key", "0,0.9,hunter2", "1,0.8,hunter2,more")
    tables = read_bytes(tmp_path, "secret.csv", content)
    assert "hunter2" not in everything(tables)
    assert rules(tables) == ["width"]


def test_two_columns_that_mean_the_same_stay_two(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, "two.csv", text("step,val/loss,val_loss,loss (ms)", "0,1,2,3"))
    assert values(tables) == [
        ("loss", "val", 0, 1.0, "nats"),
        ("val_loss", "", 0, 2.0, "1"),
        ("loss", "", 0, 3.0, "ms"),
    ]


def test_a_file_that_was_named_but_is_no_table_is_refused_in_words(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, "x.csv", b"hello", kind="metrics_csv")
    assert rules(tables) == ["header"]
    assert tables["silver.runs"].is_empty()


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2026-03-01", "2026-03-01T00:00:00+00:00"),
        ("2026/3/1 4:05", "2026-03-01T04:05:00+00:00"),
        ("2026.03.01 3:00:00 +0100", "2026-03-01T02:00:00+00:00"),
        ("2026-03-01T10:00:00.5Z", "2026-03-01T10:00:00.500000+00:00"),
        ("2026-03-01 10:00:00 UTC", "2026-03-01T10:00:00+00:00"),
        ("1772359200", "2026-03-01T10:00:00+00:00"),
        ("1772359200.5", "2026-03-01T10:00:00.500000+00:00"),
        ("1772359200000", "2026-03-01T10:00:00+00:00"),
        ("1772359200000000", "2026-03-01T10:00:00+00:00"),
        ("1772359200000000000", "2026-03-01T10:00:00+00:00"),
        ("01/02/2026", None),
        ("2026-13-01", None),
        ("10:00", None),
        ("17", None),
        ("", None),
    ],
)
def test_instants(cell: str, expected: str | None) -> None:
    found = read_instant(cell)
    assert (found.isoformat() if found else None) == expected


@settings(deadline=None, max_examples=200)
@given(cell=st.one_of(st.text(max_size=12), st.floats().map(str), st.integers().map(str)))
def test_no_cell_is_too_strange(cell: str) -> None:
    read_instant(cell)
    step, number = read_step(cell), read_number(cell, has_decimal_comma=True)
    assert step is None or (number is not None and abs(step) < 2**63)


def test_real_tables() -> None:
    for name in ("sample.csv", "local_sample.csv"):
        tables = read(shared("otava") / name)
        assert tables["silver.runs"].height == 10
        assert values(tables)[:2] == [("metric1", "", 0, 154023.0, "1"), ("metric2", "", 0, 10.43, "1")]
        assert rules(tables) == []
    # A histogram log is a format of its own.
    file = identify(shared("otava") / "histostat.csv", root=shared("otava").resolve(), limits=Limits())
    assert detect_importer(read_head(file, limits=Limits())) is None
