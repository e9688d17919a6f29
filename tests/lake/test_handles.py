"""Tables that are open for reading serve until the next commit and no longer."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from lake import handles
from lake.handles import ReadHandles, newest_commit
from lake.store import Lake
from tests.lake.rows import METRICS, OUTPUTS, metric_keys, metrics, outputs, values_of


def metric_rows(count):
    return metrics({f"run {number}": float(number) for number in range(count)})


def changes_of(lake):
    """The whole change feed, whose rows come in any order."""
    return sorted(lake.changes(METRICS, -1).select("_commit_version", "_change_type", "run_id", "value").rows())


@pytest.fixture
def opened(monkeypatch):
    """Addresses of tables in the order in which they were really opened."""
    seen = []
    open_existing = Lake._open_existing
    monkeypatch.setattr(
        Lake, "_open_existing", lambda lake, contract: (seen.append(contract.address), open_existing(lake, contract))[1]
    )
    return seen


def test_reading_again_opens_nothing_until_somebody_commits(lake, opened) -> None:
    lake.upsert(METRICS, metric_rows(2))
    opened.clear()
    reader = Lake.open(lake.uri)
    assert [reader.read(METRICS).height for _ in range(3)] == [2, 2, 2]
    assert reader.row_count(METRICS) == 2
    assert reader.changes(METRICS, -1).height == 2
    assert opened == [METRICS]
    lake.upsert(METRICS, metric_rows(3))
    opened.clear()
    assert reader.read(METRICS).height == 3
    assert opened == [METRICS]


def test_what_was_written_is_read_by_the_handle_that_wrote_it(lake, opened) -> None:
    lake.upsert(METRICS, metric_rows(2))
    opened.clear()
    lake.upsert(METRICS, metrics({"run 1": 7.0, "run 2": 2.0}))
    assert opened == [METRICS]
    assert values_of(lake) == {"run 0": 0.0, "run 1": 7.0, "run 2": 2.0}
    lake.remove(METRICS, metric_keys(["run 0"]))
    assert values_of(lake) == {"run 1": 7.0, "run 2": 2.0}
    assert values_of(lake) == values_of(Lake.open(lake.uri))
    assert changes_of(lake) == changes_of(Lake.open(lake.uri))
    assert lake.row_count(METRICS) == 2
    assert opened.count(METRICS) == 4  # two writes and the two lakes that were opened anew


def test_a_table_made_anew_in_the_same_place_is_another(lake) -> None:
    lake.upsert(METRICS, metric_rows(2))
    assert (lake.version(METRICS), lake.read(METRICS).height) == (1, 2)
    shutil.rmtree(lake.table_uri(METRICS))
    assert not lake.exists(METRICS)
    assert lake.read(METRICS).is_empty()
    Lake.open(lake.uri).upsert(METRICS, metric_rows(5))
    assert (lake.version(METRICS), lake.read(METRICS).height) == (1, 5)


def test_going_back_in_time_leaves_the_newest_where_it_was(lake) -> None:
    lake.upsert(METRICS, metric_rows(2))
    lake.upsert(METRICS, metric_rows(4))
    assert lake.read(METRICS, at=1).height == 2
    assert lake.read(METRICS).height == 4
    assert lake.handle(METRICS, at=1) is not lake.handle(METRICS)
    assert lake.handle(METRICS, at=2) is lake.handle(METRICS)


def test_a_handle_that_is_newer_than_its_mark_is_not_kept(lake) -> None:
    lake.upsert(METRICS, metric_rows(1))
    kept, table = ReadHandles(), Path(lake.table_uri(METRICS))

    def open_late():
        lake.upsert(METRICS, metric_rows(2))
        return Lake.open(lake.uri).handle(METRICS)

    assert kept.get(table, open_late).version() == 2
    assert kept.get(table, lambda: None) is None


def test_only_so_many_are_kept(lake, opened, monkeypatch) -> None:
    monkeypatch.setattr(handles, "_KEPT", 1)
    lake.upsert(METRICS, metric_rows(1))
    lake.upsert(OUTPUTS, outputs("a", range(2)))
    lake.read(METRICS)
    opened.clear()
    lake.read("silver.runs")  # what does not exist takes nobody's place
    lake.read(METRICS)
    assert METRICS not in opened
    lake.read(OUTPUTS)
    lake.read(METRICS)
    assert METRICS in opened


def test_threads_share_a_handle(lake) -> None:
    lake.upsert(METRICS, metric_rows(50))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: lake.read(METRICS), range(40)))
    assert all(rows.equals(found[0]) for rows in found)
    assert isinstance(found[0], pl.DataFrame)


def test_a_folder_without_a_log_has_no_commit(tmp_path) -> None:
    assert newest_commit(tmp_path) is None
    (tmp_path / "_delta_log").mkdir()
    (tmp_path / "_delta_log" / "00000000000000000000.json.tmp").touch()
    assert newest_commit(tmp_path) is None
