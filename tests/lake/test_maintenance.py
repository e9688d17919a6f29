"""Maintenance tidies files and never takes a row, a pinned version, or a feed that somebody has still to read."""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from deltalake import CommitProperties

from lake import maintenance
from lake.errors import ConflictError, LeaseHeldError, MaintenanceError, UserError
from lake.history import commits_since
from lake.leases import EXPIRY, LEASES, hold
from lake.store import Lake
from lake.tables import contract_of
from tests.lake.rows import METRICS, NOON, OUTPUTS, metric_keys, metrics, outputs, replay, values_of

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from lake.contracts import TableContract


def files(lake: Lake, pattern: str) -> list[Path]:
    return sorted(Path(lake.table_uri(METRICS)).glob(pattern))


def history(lake: Lake) -> None:
    """Version 1 inserts a, b, c; 2 updates a and b; 3 removes c; 4 replaces a; 5 inserts d."""
    lake.upsert(METRICS, metrics({"a": 1, "b": 1, "c": 1}))
    lake.upsert(METRICS, metrics({"a": 2, "b": 2}))
    lake.remove(METRICS, metric_keys(["c"]))
    lake.replace(METRICS, metrics({"a": 3}), where={"run_id": "a"})
    lake.upsert(METRICS, metrics({"d": 4}))


def test_maintenance_of_an_absent_table_is_nothing(lake: Lake) -> None:
    assert lake.maintain(METRICS) is None
    assert lake.tables() == []


def test_small_files_become_one_and_the_content_stays(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    for number in range(5):
        lake.upsert(METRICS, metrics({f"run-{number}": number}))
    before = lake.version(METRICS)
    result = lake.maintain(METRICS)
    assert result is not None
    assert (result.files_before, result.files_after, result.row_count, result.version) == (5, 1, 5, before + 1)
    assert values_of(lake) == {f"run-{number}": number for number in range(5)}
    assert lake.changes(METRICS, before).is_empty()
    again = lake.maintain(METRICS)
    assert again is not None
    assert (again.version, again.files_before, again.files_vacuumed) == (before + 1, 1, 0)


def test_a_runs_rows_stay_together_through_compaction(lake: Lake) -> None:
    for run in ("c", "a", "b"):
        lake.upsert(OUTPUTS, outputs(run, [3, 1, 2]))
    lake.maintain(OUTPUTS)
    rows = lake.read(OUTPUTS, columns=["run_id", "sample_id"]).rows()
    starts = [place for place in range(9) if place == 0 or rows[place][0] != rows[place - 1][0]]
    assert starts == [0, 3, 6]
    assert [sample for _, sample in rows] == ["1", "2", "3"] * 3


def test_vacuum_removes_what_nobody_needs(lake: Lake) -> None:
    history(lake)
    orphan = files(lake, "*.parquet")[0].with_name("part-killed.parquet")
    orphan.write_bytes(b"half a file")
    result = lake.maintain(METRICS, retention_hours=0)
    assert result is not None
    assert result.kept_versions == ()
    assert result.files_vacuumed > 0
    assert len(files(lake, "*.parquet")) == 1
    assert not orphan.exists()
    assert not files(lake, "_change_data/*")
    assert values_of(lake) == {"a": 3, "b": 2, "d": 4}


def test_the_default_retention_keeps_a_week(lake: Lake) -> None:
    history(lake)
    before = files(lake, "**/*.parquet")
    old = min(before, key=lambda path: path.stat().st_mtime)
    os.utime(old, (0, 0))
    result = lake.maintain(METRICS)
    assert result is not None
    assert result.files_vacuumed == 0
    assert set(before) <= set(files(lake, "**/*.parquet"))
    assert values_of(lake, at=1) == {"a": 1, "b": 1, "c": 1}


def test_a_pinned_version_stays_readable_until_it_is_released(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    history(lake)
    lake.pin("decision:1", {METRICS: 1}, reason="the decision quotes it", now=NOON)
    lake.pin("export:2", {METRICS: 3, OUTPUTS: 0}, reason="exported", now=NOON)
    result = lake.maintain(METRICS, retention_hours=0)
    assert result is not None
    assert result.kept_versions == (1, 3)
    assert values_of(lake, at=1) == {"a": 1, "b": 1, "c": 1}
    assert values_of(lake, at=3) == {"a": 2, "b": 2}
    assert dict(lake.sql(f"select run_id, value from {METRICS}", at={METRICS: 1}).iter_rows()) == {
        "a": 1,
        "b": 1,
        "c": 1,
    }
    lake.unpin("decision:1")
    lake.upsert(METRICS, metrics({"e": 5}))
    assert lake.maintain(METRICS, retention_hours=0).kept_versions == (3,)
    assert values_of(lake, at=3) == {"a": 2, "b": 2}
    with pytest.raises(Exception, match=r"(?i)not found|no such file"):
        values_of(lake, at=1)


def test_the_feed_stays_readable_from_the_slowest_cursor_on(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    history(lake)
    lake.move_cursor("fast", {METRICS: 5})
    lake.move_cursor("slow", {METRICS: 1})
    lake.move_cursor("of another table", {OUTPUTS: 0})
    order = ["_commit_version", "run_id", "_change_type"]
    before = lake.changes(METRICS, 1).sort(order)
    assert before.height == 8  # a and b before and after; c; a goes, a comes; d
    result = lake.maintain(METRICS, retention_hours=0)
    assert result is not None
    assert 1 in result.kept_versions
    assert lake.changes(METRICS, 1).sort(order).equals(before)
    lake.move_cursor("slow", {METRICS: lake.version(METRICS)})
    lake.move_cursor("fast", {METRICS: lake.version(METRICS)})
    lake.maintain(METRICS, retention_hours=0)
    with pytest.raises(UserError, match=r"(?s)silver\.run_metrics after version 1 cannot be read any more.*cursor to"):
        lake.changes(METRICS, 1)


def test_a_cursor_before_the_first_version_keeps_everything(lake: Lake) -> None:
    history(lake)
    lake.move_cursor("has not begun", {METRICS: -1})
    lake.maintain(METRICS, retention_hours=0)
    assert replay(lake, METRICS).equals(lake.read(METRICS).sort("run_id"))


def test_the_retention_reaches_back_to_the_slowest_cursor_in_hours(lake: Lake) -> None:
    history(lake)
    # Just committed: the hour begun and the slack for clocks.
    assert maintenance._hours_since(lake, METRICS, 1) == 2


def test_what_the_log_says_of_a_version_is_not_taken_from_another(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody commits between opening the table and reading its history, which delta-rs then numbers wrong."""
    history(lake)
    opened = lake.open_for_write

    def open_and_let_somebody_commit(contract: TableContract) -> DeltaTable:
        handle = opened(contract)
        monkeypatch.setattr(lake, "open_for_write", opened)
        lake.upsert(METRICS, metrics({"z": 1}))
        return handle

    monkeypatch.setattr(lake, "open_for_write", open_and_let_somebody_commit)
    commits = commits_since(lake, METRICS, 1)
    assert [commits[version]["operation"] for version in (2, 3, 4, 5, 6)] == [
        "MERGE",
        "MERGE",
        "WRITE",
        "WRITE",
        "WRITE",
    ]


def test_only_one_maintains_a_table(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    history(lake)
    with (
        lake.lease(f"maintain:{METRICS}"),
        pytest.raises(LeaseHeldError, match=r"'maintain:silver\.run_metrics' until"),
    ):
        lake.maintain(METRICS)
    assert lake.maintain(METRICS) is not None


def test_compaction_gives_way_to_writers_a_few_times(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    history(lake)
    monkeypatch.setattr(maintenance, "MAX_COMPACTIONS", 2)
    opened, number = lake.open_for_write, 0

    def open_and_let_somebody_commit(contract: object) -> object:
        nonlocal number
        handle = opened(contract)
        if contract is contract_of(METRICS):
            number += 1
            monkeypatch.setattr(lake, "open_for_write", opened)
            lake.upsert(METRICS, metrics({"a": 100.0 + number}))
            monkeypatch.setattr(lake, "open_for_write", open_and_let_somebody_commit)
        return handle

    monkeypatch.setattr(lake, "open_for_write", open_and_let_somebody_commit)
    with pytest.raises(ConflictError, match=r"maintain on silver\.run_metrics met a conflicting commit 2 times"):
        lake.maintain(METRICS)
    assert values_of(lake) == {"a": 102, "b": 2, "d": 4}


def test_a_compaction_that_doubled_rows_is_undone_and_told(lake: Lake) -> None:
    """Made by hand: two compactions from handles as old as each other, which the lease otherwise prevents."""
    for number in range(3):
        lake.upsert(METRICS, metrics({f"run-{number}": number}))
    first, second = (lake.open_for_write(contract_of(METRICS)) for _ in range(2))
    first.optimize.compact()
    before = lake.version(METRICS)
    second.optimize.compact(commit_properties=CommitProperties(max_commit_retries=0))
    assert lake.row_count(METRICS) == 6
    with pytest.raises(MaintenanceError, match=rf"version {before + 1} turned 3 rows into 6; it was restored"):
        maintenance._verify(lake, METRICS, before)
    assert values_of(lake) == {"run-0": 0, "run-1": 1, "run-2": 2}


def test_a_bad_compaction_that_others_built_on_is_told_and_left(lake: Lake) -> None:
    for number in range(3):
        lake.upsert(METRICS, metrics({f"run-{number}": number}))
    first, second = (lake.open_for_write(contract_of(METRICS)) for _ in range(2))
    first.optimize.compact()
    before = lake.version(METRICS)
    second.optimize.compact()
    lake.upsert(METRICS, metrics({"later": 9}))
    with pytest.raises(MaintenanceError, match=rf"already stands on it.*restore version {before}"):
        maintenance._verify(lake, METRICS, before)
    assert lake.row_count(METRICS) == 7


def test_a_lease_is_free_again_after_its_block_even_when_that_failed(lake: Lake) -> None:
    with pytest.raises(ZeroDivisionError), lake.lease("thing"):
        raise ZeroDivisionError
    with lake.lease("thing"), lake.lease("another thing"):
        pass


def test_the_lease_of_a_dead_holder_runs_out(lake: Lake) -> None:
    now = dt.datetime.now(dt.UTC)

    def leave(expires_at: dt.datetime) -> None:
        lake.upsert(LEASES, pl.DataFrame({"resource": "thing", "holder": "a dead process", "expires_at": [expires_at]}))

    leave(now + EXPIRY)
    with pytest.raises(LeaseHeldError), hold(lake, "thing"):
        pass
    leave(now - dt.timedelta(seconds=1))
    with hold(lake, "thing"):
        assert lake.read(LEASES)["holder"].item() != "a dead process"
    assert lake.read(LEASES)["holder"].item() == ""


def test_a_lease_that_somebody_else_took_over_is_not_given_back_by_us(lake: Lake) -> None:
    with hold(lake, "thing"):
        standing = lake.read(LEASES)
        lake.upsert(LEASES, standing.with_columns(holder=standing["holder"].str.replace(".*", "somebody else")))
    assert lake.read(LEASES)["holder"].item() == "somebody else"


def test_a_lease_is_renewed_while_it_is_held(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lake.leases.RENEWAL_SECONDS", 0.02)
    with hold(lake, "thing"):
        first = lake.read(LEASES)["expires_at"].item()
        give_up = time.monotonic() + 10
        while lake.read(LEASES)["expires_at"].item() == first:
            assert time.monotonic() < give_up, "the lease was not renewed"
            time.sleep(0.01)
        assert lake.read(LEASES)["expires_at"].item() > first


def test_cursors_and_pins_are_rows_that_can_be_read_back(lake: Lake) -> None:
    assert lake.cursor("reader", METRICS) == -1
    lake.move_cursor("reader", {METRICS: 3, OUTPUTS: 1})
    lake.move_cursor("reader", {METRICS: 7})
    lake.move_cursor("other", {METRICS: 2})
    assert (lake.cursor("reader", METRICS), lake.cursor("reader", OUTPUTS), lake.cursor("other", METRICS)) == (7, 1, 2)
    lake.move_cursor("reader", {})
    with pytest.raises(UserError, match="no table named"):
        lake.cursor("reader", "silver.nothing")
