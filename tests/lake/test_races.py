"""Several processes at one table: nothing is lost, nothing doubled, and who cannot get through says so."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lake import store
from lake.errors import ConflictError
from lake.store import Lake
from tests.conftest import ROOT
from tests.lake import workers as other
from tests.lake.rows import METRICS, OUTPUTS, metrics, outputs, replay, values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import ProcessPoolExecutor

WRITERS = 4


def test_a_token_lands_once_when_four_processes_bring_it_at_once(
    lake_anywhere: Lake, workers: ProcessPoolExecutor
) -> None:
    tokens = [f"token-{number}" for number in range(5)]
    runs = [workers.submit(other.append_tokens, lake_anywhere, tokens, 4) for _ in range(WRITERS)]
    assert sum(run.result() for run in runs) == 20
    landed = lake_anywhere.read(OUTPUTS, columns=["run_id", "sample_id"])
    assert landed.sort("run_id", "sample_id").rows() == [(token, str(row)) for token in tokens for row in range(4)]


@pytest.mark.parametrize("tokens_before_the_kill", [1, 6])
def test_a_killed_writer_that_runs_again_lands_each_token_once(lake: Lake, tokens_before_the_kill: int) -> None:
    code = f"from tests.lake.workers import append_and_tell; append_and_tell({lake.uri!r}, 0, 1000)"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline().strip() for _ in range(tokens_before_the_kill)]
        writer.send_signal(signal.SIGKILL)
    assert told == [f"token-{number}" for number in range(tokens_before_the_kill)]
    for number in range(12):
        token = f"token-{number}"
        lake.append(OUTPUTS, outputs(token, range(3)), token=token)
    landed = lake.read(OUTPUTS, columns=["run_id", "sample_id"])
    assert landed.height == landed.n_unique() >= 36
    # A kill between file and commit leaves a file that no version names.
    lake.maintain(OUTPUTS, retention_hours=0)
    assert (
        lake.read(OUTPUTS, columns=["run_id", "sample_id"])
        .sort("run_id", "sample_id")
        .equals(landed.sort("run_id", "sample_id"))
    )


def test_overlapping_upserts_of_four_processes_leave_one_row_a_key(
    lake_anywhere: Lake, workers: ProcessPoolExecutor
) -> None:
    rounds, keys = 4, 10
    runs = [workers.submit(other.upsert_rounds, lake_anywhere, writer, rounds, keys) for writer in range(WRITERS)]
    for run in runs:
        run.result()
    values = values_of(lake_anywhere)
    # Each call writes all keys in one commit, so the keys agree, and the last call of some writer came last.
    assert set(values) == {f"run-{key}" for key in range(keys)}
    assert set(values.values()) <= {float(writer * 1_000 + rounds - 1) for writer in range(WRITERS)}
    assert len(set(values.values())) == 1
    assert replay(lake_anywhere, METRICS).equals(lake_anywhere.read(METRICS).sort("run_id"))


def test_replacing_and_appending_side_by_side(lake: Lake, workers: ProcessPoolExecutor) -> None:
    rounds = 6
    lake.append(OUTPUTS, outputs("sliced", range(2)), token="before")
    replacing = workers.submit(other.replace_rounds, lake, "sliced", rounds)
    tokens = [[f"{writer}-{number}" for number in range(rounds)] for writer in range(WRITERS - 1)]
    appending = [workers.submit(other.append_tokens, lake, some, 2) for some in tokens]
    assert replacing.result() == rounds
    assert [run.result() for run in appending] == [2 * rounds] * len(appending)
    counts = dict(lake.sql(f"select run_id, count(*) as n from {OUTPUTS} group by run_id").iter_rows())
    assert counts == {"sliced": 1, **{token: 2 for some in tokens for token in some}}
    assert lake.read(OUTPUTS, columns=["output"], where={"run_id": "sliced"})["output"].item() == "round 5 0"


def test_upserting_while_the_table_is_compacted(lake: Lake, workers: ProcessPoolExecutor) -> None:
    rounds = 8
    lake.upsert(METRICS, metrics({"first": 0}))
    writing = [workers.submit(other.insert_own, lake, writer, rounds) for writer in range(WRITERS - 1)]
    compacted = 0
    while not all(run.done() for run in writing):
        before = lake.version(METRICS)
        lake.maintain(METRICS)
        compacted += lake.version(METRICS) > before
    assert [run.result() for run in writing] == [rounds] * (WRITERS - 1)
    assert compacted
    assert set(values_of(lake)) == {"first"} | {
        f"run-{writer}-{number}" for writer in range(WRITERS - 1) for number in range(rounds)
    }
    assert replay(lake, METRICS).equals(lake.read(METRICS).sort("run_id"))


def test_four_maintainers_at_once_double_nothing(lake_anywhere: Lake, workers: ProcessPoolExecutor) -> None:
    for number in range(6):
        lake_anywhere.upsert(METRICS, metrics({f"run-{number}": number}))
    ends = [workers.submit(other.maintain_once, lake_anywhere, METRICS) for _ in range(WRITERS)]
    told = [end.result() for end in ends]
    assert "done" in told
    assert set(told) <= {"done", "held"}
    assert values_of(lake_anywhere) == {f"run-{number}": number for number in range(6)}


def disturb(monkeypatch: pytest.MonkeyPatch, write: str, intrusions: Iterator[Callable[[], object]]) -> None:
    """Before each call of a writing function of the store, let somebody else commit."""
    original = getattr(store, write)
    intruding = False

    def disturbed(*arguments: object) -> None:
        nonlocal intruding
        if not intruding:
            intruding = True
            next(intrusions, bool)()
            intruding = False
        original(*arguments)

    monkeypatch.setattr(store, write, disturbed)


def test_who_never_gets_through_is_told_the_table_the_versions_and_what_to_do(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.upsert(METRICS, metrics({"first": 0}))
    monkeypatch.setattr("lake.store.MAX_TRIES", 3)
    numbers = itertools.count()
    disturb(
        monkeypatch,
        "append_alone",
        itertools.repeat(lambda: lake.upsert(METRICS, metrics({f"intruder-{next(numbers)}": 0}))),
    )
    with pytest.raises(ConflictError) as caught:
        lake.upsert(METRICS, metrics({"mine": 1}))
    message = str(caught.value)
    # The table was created in version 0 and got its first row in 1; three intruders came after.
    assert "upsert on silver.run_metrics met a conflicting commit 3 times" in message
    assert "from version 1 to 4" in message
    assert "Run it again" in message
    assert "pool" in message
    assert set(values_of(lake)) == {"first", "intruder-0", "intruder-1", "intruder-2"}


def test_who_is_disturbed_once_computes_again_on_what_stands_then(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """An intruder inserts the very key between our look and our commit: ours becomes an update, not a second row."""
    lake.upsert(METRICS, metrics({"first": 0}))
    disturb(monkeypatch, "append_alone", iter([lambda: lake.upsert(METRICS, metrics({"mine": 1}))]))
    result = lake.upsert(METRICS, metrics({"mine": 2}))
    assert (result.rows_written, result.version) == (1, 3)
    assert values_of(lake) == {"first": 0, "mine": 2}
    assert values_of(lake, at=2) == {"first": 0, "mine": 1}


def test_a_replace_sees_rows_that_were_appended_to_its_slice_meanwhile(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.append(OUTPUTS, outputs("sliced", ["a"]), token="a")
    disturb(monkeypatch, "overwrite_slice", iter([lambda: lake.append(OUTPUTS, outputs("sliced", ["b"]), token="b")]))
    lake.replace(OUTPUTS, outputs("sliced", ["c"]), where={"run_id": "sliced"})
    assert lake.read(OUTPUTS)["sample_id"].to_list() == ["c"]


def test_tables_are_created_once_by_four_processes(lake_anywhere: Lake, workers: ProcessPoolExecutor) -> None:
    runs = [workers.submit(other.insert_own, lake_anywhere, writer, 1) for writer in range(WRITERS)]
    assert [run.result() for run in runs] == [1] * WRITERS
    assert set(values_of(lake_anywhere)) == {f"run-{writer}-0" for writer in range(WRITERS)}


def test_a_key_that_four_processes_insert_at_once_is_one_writers(lake: Lake, workers: ProcessPoolExecutor) -> None:
    runs = [workers.submit(other.insert_contested, lake, writer, 5) for writer in range(WRITERS)]
    won = {name: float(writer) for writer, run in enumerate(runs) for name in run.result()}
    assert sum(len(run.result()) for run in runs) == 5
    assert values_of(lake) == won
