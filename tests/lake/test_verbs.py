"""What each verb promises, on a local folder and on object storage."""

from __future__ import annotations

import datetime as dt
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from lake import delta
from lake.errors import UserError
from lake.store import Lake
from lake.tables import CONTRACTS, contract_of
from tests.lake.rows import METRICS, NOON, OUTPUTS, metric_keys, metrics, outputs, replay, values_of


def feed(lake: Lake, since: int) -> list[tuple[str, str]]:
    """(change, run id) of the metrics feed after a version, sorted."""
    return sorted(lake.changes(METRICS, since).select("_change_type", "run_id").rows())


def test_an_absent_table_is_empty_everywhere(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    assert lake.version(METRICS) == -1
    assert not lake.exists(METRICS)
    assert lake.tables() == []
    assert lake.row_count(METRICS) == 0
    assert lake.read(METRICS).schema == pl.Schema(contract_of(METRICS).dtypes)
    assert lake.read(METRICS, columns=["value"], where={"run_id": "a"}).columns == ["value"]
    assert lake.changes(METRICS, -1).is_empty()
    assert lake.sql(f"select count(*) as n from {METRICS}")["n"].item() == 0


def test_append_lands_once_by_its_token(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    first = lake.append(OUTPUTS, outputs("a", range(3)), token="file-1")
    again = lake.append(OUTPUTS, outputs("a", range(3)), token="file-1")
    other = lake.append(OUTPUTS, outputs("b", range(2)), token="file-2")
    assert (first.rows_in, first.rows_written, first.rows_rejected) == (3, 3, 0)
    assert (again.rows_written, again.version) == (0, first.version)
    assert (other.rows_written, other.version) == (2, first.version + 1)
    assert lake.row_count(OUTPUTS) == 5


def test_a_token_still_counts_after_compaction_checkpoint_and_vacuum(lake: Lake) -> None:
    for number in range(3):
        lake.append(OUTPUTS, outputs(f"run-{number}", range(2)), token=f"file-{number}")
    lake.maintain(OUTPUTS, retention_hours=0)
    assert lake.append(OUTPUTS, outputs("run-0", range(2)), token="file-0").rows_written == 0
    assert lake.row_count(OUTPUTS) == 6


def test_several_tokens_land_in_one_commit_and_only_the_new_ones(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    lake.append(OUTPUTS, outputs("a", range(3)), token="a")
    before = lake.version(OUTPUTS)
    result = lake.append_batches(
        OUTPUTS, {"a": outputs("a", range(3)), "b": outputs("b", range(2)), "c": outputs("c", [])}
    )
    assert (result.rows_in, result.rows_written, result.version) == (5, 2, before + 1)
    assert lake.append_batches(OUTPUTS, {"a": outputs("a", range(3)), "b": outputs("b", range(2))}).rows_written == 0
    assert lake.version(OUTPUTS) == before + 1


def test_upsert_writes_what_is_new_or_differs_and_nothing_else(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    lake.upsert(METRICS, metrics({"a": 1, "b": 2, "c": 3}))
    before = lake.version(METRICS)
    result = lake.upsert(METRICS, metrics({"a": 1, "b": 20, "d": 4}))
    assert (result.rows_in, result.rows_written, result.version) == (3, 2, before + 1)
    assert values_of(lake) == {"a": 1, "b": 20, "c": 3, "d": 4}
    assert feed(lake, before) == [("insert", "d"), ("update_postimage", "b"), ("update_preimage", "b")]


def test_upsert_of_what_stands_makes_no_commit(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    before = lake.upsert(METRICS, metrics({"a": 1, "b": 2})).version
    again = lake.upsert(METRICS, metrics({"b": 2, "a": 1}))
    assert (again.rows_written, again.version, lake.version(METRICS)) == (0, before, before)


def test_a_large_upsert_looks_for_its_keys_first_and_writes_the_same(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of one run that are nearly all new, as a long import makes them, each longer than a list of keys."""
    rows = 600
    other_day = outputs("a", range(rows), day=NOON.date() + dt.timedelta(days=1))
    lake.upsert(OUTPUTS, pl.concat([outputs("a", range(rows)), outputs("b", range(rows))]))
    lake.upsert(OUTPUTS, other_day)
    read: list[tuple[int, int]] = []
    scanned = delta.scan

    def counted(*arguments: Any) -> pl.DataFrame:
        found = scanned(*arguments)
        read.append((found.width, found.height))
        return found

    monkeypatch.setattr(delta, "scan", counted)
    before = lake.version(OUTPUTS)
    fresh = lake.upsert(OUTPUTS, outputs("a", range(rows, 2 * rows)))
    assert (fresh.rows_written, fresh.version) == (rows, before + 1)
    # Keys alone were read, three columns of them.
    assert {width for width, _ in read} == {3}
    read.clear()
    mixed = pl.concat([outputs("a", range(599, 601)), outputs("a", [0], output="new"), outputs("a", range(1200, 1799))])
    assert lake.upsert(OUTPUTS, mixed).rows_written == 600
    assert lake.upsert(OUTPUTS, mixed).version == before + 2
    landed = lake.read(OUTPUTS, where={"run_date": NOON.date()})
    assert landed.select("run_id", "sample_id").n_unique() == landed.height == 1_799 + rows
    assert landed.filter(run_id="a", sample_id="0")["output"].to_list() == ["new 0"]
    # The rows of another date are not those of these keys.
    assert lake.read(OUTPUTS, where={"run_date": NOON.date() + dt.timedelta(days=1)}).height == rows
    assert set(lake.changes(OUTPUTS, before)["_change_type"]) == {"insert", "update_preimage", "update_postimage"}


def test_replace_makes_the_slice_hold_exactly_the_rows(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    lake.upsert(OUTPUTS, pl.concat([outputs("a", range(3)), outputs("b", range(2))]))
    before = lake.version(OUTPUTS)
    result = lake.replace(OUTPUTS, outputs("a", [1, 7]), where={"run_id": "a"})
    assert (result.rows_written, result.version) == (2, before + 1)
    standing = lake.read(OUTPUTS, columns=["run_id", "sample_id"]).sort("run_id", "sample_id")
    assert standing.rows() == [("a", "1"), ("a", "7"), ("b", "0"), ("b", "1")]
    again = lake.replace(OUTPUTS, outputs("a", [7, 1]), where={"run_id": "a"})
    assert (again.rows_written, again.version) == (0, before + 1)


def test_replace_by_nothing_empties_the_slice_once(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    lake.upsert(OUTPUTS, pl.concat([outputs("a", range(3)), outputs("b", range(2))]))
    emptied = lake.replace(OUTPUTS, contract_of(OUTPUTS).empty(), where={"run_id": "a"})
    assert lake.read(OUTPUTS)["run_id"].to_list() == ["b", "b"]
    assert lake.replace(OUTPUTS, contract_of(OUTPUTS).empty(), where={"run_id": "a"}).version == emptied.version


def test_replace_of_several_values_and_of_all(lake: Lake) -> None:
    lake.upsert(METRICS, metrics({"a": 1, "b": 2, "c": 3}))
    lake.replace(METRICS, metrics({"a": 10}), where={"run_id": ["a", "b"]})
    assert values_of(lake) == {"a": 10, "c": 3}
    lake.replace(METRICS, metrics({"z": 26}), where={})
    assert values_of(lake) == {"z": 26}


def test_replace_refuses_rows_outside_its_slice(lake: Lake) -> None:
    with pytest.raises(UserError, match=r"outside its slice \{'run_id': 'a'\}"):
        lake.replace(METRICS, metrics({"a": 1, "b": 2}), where={"run_id": "a"})
    # A null is not the value that was asked for, although comparing with it gives null rather than false.
    with pytest.raises(UserError, match="outside its slice"):
        lake.replace(METRICS, metrics({"a": 1}), where={"is_higher_better": True})
    assert not lake.exists(METRICS)


def test_remove_deletes_the_keys_that_stand(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    lake.upsert(METRICS, metrics({"a": 1, "b": 2, "c": 3}))
    before = lake.version(METRICS)
    result = lake.remove(METRICS, metric_keys(["a", "c", "never there"]))
    assert (result.rows_in, result.rows_written, result.version) == (3, 2, before + 1)
    assert values_of(lake) == {"b": 2}
    assert feed(lake, before) == [("delete", "a"), ("delete", "c")]
    assert lake.remove(METRICS, metric_keys(["a", "c"])).version == before + 1
    nobody = metric_keys(["b"]).with_columns(run_id=pl.lit(None, dtype=pl.String))
    assert lake.remove(METRICS, nobody).rows_written == 0


@pytest.mark.parametrize("verb", ["append", "upsert", "replace", "remove"])
def test_an_empty_frame_changes_nothing(lake: Lake, verb: str) -> None:
    nothing = contract_of(METRICS).empty()
    call = {
        "append": lambda: lake.append(METRICS, nothing, token="empty"),
        "upsert": lambda: lake.upsert(METRICS, nothing),
        "replace": lambda: lake.replace(METRICS, nothing, where={"run_id": "nobody"}),
        "remove": lambda: lake.remove(METRICS, nothing.select(contract_of(METRICS).key)),
    }[verb]
    lake.upsert(METRICS, metrics({"a": 1}))
    before = lake.version(METRICS)
    result = call()
    assert (result.rows_in, result.rows_written, result.rows_rejected, result.version) == (0, 0, 0, before)


def test_the_change_feed_is_on_from_version_zero(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    lake.append(METRICS, metrics({"a": 1}), token="t")
    lake.upsert(METRICS, metrics({"a": 2, "b": 3}))
    lake.replace(METRICS, metrics({"b": 4}), where={"run_id": "b"})
    lake.remove(METRICS, metric_keys(["a"]))
    handle = lake.handle(METRICS, at=0)
    assert handle is not None
    assert handle.metadata().configuration["delta.enableChangeDataFeed"] == "true"
    assert replay(lake, METRICS).equals(lake.read(METRICS).sort("run_id"))
    assert lake.changes(METRICS, 0, until=1)["_commit_version"].unique().to_list() == [1]


def test_reading_prunes_to_columns_and_slices(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    lake.upsert(OUTPUTS, pl.concat([outputs("a", range(3)), outputs("b", range(2)), outputs("c", range(1))]))
    assert lake.read(OUTPUTS, columns=["sample_id", "run_id"], where={"run_id": "c"}).rows() == [("0", "c")]
    assert lake.read(OUTPUTS, where={"run_id": ["a", "b"], "repeat_index": 0, "sample_id": "1"}).height == 2
    assert lake.read(OUTPUTS, where={"run_date": NOON.date()}).height == 6
    assert lake.read(OUTPUTS, where={"run_id": []}).is_empty()


def test_names_that_do_not_exist_are_answered_with_the_nearest(lake: Lake) -> None:
    with pytest.raises(UserError, match=r"no table named 'silver\.run'.*silver\.runs"):
        lake.read("silver.run")
    with pytest.raises(UserError, match=r"no column of silver\.outputs named 'sampleid'.*sample_id"):
        lake.read(OUTPUTS, columns=["sampleid"])
    with pytest.raises(UserError, match=r"no column of silver\.outputs named 'runid'.*run_id"):
        lake.read(OUTPUTS, where={"runid": "a"})


def test_a_slice_by_instant_is_refused(lake: Lake) -> None:
    lake.upsert(METRICS, metrics({"a": 1}))
    with pytest.raises(UserError, match="slice by date"):
        lake.read(METRICS, where={"run_date": NOON})


@pytest.mark.parametrize("address", CONTRACTS)
def test_sample_rows_of_every_contract_go_through_and_come_back(lake: Lake, address: str) -> None:
    contract = contract_of(address)
    rows = contract.sample(20)
    write = partial(lake.append, token="once") if contract.is_append_only else lake.upsert
    assert write(address, rows).rows_written == 20
    # Unchanged means unchanged for every type in the contracts, nested ones included.
    assert write(address, rows).rows_written == 0
    back = lake.read(address)
    assert back.schema == pl.Schema(contract.dtypes)
    assert back.sort(contract.key).equals(rows.select(list(contract.dtypes)).sort(contract.key))
    assert lake.sql(f"select * from {address}").height == 20
    assert replay(lake, address).equals(back.sort(contract.key))


def test_statistics_stand_on_the_columns_that_are_looked_up_by_alone(lake: Lake) -> None:
    lake.append(OUTPUTS, outputs("a", range(3)), token="t")
    handle = lake.handle(OUTPUTS)
    assert handle is not None
    known = pl.DataFrame(handle.get_add_actions(flatten=True)).columns
    assert {name.removeprefix("min.") for name in known if name.startswith("min.")} == {
        "run_id",
        "sample_id",
        "repeat_index",
    }


@pytest.mark.parametrize(("address", "groups"), [("silver.output_tokens", 2), (OUTPUTS, 1)])
def test_wide_rows_are_grouped_by_fewer(lake: Lake, address: str, groups: int) -> None:
    """A row group is held in memory as a whole: 4,096 rows of tokens, 131,072 of anything else."""
    plain = contract_of(address).sample(1).select(pl.exclude("sample_id", "run_date"))
    samples = pl.DataFrame({"sample_id": [f"{number:05d}" for number in range(5_000)], "run_date": NOON.date()})
    lake.append(address, plain.join(samples, how="cross"), token="t")
    (path,) = Path(lake.table_uri(address)).rglob("*.zstd.parquet")
    file = pq.read_metadata(path)
    assert file.num_row_groups == groups
    assert {file.row_group(0).column(place).compression for place in range(file.num_columns)} == {"ZSTD"}


def test_several_versions_are_told_at_once(lake: Lake) -> None:
    lake.upsert(METRICS, metrics({"a": 1}))
    assert lake.versions([METRICS, OUTPUTS]) == {METRICS: 1, OUTPUTS: -1}


def test_insert_adds_new_keys_and_leaves_standing_rows_as_they_are(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    lake.upsert(METRICS, metrics({"a": 1}))
    result = lake.insert(METRICS, metrics({"a": 9, "b": 2}))
    assert (result.rows_in, result.rows_written) == (2, 1)
    assert values_of(lake) == {"a": 1, "b": 2}
    assert lake.insert(METRICS, metrics({"a": 9, "b": 9})).version == result.version


def test_the_feed_gives_the_columns_that_are_asked_for(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    lake.upsert(METRICS, metrics({"a": 1}))
    lake.upsert(METRICS, metrics({"a": 2, "b": 3}))
    feed_rows = lake.changes(METRICS, -1, columns=["value", "run_id"])
    assert feed_rows.columns == ["value", "run_id", "_change_type", "_commit_version"]
    whole = lake.changes(METRICS, -1)
    assert feed_rows.sort(pl.all()).equals(whole.select(feed_rows.columns).sort(pl.all()))
    assert lake.changes(METRICS, lake.version(METRICS), columns=["value"]).columns[0] == "value"
    with pytest.raises(UserError, match="Did you mean value"):
        lake.changes(METRICS, -1, columns=["valu"])


def test_the_version_is_that_of_the_newest_handle(lake_anywhere) -> None:
    seen = []
    for value in (1.0, 2.0, 2.0):
        lake_anywhere.upsert(METRICS, metrics({"a": value}))
        seen.append((lake_anywhere.version(METRICS), lake_anywhere.handle(METRICS).version()))
    assert seen == [(version, version) for version, _ in seen]
    assert (seen[0][0], seen[1], lake_anywhere.version("silver.runs")) == (seen[1][0] - 1, seen[2], -1)
