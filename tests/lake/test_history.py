"""What the log says: when a version was committed, and that a table made anew is another."""

import datetime as dt
import shutil

import pytest

from lake.errors import UserError
from lake.history import committed_at, table_id


def test_versions_are_dated_in_order_and_unknown_ones_refused(lake) -> None:
    assert table_id(lake, "silver.cursors") is None
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    for version in (1, 2, 3):
        lake.move_cursor("reader", {"silver.runs": version})
    newest = lake.version("silver.cursors")
    times = [committed_at(lake, "silver.cursors", version) for version in range(newest + 1)]
    assert times == sorted(times)
    assert before <= times[0] <= dt.datetime.now(dt.UTC)
    for absent in (newest + 1, 99):
        with pytest.raises(UserError, match="has no version"):
            committed_at(lake, "silver.cursors", absent)


def test_a_table_made_anew_has_another_id(lake) -> None:
    lake.move_cursor("reader", {"silver.runs": 1})
    first = table_id(lake, "silver.cursors")
    assert first == table_id(lake, "silver.cursors")
    shutil.rmtree(lake.table_uri("silver.cursors"))
    lake.move_cursor("reader", {"silver.runs": 1})
    assert table_id(lake, "silver.cursors") not in {None, first}
