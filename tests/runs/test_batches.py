"""Batches: the matrix, what a relaunch takes over, and how a batch behaves while it is asked."""

import datetime as dt
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from lake.errors import UserError
from pipelines.runs.backends import BackendIdentity, BackendStartError, Completion, SamplingParameters
from pipelines.runs.batch_steps import (
    BatchCancelledError,
    BatchJournal,
    cancel_batch,
    find_batch,
    list_batches,
    list_cells,
    read_cells,
    start_batch,
)
from pipelines.runs.batches import (
    BatchFacts,
    Wanted,
    arrange_lanes,
    batch_id_of,
    batch_rows,
    cell_row,
    plan_cells,
    reconcile,
)
from pipelines.runs.suite_registry import archive_suite, save_suite
from pipelines.runs.suites import WrittenSuite, parse_suite
from resources.batches import (
    BatchBusyError,
    BatchContext,
    BatchRequest,
    BatchResult,
    is_asked_here,
    launch_batch,
    resume_batch,
)
from resources.config import Config
from resources.installation import Installation
from resources.state import State

NOW = dt.datetime(2026, 11, 20, 9, 0, tzinfo=dt.UTC)
PROMPTS = 6


def suite_text(name: str = "shout", prompts: int = PROMPTS) -> str:
    samples = "".join(
        f"  - {{id: s{index}, prompt: word{index}, reference: WORD{index}}}\n" for index in range(prompts)
    )
    return f'name: {name}\nversion: "1"\nsampling: {{max_output_tokens: 4}}\nscorers: [contains]\nsamples:\n{samples}'


class Loud:
    """Answers in capitals; what it was asked, and how much at a time, is counted in `log`."""

    def __init__(self, name: str, log: "Log") -> None:
        self.identity = BackendIdentity(name=name, engine="loud", engine_version="1", model="m")
        self.max_concurrency = 1
        self.name, self.log = name, log
        self.log.opened[name] += 1

    def complete(self, prompt: str, sampling: SamplingParameters) -> Completion:
        with self.log.at_work(self.name):
            if self.log.before is not None:
                self.log.before(self.name, len(self.log.asked))
            self.log.asked.append((self.name, prompt))
            return Completion(status="ok", output=prompt.upper(), latency_ms=1.0)

    def close(self) -> None:
        self.log.closed[self.name] += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Log:
    """What fake backends were asked; `before` is called before each answer, `broken` cannot start."""

    def __init__(self, before: Callable[[str, int], None] | None = None, broken: set[str] | None = None) -> None:
        self.before, self.broken = before, broken or set()
        self.asked: list[tuple[str, str]] = []
        self.opened: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.busy: Counter[str] = Counter()
        self.together: set[frozenset[str]] = set()
        self._lock = threading.Lock()

    def open(self, name: str, _config: object, _home: Path) -> Loud:
        if name in self.broken:
            self.opened[name] += 1
            raise BackendStartError("no memory", engine="loud", model="m")
        return Loud(name, self)

    def at_work(self, name: str):
        log = self

        class AtWork:
            def __enter__(self) -> None:
                with log._lock:
                    log.busy[name] += 1
                    assert log.busy[name] == 1  # each backend's own bound
                    log.together.add(frozenset(one for one, count in log.busy.items() if count))

            def __exit__(self, *_: object) -> None:
                with log._lock:
                    log.busy[name] -= 1

        return AtWork()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_text(suite_text())
    (tmp_path / "b.yaml").write_text(suite_text("whisper"))
    (tmp_path / "benchlake.toml").write_text(
        "".join(
            f'[backends.{name}]\nengine = "openai"\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "{name}"\n'
            for name in ("one", "two", "three")
        )
    )
    return tmp_path


def installation_of(folder: Path) -> Installation:
    return Installation(folder=folder, state=State(home=folder / "state", lake_uri=str(folder / "lake")))


@pytest.fixture
def installation(folder: Path) -> Installation:
    return installation_of(folder)


def context(log: Log, said: list[str] | None = None, **options) -> BatchContext:
    return BatchContext(
        clock=lambda: dt.datetime.now(dt.UTC),
        author="ada",
        on_message=(said if said is not None else []).append,
        opener=log.open,
        **options,
    )


def request(**changes) -> BatchRequest:
    return BatchRequest(**{"suites": ["a.yaml", "b.yaml"], "backends": ["one", "two"], "name": "sweep", **changes})


def launch(installation: Installation, log: Log, said: list[str] | None = None, **changes) -> BatchResult:
    return launch_batch(installation, request(**changes), context(log, said))


# The matrix


def wanted(*names: str, backends: tuple[str, ...] = ("one", "two"), repeats: int = 2) -> list[Wanted]:
    suites = [parse_suite(suite_text(name), source="test") for name in names]
    return [Wanted(suite, backend, repeats) for suite in suites for backend in backends]


def plan(cells: list[Wanted], **changes):
    options = {"batch_id": "b", "backend_digests": {"one": "1" * 64, "two": "2" * 64}, "commit": "c0ffee"}
    return plan_cells(cells, **{**options, **changes})


def test_a_matrix_has_a_cell_for_each_suite_and_backend_once() -> None:
    cells = plan([*wanted("a", "b"), *wanted("a")])
    assert [(cell.suite, cell.backend, cell.expected_count) for cell in cells] == [
        ("a", "one", 12), ("a", "two", 12), ("b", "one", 12), ("b", "two", 12),
    ]  # fmt: skip
    assert len({cell.run_id for cell in cells}) == 4
    assert plan(wanted("a", "b")) == cells
    for other in (
        plan(wanted("a", "b", repeats=3)),
        plan(wanted("a", "b"), commit=None),
        plan(wanted("a", "b"), batch_id="c"),
        plan(wanted("a", "b"), backend_digests={"one": "3" * 64, "two": "4" * 64}),
    ):
        assert not {cell.run_id for cell in cells} & {cell.run_id for cell in other}


def test_embedded_backends_wait_for_each_other_and_others_for_themselves() -> None:
    cells = plan(
        wanted("a", "b", backends=("one", "two", "three")),
        backend_digests={"one": "1" * 64, "two": "2" * 64, "three": "3" * 64},
    )
    lanes = arrange_lanes(cells, embedded={"one", "three"})
    # A backend's cells stand together: a model is loaded once.
    assert [[(cell.backend, cell.suite) for cell in lane] for lane in lanes] == [
        [("one", "a"), ("one", "b"), ("three", "a"), ("three", "b")],
        [("two", "a"), ("two", "b")],
    ]


def test_a_relaunch_takes_over_what_is_the_same_and_tells_what_is_not() -> None:
    facts = BatchFacts(batch_id="b", name="sweep", requested_at=NOW, requested_by="ada", tags=("t",))
    before = plan(wanted("a"))
    rows = [
        cell_row(cell, facts) | {"state": state} for cell, state in zip(before, ("finished", "failed"), strict=True)
    ]
    same = reconcile(before, batch_rows(rows))
    assert (same.finished, same.unfinished, same.superseded, same.changes) == (before[:1], before[1:], (), ())
    after = plan(wanted("a"), commit="beef01")
    other = reconcile(after, batch_rows(rows))
    assert (other.finished, other.unfinished) == ((), after)
    assert other.superseded == (before[1].run_id,)  # what is finished stays
    assert [("commit c0ffee is beef01 now" in change, "stays" in change) for change in other.changes] == [
        (True, True), (True, False),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["", "a b", "../up", "-x", "a" * 101])
def test_a_batch_has_a_name_that_can_be_typed(name) -> None:
    with pytest.raises(UserError, match="no name for a batch"):
        batch_id_of(name)


# The rows


def test_counts_are_written_every_few_seconds_and_states_at_once(lake_anywhere) -> None:
    lake = lake_anywhere
    seconds = [0.0]
    cell, facts = plan(wanted("a"))[0], BatchFacts(batch_id="b", name="n", requested_at=NOW, requested_by="a", tags=())
    start_batch(lake, facts, [cell], superseded=[])
    journal = BatchJournal(lake, [cell_row(cell, facts)], ticks=lambda: seconds[0])
    journal.begin(cell.run_id, now=NOW)
    version = lake.version("silver.batch_runs")
    journal.count(cell.run_id, 1)
    assert lake.version("silver.batch_runs") == version
    seconds[0] = 10.0
    journal.count(cell.run_id, 2)
    row = read_cells(lake, "b").row(0, named=True)
    assert (row["state"], row["answered_count"], row["started_at"]) == ("running", 2, NOW)
    assert cancel_batch(lake, "b", now=NOW) == 1
    seconds[0] = 20.0
    with pytest.raises(BatchCancelledError):
        journal.count(cell.run_id, 3)
    journal.put_back(is_cancelled=True, now=NOW)
    row = read_cells(lake, "b").row(0, named=True)
    assert (row["state"], row["answered_count"]) == ("cancelled", 3)
    assert cancel_batch(lake, "b", now=NOW) == 0


# Asking


def test_a_batch_asks_every_suite_on_every_backend_and_imports_it(installation) -> None:
    log, said = Log(), []
    result = launch(installation, log, said, repeats=2, tags=["exp-1"])
    assert [(cell.state, cell.answered_count) for cell in result.cells] == [("finished", 12)] * 4
    assert Counter(log.asked) == {(b, f"word{i}"): 4 for b in ("one", "two") for i in range(PROMPTS)}
    assert log.opened == log.closed == {"one": 1, "two": 1}  # once for both suites
    lake = installation.lake
    runs = lake.read("silver.runs")
    assert set(runs["run_id"]) == {cell.cell.run_id for cell in result.cells}
    assert runs["tags"].to_list() == [[f"batch:{result.batch_id}", "exp-1"]] * 4
    assert set(runs["fingerprint"].struct["suite_digest"]) == set(lake.read("silver.suites")["suite_digest"])
    cells = list_cells(lake, result.batch_id)
    assert cells["mean_score"].to_list() == [1.0] * 4
    (row,) = list_batches(lake).to_dicts()
    assert (row["batch"], row["state"], row["answered_count"], row["requested_by"]) == ("sweep", "finished", 48, "ada")
    assert not list(installation.state.work.glob("*.jsonl"))


def test_a_finished_batch_is_not_asked_again(installation) -> None:
    launch(installation, Log())
    versions = installation.lake.versions(["silver.runs", "silver.batch_runs", "silver.suites"])
    log = Log()
    again = launch(installation, log)
    assert ([cell.state for cell in again.cells], log.asked) == (["finished"] * 4, [])
    assert installation.lake.versions(list(versions)) == versions


def test_backends_are_asked_side_by_side_up_to_jobs(installation) -> None:
    begun, two_have_begun = set[str](), threading.Event()

    def meet(name: str, _count: int) -> None:
        # The first backend waits until another is at work too, however slow the machine is.
        begun.add(name)
        if len(begun) > 1:
            two_have_begun.set()
        two_have_begun.wait(timeout=30)

    alone, beside = Log(), Log(meet)
    launch(installation, alone, backends=["one", "two", "three"])
    assert max(map(len, alone.together)) == 1
    launch(installation, beside, backends=["one", "two", "three"], name="other", jobs=2)
    assert max(map(len, beside.together)) == 2


def test_a_backend_that_cannot_start_fails_its_cells_alone_and_is_tried_again(installation) -> None:
    log, said = Log(broken={"one"}), []
    result = launch(installation, log, said)
    assert [(cell.cell.backend, cell.state) for cell in result.unfinished] == [("one", "failed")] * 2
    assert log.opened["one"] == 1  # not once for every suite
    assert sum("no memory" in message for message in said) == 2
    rows = list_cells(installation.lake, result.batch_id)
    assert rows.filter(rows["backend"] == "one")["error_message"].to_list() == ["no memory"] * 2
    assert list_batches(installation.lake)["state"].to_list() == ["failed"]
    mended = Log()
    again = resume_batch(installation, "sweep", context(mended))
    assert [cell.state for cell in again.cells] == ["finished"] * 2
    assert {name for name, _ in mended.asked} == {"one"}
    assert list_batches(installation.lake)["state"].to_list() == ["finished"]
    assert set(installation.lake.read("silver.runs")["status"]) == {"success"}


def test_an_interrupted_batch_can_be_resumed_and_says_so(installation) -> None:
    said: list[str] = []

    def interrupt(_name: str, count: int) -> None:
        if count == 8:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)

    log = Log(interrupt)
    with pytest.raises(KeyboardInterrupt):
        launch(installation, log, said)
    assert any(message.startswith("Stopping") for message in said)
    rows = read_cells(installation.lake, batch_id_of("sweep"))
    assert sorted(rows["state"]) == ["finished", "planned", "planned", "planned"]
    answered = len(log.asked)
    assert rows["answered_count"].sum() == answered
    rest = Log()
    result = resume_batch(installation, batch_id_of("sweep")[:8], context(rest))
    assert len(rest.asked) == 4 * PROMPTS - answered
    assert not result.unfinished


def test_a_cancelled_batch_stops_and_can_be_resumed(installation) -> None:
    batch_id = batch_id_of("sweep")

    def cancel(_name: str, count: int) -> None:
        if count == 2:
            assert cancel_batch(installation_of(installation.folder).lake, batch_id, now=NOW) == 4

    log, said = Log(cancel), []
    result = launch(installation, log, said)
    # Noticed at the next change of state at the latest: the first cell ends, the second is not begun.
    assert result.is_cancelled
    assert len(log.asked) == PROMPTS
    assert sorted(read_cells(installation.lake, batch_id)["state"]) == ["cancelled"] * 3 + ["finished"]
    assert Counter(cell.state for cell in result.cells) == {"cancelled": 3, "finished": 1}
    assert not resume_batch(installation, "sweep", context(Log())).unfinished


def test_a_changed_suite_is_told_and_asked_beside_the_old_one(installation) -> None:
    launch(installation, Log(), suites=["a.yaml"])
    (installation.folder / "a.yaml").write_text(suite_text(prompts=2))
    log, said = Log(), []
    result = launch(installation, log, said, suites=["a.yaml"])
    assert sum("is not what was launched before (suite" in message for message in said) == 2
    assert len(log.asked) == 4
    assert not result.unfinished
    assert sorted(read_cells(installation.lake, result.batch_id)["expected_count"]) == [2, 2, 6, 6]


def test_a_resume_asks_what_was_launched_whatever_became_of_the_file(installation) -> None:
    launch(installation, Log(broken={"one"}), suites=["a.yaml"])
    (installation.folder / "a.yaml").unlink()
    archive_suite(installation.lake, "shout", now=NOW, author="bob", reason=None)
    log = Log()
    assert not resume_batch(installation, "sweep", context(log)).unfinished
    assert len(log.asked) == PROMPTS
    with pytest.raises(UserError, match="archived by bob"):
        launch(installation, Log(), suites=["shout"], name="again")


def test_a_changed_backend_is_told_and_its_answers_begin_anew(installation) -> None:
    launch(installation, Log(broken={"one"}), suites=["a.yaml"])
    toml = installation.folder / "benchlake.toml"
    toml.write_text(toml.read_text().replace('model = "one"', 'model = "one-b"'))
    said: list[str] = []
    changed = Installation(
        folder=installation.folder, state=installation.state, config=Config.load(installation.folder)
    )
    result = resume_batch(changed, "sweep", context(Log(), said))
    assert sum("backend configuration" in message for message in said) == 1
    assert not result.unfinished
    assert read_cells(changed.lake, result.batch_id)["state"].to_list() == ["finished"] * 2


def test_suites_are_found_as_files_saved_versions_and_shipped_ones(installation) -> None:
    text = suite_text("kept")
    save_suite(installation.lake, WrittenSuite(parse_suite(text, source="t"), text), now=NOW, author="ada")
    log = Log()
    result = launch(installation, log, suites=["kept@1", "starter", "a.yaml"], backends=["one"])
    assert {cell.cell.suite for cell in result.cells} == {"kept", "starter", "shout"}
    with pytest.raises(UserError, match=r"no such file.*starter.*Did you mean kept"):
        launch(installation, log, suites=["kep"])


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"backends": ["on"]}, "Did you mean one"),
        ({"repeats": 0}, "repeats is 0"),
        ({"jobs": 0}, "jobs is 0"),
        ({"tags": [" "]}, "tag is empty"),
        ({"name": "a b"}, "no name for a batch"),
    ],
)
def test_a_mistake_is_told_before_anything_is_asked_or_written(installation, changes, hint) -> None:
    log = Log()
    with pytest.raises(UserError, match=hint):
        launch(installation, log, **changes)
    assert (log.opened, installation.lake.tables()) == ({}, [])


def test_a_batch_is_found_by_name_id_or_the_beginning_of_it(installation) -> None:
    result = launch(installation, Log(), suites=["a.yaml"], backends=["one"])
    for word in ("sweep", result.batch_id, result.batch_id[:8]):
        assert find_batch(installation.lake, word) == result.batch_id
    with pytest.raises(UserError, match="Did you mean sweep"):
        find_batch(installation.lake, "sweeep")
    with pytest.raises(UserError, match="no batch"):
        find_batch(installation.lake, result.batch_id[:7])


def ask_slowly(folder: Path) -> None:
    launch(installation_of(folder), Log(lambda _name, _count: time.sleep(0.05)))


@pytest.fixture
def slow_launch(folder):
    """Another process that asks the batch, 24 samples in 1.2 s and more."""
    process = multiprocessing.get_context("spawn").Process(target=ask_slowly, args=(folder,))
    process.start()
    try:
        deadline = time.monotonic() + 60
        while not _answered(folder) and time.monotonic() < deadline:
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.join()


def _answered(folder: Path) -> int:
    """Whole lines of outputs in unfinished and landed run files."""
    paths = [*(folder / "state" / "work").glob("*.jsonl"), *(folder / "state" / "landing").glob("*.jsonl")]
    return sum(path.read_bytes().count(b'\n{"type":"output"') for path in paths)


def test_a_killed_batch_continues_with_what_is_missing(folder, installation, slow_launch) -> None:
    time.sleep(0.3)
    slow_launch.kill()
    slow_launch.join()
    stood = _answered(folder)
    assert 0 < stood < 4 * PROMPTS
    assert not is_asked_here(installation, batch_id_of("sweep"))
    log = Log()
    result = launch(installation, log)
    assert not result.unfinished
    assert len(log.asked) == 4 * PROMPTS - stood
    assert installation.lake.row_count("silver.outputs") == 4 * PROMPTS
    assert installation.lake.read("silver.batch_runs")["state"].to_list() == ["finished"] * 4


def test_two_processes_do_not_ask_the_same_batch(installation, slow_launch) -> None:
    assert is_asked_here(installation, batch_id_of("sweep"))
    log = Log()
    with pytest.raises(BatchBusyError, match="batch show sweep"):
        launch(installation, log)
    with pytest.raises(BatchBusyError):
        resume_batch(installation, "sweep", context(log))
    assert log.asked == []
    # Another batch is another matter.
    assert not launch(installation, log, name="other", suites=["a.yaml"]).unfinished
    slow_launch.join(60)
    assert slow_launch.exitcode == 0
    assert installation.lake.row_count("silver.runs") == 4 + 2
