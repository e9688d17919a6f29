"""What delta-rs does that the store's rules stand on (docs/decisions/0001-store-rules.md).

These are facts about a dependency, not wishes. When an upgrade makes one of them fail, a rule may be lifted: read the
decision first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError

if TYPE_CHECKING:
    from pathlib import Path

ALONE = CommitProperties(max_commit_retries=0)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """A table of three files with one row each: 0, 1, 2."""
    for number in range(3):
        write_deltalake(str(tmp_path), pl.DataFrame({"n": [number]}), mode="append")
    return str(tmp_path)


def rows(uri: str) -> list[int]:
    return sorted(pl.DataFrame(DeltaTable(uri).scan().read_all())["n"].to_list())


@pytest.mark.parametrize("properties", [None, ALONE], ids=["default", "no retries"])
def test_two_compactions_from_handles_as_old_as_each_other_double_every_row(
    uri: str, properties: CommitProperties | None
) -> None:
    """Hence maintenance runs under a lease and compares the row count: no commit property prevents this."""
    first, second = DeltaTable(uri), DeltaTable(uri)
    first.optimize.compact(commit_properties=properties)
    second.optimize.compact(commit_properties=properties)
    assert rows(uri) == [0, 0, 1, 1, 2, 2]


def test_an_overwrite_from_a_handle_that_is_stale_over_a_compaction_leaves_the_old_rows(uri: str) -> None:
    stale = DeltaTable(uri)
    DeltaTable(uri).optimize.compact()
    write_deltalake(stale, pl.DataFrame({"n": [7]}), mode="overwrite")
    assert rows(uri) == [0, 1, 2, 7]


def test_without_retries_the_stale_overwrite_is_refused(uri: str) -> None:
    """Hence every commit that removes files is made with `max_commit_retries=0` on a fresh handle."""
    stale = DeltaTable(uri)
    DeltaTable(uri).optimize.compact()
    with pytest.raises(CommitFailedError):
        write_deltalake(stale, pl.DataFrame({"n": [7]}), mode="overwrite", commit_properties=ALONE)
    assert rows(uri) == [0, 1, 2]


def test_an_app_transaction_is_not_enforced_one_after_another(uri: str) -> None:
    """Hence `append` looks its token up first."""
    for _ in range(2):
        properties = CommitProperties(app_transactions=[Transaction("token", 1)])
        write_deltalake(uri, pl.DataFrame({"n": [7]}), mode="append", commit_properties=properties)
    assert rows(uri) == [0, 1, 2, 7, 7]


def test_of_two_appends_at_once_with_one_app_transaction_one_is_refused(uri: str) -> None:
    """Hence looking it up first is enough: what was not there when the handle was opened cannot land twice."""
    first, second = DeltaTable(uri), DeltaTable(uri)
    properties = CommitProperties(app_transactions=[Transaction("token", 1)])
    write_deltalake(first, pl.DataFrame({"n": [7]}), mode="append", commit_properties=properties)
    with pytest.raises(CommitFailedError):
        write_deltalake(second, pl.DataFrame({"n": [7]}), mode="append", commit_properties=properties)
    assert rows(uri) == [0, 1, 2, 7]


def test_vacuum_with_kept_versions_takes_the_change_feed_all_the_same(tmp_path: Path) -> None:
    """Hence maintenance draws the retention out to the slowest cursor besides naming versions to keep."""
    uri = str(tmp_path)
    configuration = {"delta.enableChangeDataFeed": "true"}
    write_deltalake(uri, pl.DataFrame({"n": [0, 1]}), configuration=configuration)
    DeltaTable(uri).delete("n = 1")
    assert list(tmp_path.glob("_change_data/*"))
    DeltaTable(uri).vacuum(
        retention_hours=0, dry_run=False, enforce_retention_duration=False, full=True, keep_versions=[0, 1]
    )
    assert not list(tmp_path.glob("_change_data/*"))
