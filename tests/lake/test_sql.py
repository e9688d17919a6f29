"""SQL reads every table, at any time, and can do nothing else."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING

import polars as pl
import pytest

from lake.errors import QueryError, UserError
from lake.tables import CONTRACTS, contract_of
from lake.views import VIEWS
from tests.lake.rows import DAY, METRICS, OUTPUTS, metric_keys, metrics, outputs

if TYPE_CHECKING:
    from pathlib import Path

    from lake.store import Lake


def test_tables_are_joined_by_their_addresses(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    lake.upsert(METRICS, metrics({"a": 1, "b": 2}))
    lake.upsert(OUTPUTS, outputs("a", range(3)))
    joined = lake.sql(
        f"select m.run_id, count(o.sample_id) as n from {METRICS} m left join {OUTPUTS} o using (run_id) "
        "group by all order by all"
    )
    assert joined.rows() == [("a", 3), ("b", 0)]


@pytest.mark.parametrize(
    "query",
    [
        "select value from silver.run_metrics",
        'select value from "silver"."run_metrics"',
        'SELECT value FROM Silver . "run_metrics"',
        "from silver.run_metrics select value",
        "with m as (select * from silver.run_metrics) select value from m",
        "select value from silver.run_metrics where run_date = date '2026-11-20' and run_id in ('a', 'none')",
    ],
)
def test_a_table_may_be_written_in_any_way_that_sql_allows(lake: Lake, query: str) -> None:
    lake.upsert(METRICS, metrics({"a": 7}))
    assert lake.sql(query)["value"].to_list() == [7]


@pytest.mark.parametrize(
    "query", ["describe silver.runs", "summarize silver.runs", "explain select * from silver.runs"]
)
def test_what_only_looks_is_allowed(lake: Lake, query: str) -> None:
    assert lake.sql(query).height > 0


def test_a_table_name_inside_a_text_harms_nothing(lake: Lake) -> None:
    assert lake.sql("select 'gold.nothing silver.runs' as x")["x"].item() == "gold.nothing silver.runs"


def test_instants_are_shown_in_utc_wherever_the_query_runs(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        shown = lake.sql(
            "select current_setting('TimeZone') as zone, cast(timestamptz '2026-11-20 12:00:00+00' as varchar) as t"
        )
    finally:
        monkeypatch.undo()
        time.tzset()
    assert shown.row(0) == ("UTC", "2026-11-20 12:00:00+00")


def test_time_travel_by_version(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    lake.upsert(METRICS, metrics({"a": 1}))
    lake.upsert(METRICS, metrics({"a": 2}))
    lake.remove(METRICS, metric_keys(["a"]))
    query = f"select value from {METRICS}"
    assert [lake.sql(query, at={METRICS: version}).rows() for version in range(4)] == [[], [(1.0,)], [(2.0,)], []]
    assert lake.sql(query, at={OUTPUTS: 5}).rows() == []
    assert [lake.read(METRICS, at=version).height for version in range(4)] == [0, 1, 1, 0]
    with pytest.raises(UserError, match=r"silver\.run_metrics has no version 9; it has 0 to 3"):
        lake.sql(query, at={METRICS: 9})
    with pytest.raises(UserError, match=r"silver\.outputs does not exist yet, so it has no version 0"):
        lake.sql(f"select * from {OUTPUTS}", at={OUTPUTS: 0})


def test_time_travel_by_instant(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    # Versions are found by the times at which their log entries were stored, which S3 gives in whole seconds.
    grain_seconds = 0.02 if lake.uri.startswith("/") else 1.0
    instants = []
    for value in (1, 2):
        lake.upsert(METRICS, metrics({"a": value}))
        instants.append(dt.datetime.now(dt.UTC))
        time.sleep(grain_seconds)
    lake.upsert(METRICS, metrics({"a": 3}))
    query = f"select value from {METRICS}"
    assert [lake.sql(query, at=instant)["value"].item() for instant in instants] == [1, 2]
    elsewhere = instants[0].astimezone(dt.timezone(dt.timedelta(hours=9)))
    assert lake.sql(query, at=elsewhere)["value"].item() == 1
    assert lake.sql(query, at=instants[0] - dt.timedelta(days=365)).is_empty()
    assert lake.sql(f"select * from {OUTPUTS}", at=instants[0]).is_empty()


REFUSED = [
    "insert into silver.run_metrics (run_id) values ('x')",
    "update silver.run_metrics set value = 0",
    "delete from silver.run_metrics",
    "drop view silver.run_metrics",
    "create table x as select 1",
    "create view silver.x as select 1",
    "copy silver.run_metrics to '{folder}/out.csv'",
    "copy (select 1) to '{folder}/out.parquet'",
    "explain analyze copy (select 1) to '{folder}/out.csv'",
    "export database '{folder}/out'",
    "attach '{folder}/other.duckdb' as other",
    "install httpfs",
    "load httpfs",
    "pragma database_list",
    "call pragma_version()",
    "set enable_external_access = true",
    "reset enable_external_access",
    "set threads = 1",
    "use silver",
    "begin",
    "vacuum",
    "checkpoint",
    "prepare p as select 1",
    "select 1; select 2",
    "select 1; drop view silver.run_metrics",
    "",
    "-- nothing",
    "select",
    "select * from '{folder}/here.csv'",
    "select * from read_csv('{folder}/here.csv')",
    "select * from read_text('{folder}/here.csv')",
    "select * from read_blob('{folder}/*')",
    "select * from glob('{folder}/*')",
    "select * from read_parquet('{folder}/a lake/silver/run_metrics/*.parquet')",
    "select * from parquet_scan('https://127.0.0.1/x.parquet')",
    "select * from query('copy (select 1) to ''{folder}/out.csv''')",
    "select * from a_frame_in_the_caller",
    "select getenv('HOME')",
    "select * from silver.run_metric",
    "select valeu from silver.run_metrics",
    "select 1 as a, 2 as a",
]


@pytest.mark.parametrize("query", REFUSED)
def test_everything_else_is_refused(lake: Lake, tmp_path: Path, query: str) -> None:
    a_frame_in_the_caller = pl.DataFrame({"secret": [1]})
    tmp_path.joinpath("here.csv").write_text("a\n1\n")
    lake.upsert(METRICS, metrics({"a": 1}))
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(QueryError):
        lake.sql(query.format(folder=tmp_path))
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert a_frame_in_the_caller.height == lake.row_count(METRICS) == 1


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select * from silver.run_metric", r"no table silver\.run_metric\. Did you mean silver\.run_metrics"),
        ("select * from runs", r"no table runs\. Did you mean silver\.runs"),
        # The layer is right for another table, so DuckDB knows it and leaves it away.
        ("select * from silver.run_metrics join silver.gate_results using (run_id)", r"mean gold\.gate_results"),
        ('select * from "gold"."databits"', r"mean silver\.databits"),
        ("select * from moon", r"no table moon\. All of them"),
    ],
)
def test_an_unknown_table_is_told_with_the_nearest_names(lake: Lake, query: str, said: str) -> None:
    with pytest.raises(QueryError, match=said) as refused:
        lake.sql(query)
    assert "benchlake tables" in str(refused.value)
    assert len(str(refused.value)) < 300


def test_other_mistakes_are_told_without_a_list_of_tables(lake: Lake) -> None:
    with pytest.raises(QueryError, match=r"(?s)no_such.*describe silver\.runs'") as refused:
        lake.sql("select no_such from silver.runs")
    assert "bronze" not in str(refused.value)
    with pytest.raises(QueryError, match="syntax error"):
        lake.sql("select * frm silver.runs")


def test_partition_and_key_filters_read_only_what_they_must(lake: Lake) -> None:
    """Two dates are two files; the plan for one date scans rows of one."""
    lake.upsert(OUTPUTS, outputs("a", range(4)))
    lake.upsert(OUTPUTS, outputs("b", range(4), day=DAY - dt.timedelta(days=1)))
    handle = lake.handle(OUTPUTS)
    assert handle is not None
    assert len(handle.file_uris()) == 2
    one_day = lake.sql(f"explain analyze select * from {OUTPUTS} where run_date = date '2026-11-20'").item(0, 1)
    assert "4 rows" in one_day
    assert "8 rows" not in one_day


@pytest.mark.parametrize("address", sorted(CONTRACTS))
def test_texts_can_be_filtered_by(lake: Lake, address: str) -> None:
    contract = contract_of(address)
    rows = contract.sample(20)
    # Two files, so that statistics alone do not answer.
    for part in (rows[:10], rows[10:]):
        if contract.is_append_only:
            lake.append(address, part, token=str(part.height) + str(part.row(0)))
        else:
            lake.upsert(address, part)
    for name in [name for name, dtype in contract.dtypes.items() if dtype == pl.String]:
        value = rows[name].drop_nulls().first()
        if value is None:
            continue
        text = "'" + value.replace("'", "''") + "'"
        for sign, expected in (("=", rows[name] == value), ("<>", rows[name] != value), (">", rows[name] > value)):
            found = lake.sql(f'select count(*) as n from {address} where "{name}" {sign} {text}')["n"].item()
            assert found == expected.sum(), f"{name} {sign} {text}"


def test_files_of_other_writers_can_be_filtered_too(lake: Lake) -> None:
    """They may hold large or plain texts, and merges leave views."""
    import pyarrow as pa
    from deltalake import write_deltalake

    lake.upsert(METRICS, metrics({"a": 1.0, "b": 2.0}))
    plain = metrics({"c": 3.0, "d": 4.0}).to_arrow(compat_level=pl.CompatLevel.oldest())
    fields = [f.with_type(pa.string()) if pa.types.is_large_string(f.type) else f for f in plain.schema]
    write_deltalake(lake.table_uri(METRICS), plain.cast(pa.schema(fields)), mode="append", schema_mode="merge")
    for run_id, value in (("a", 1.0), ("c", 3.0)):
        assert lake.sql(f"select value from {METRICS} where run_id = '{run_id}'")["value"].to_list() == [value]


def test_what_is_appended_or_replaced_holds_plain_texts(lake: Lake) -> None:
    """A filter on a text is then handed down to Arrow, which leaves out files and row groups by it."""
    from urllib.parse import unquote

    import pyarrow.parquet as pq

    lake.append(METRICS, metrics({"a": 1.0}), token="first")
    lake.upsert(METRICS, metrics({"b": 2.0}))
    lake.replace(METRICS, metrics({"a": 3.0}), where={"run_id": "a"})
    handle = lake.handle(METRICS)
    assert handle is not None
    kinds = {str(pq.read_schema(unquote(uri)).field("run_id").type) for uri in handle.file_uris()}
    assert not any("view" in kind for kind in kinds)


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_asked_like_a_table_also_before_its_table_is_written(lake: Lake, name: str) -> None:
    assert lake.sql(f"select count(*) as n from {name} v")["n"].to_list() == [0]
    assert set(VIEWS[name].tables) <= set(CONTRACTS)


def test_the_current_databits_are_the_newest_versions_that_are_not_retracted(lake: Lake) -> None:
    rows = contract_of("silver.databits").sample(4).with_columns(
        databit_id=pl.Series(["a", "a", "b", "b"]),
        version=pl.Series([1, 2, 1, 2]),
        is_deleted=pl.Series([True, False, False, True]),
    )  # fmt: skip
    lake.upsert("silver.databits", rows)
    found = lake.sql(
        'select d.databit_id, d.version from "silver"."databits_current" d '
        "join silver.databits using (databit_id, version)"
    )
    assert found.rows() == [("a", 2)]
