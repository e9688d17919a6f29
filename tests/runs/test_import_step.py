from __future__ import annotations

import datetime as dt
import gzip
import multiprocessing
import threading
import time
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from lake.errors import UserError
from lake.store import Lake
from pipelines.runs import import_writer
from pipelines.runs.importers import frames, importer_of
from pipelines.runs.sources import Limits
from pipelines.runs.steps import ImportProgress, import_paths
from tests.runs.formats import Format, declared_formats
from tests.runs.run_files import (
    benchlake_file,
    benchlake_run,
    inspect_json,
    inspect_sample,
    inspect_zip,
    json_lines,
    lm_eval_name,
    lm_eval_results,
    lm_eval_samples,
    make_zip,
)

if TYPE_CHECKING:
    from pathlib import Path

NOW = dt.datetime(2026, 3, 5, 12, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(hours=1)
TABLES = (
    "bronze.run_files",
    "bronze.raw_records",
    "bronze.rejects",
    "silver.runs",
    "silver.outputs",
    "silver.output_tokens",
    "silver.run_metrics",
)


def landing(folder: Path) -> Path:
    """One run in every format, a broken line, and two files that are refused."""
    invocation = folder / "harness" / "org__tiny"
    invocation.mkdir(parents=True)
    (folder / "run.jsonl").write_bytes(benchlake_file() + b'{"broken": \n')
    (folder / "log.eval").write_bytes(inspect_zip([inspect_sample(index) for index in range(3)]))
    (invocation / lm_eval_name()).write_bytes(lm_eval_results(("sums", "facts")))
    (invocation / lm_eval_name("sums")).write_bytes(lm_eval_samples(3))
    (invocation / lm_eval_name("facts")).write_bytes(lm_eval_samples(4))
    (folder / "notes.txt").write_text("not a run")
    (folder / "half.jsonl.partial").write_text("still being written")
    return folder


def content(lake: Lake) -> dict[str, pl.DataFrame]:
    return {
        table: rows.sort(pl.struct(name for name, dtype in rows.schema.items() if not dtype.is_nested()))
        for table in TABLES
        for rows in [lake.read(table)]
    }


def assert_equal(first: Lake, second: Lake) -> None:
    ours, theirs = content(first), content(second)
    for table in TABLES:
        assert ours[table].equals(theirs[table]), table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return landing(tmp_path / "landing")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def test_a_folder_lands(lake: Lake, folder: Path) -> None:
    seen: list[ImportProgress] = []
    result = import_paths(lake, [folder], now=NOW, progress=seen.append)
    assert (result.files, result.runs, result.samples, result.rejects, result.unchanged_files) == (5, 4, 13, 2, 0)
    assert result.run_dates == {dt.date(2026, 3, 1), dt.date(2026, 3, 2)}
    assert len(result.messages) == 2
    assert any("notes.txt" in message for message in result.messages)
    assert any("run.jsonl: Line 7" in message for message in result.messages)
    # Records: 6 of the JSONL run, 2 headers and 3 samples of the zip, the results, 3 and 4 lines of samples.
    assert seen[-1] == (5, 5, 19)
    assert seen == sorted(seen)
    files = lake.read("bronze.run_files")
    assert files.filter(pl.col("source_kind") != "unknown").height == 5
    results = files.filter(pl.col("uri").str.contains("results_")).row(0, named=True)
    assert len(results["run_ids"]) == 2
    assert files.filter(pl.col("uri").str.ends_with("run.jsonl"))["record_count"].to_list() == [6]


def test_a_long_file_tells_how_far_it_is(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "CHUNK_RECORDS", 3)
    (tmp_path / lm_eval_name("sums")).write_bytes(lm_eval_samples(7))
    seen: list[ImportProgress] = []
    import_paths(lake, [tmp_path], now=NOW, progress=seen.append)
    assert seen == [(0, 1, 3), (0, 1, 6), (0, 1, 7), (1, 1, 7)]


def test_commits_follow_one_another_while_the_next_batches_are_read(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "CHUNK_RECORDS", 3)
    monkeypatch.setattr(import_writer, "COMMIT_RECORDS", 3)
    (tmp_path / lm_eval_name("sums")).write_bytes(lm_eval_samples(30))
    names, under_way, most = set[str](), 0, 0
    append = lake.append_batches

    def watched(*arguments: Any, **options: Any) -> Any:
        nonlocal under_way, most
        names.add(threading.current_thread().name)
        under_way += 1
        most = max(most, under_way)
        time.sleep(0.02)
        under_way -= 1
        return append(*arguments, **options)

    monkeypatch.setattr(lake, "append_batches", watched)
    assert import_paths(lake, [tmp_path], now=NOW).samples == 30
    assert (names, most) == ({"commit_0"}, 1)
    assert sorted(lake.read("silver.outputs")["sample_id"].cast(pl.Int64)) == list(range(30))


def test_importing_again_changes_nothing(lake: Lake, folder: Path) -> None:
    import_paths(lake, [folder], now=NOW)
    versions = lake.versions(TABLES)
    result = import_paths(lake, [folder, folder / "run.jsonl"], now=LATER)
    assert (result.files, result.runs, result.samples, result.rejects, result.unchanged_files) == (0, 0, 0, 0, 6)
    assert lake.versions(TABLES) == versions


def test_the_same_content_elsewhere_is_the_same_file(lake: Lake, tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(benchlake_file())
    result = import_paths(lake, [tmp_path / "a.jsonl", tmp_path / "b.jsonl"], now=NOW)
    assert (result.files, result.unchanged_files) == (1, 1)
    (tmp_path / "c.jsonl").write_bytes(benchlake_file())
    assert import_paths(lake, [tmp_path / "c.jsonl"], now=NOW).unchanged_files == 1
    assert lake.read("silver.outputs").height == 3


def test_many_small_files_are_one_commit_a_table(lake: Lake, tmp_path: Path) -> None:
    for index in range(12):
        (tmp_path / f"{index}.jsonl").write_bytes(json_lines([benchlake_run(run_id=f"run-{index}")]))
    assert import_paths(lake, [tmp_path], now=NOW).runs == 12
    # Version 0 creates the table, version 1 holds the rows.
    assert {table: version for table, version in lake.versions(TABLES).items() if version > -1} == {
        "bronze.run_files": 1,
        "bronze.raw_records": 1,
        "silver.runs": 1,
    }


def test_two_processes_make_one_set_of_rows(folder: Path, tmp_path: Path) -> None:
    shared, alone = Lake.open(tmp_path / "shared"), Lake.open(tmp_path / "alone")
    import_paths(alone, [folder], now=NOW)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_import_in_process, args=(shared.uri, str(folder))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
        assert worker.exitcode == 0
    assert_equal(shared, alone)


def _import_in_process(uri: str, folder: str) -> None:
    import_paths(Lake.open(uri), [folder], now=NOW)


class Killed(BaseException):
    """Not an Exception, so that nothing on the way may catch it."""


class DyingLake:
    """A lake whose process dies before write number `fatal`."""

    def __init__(self, lake: Lake, fatal: int) -> None:
        self._lake, self._left = lake, fatal

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._lake, name)
        if name not in {"append_batches", "upsert", "replace"}:
            return verb

        def dying(*arguments: Any, **options: Any) -> Any:
            if self._left == 0:
                raise Killed
            self._left -= 1
            return verb(*arguments, **options)

        return dying


@pytest.mark.parametrize("is_small", [False, True])
def test_killed_between_any_two_writes_and_run_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_small: bool
) -> None:
    if is_small:
        # Every few records are a batch, and every other batch a commit, so that files are cut in pieces.
        monkeypatch.setattr(frames, "CHUNK_RECORDS", 2)
        monkeypatch.setattr(import_writer, "COMMIT_RECORDS", 4)
    undisturbed = Lake.open(tmp_path / "undisturbed")
    import_paths(undisturbed, [folder], now=NOW)
    for fatal in range(0, 60, 3 if is_small else 1):
        lake = Lake.open(tmp_path / f"lake-{fatal}")
        try:
            import_paths(DyingLake(lake, fatal), [folder], now=NOW)  # type: ignore[arg-type]
        except Killed:
            import_paths(lake, [folder], now=NOW)
            assert_equal(lake, undisturbed)
        else:
            assert fatal > 5
            return
    pytest.fail("the import never came to its end")


def test_a_grown_invocation_is_read_again(lake: Lake, folder: Path, tmp_path: Path) -> None:
    invocation = folder / "harness" / "org__tiny"
    late = {path.name: path.read_bytes() for path in invocation.glob("*facts*")} | {
        lm_eval_name(): (invocation / lm_eval_name()).read_bytes()
    }
    for name in late:
        (invocation / name).unlink()
    import_paths(lake, [folder], now=NOW)
    before = lake.read("silver.runs", where={"suite": "sums"})["content_digest"].to_list()
    for name, data in late.items():
        (invocation / name).write_bytes(data)
    result = import_paths(lake, [folder], now=NOW)
    assert result.files == 3
    after = lake.read("silver.runs", where={"suite": "sums"})
    assert after.height == 1
    assert after["content_digest"].to_list() != before
    assert after["status"].to_list() == ["success"]
    whole = Lake.open(tmp_path / "whole")
    import_paths(whole, [folder], now=NOW)
    for table in set(TABLES) - {"bronze.run_files"}:
        assert content(lake)[table].equals(content(whole)[table]), table


def test_a_better_known_date_leaves_no_outputs_at_the_old_one(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / lm_eval_name("sums")).write_bytes(lm_eval_samples())
    import_paths(lake, [tmp_path], now=NOW)
    assert lake.read("silver.outputs")["run_date"].unique().to_list() == [dt.date(2026, 3, 1)]
    # The results know the instant, a day before the local time in the name: 1772280000 s is 2026-02-28 12:00 UTC.
    (tmp_path / lm_eval_name()).write_bytes(lm_eval_results(date=1772280000.0))
    result = import_paths(lake, [tmp_path], now=NOW)
    assert lake.read("silver.outputs")["run_date"].to_list() == [dt.date(2026, 2, 28)] * 3
    assert result.run_dates == {dt.date(2026, 2, 28), dt.date(2026, 3, 1)}


def test_naming_one_file_of_an_invocation_brings_the_others(lake: Lake, folder: Path) -> None:
    result = import_paths(lake, [folder / "harness" / "org__tiny" / lm_eval_name("sums")], now=NOW)
    assert (result.files, result.runs, result.samples) == (3, 2, 7)


def test_the_same_answers_of_another_night_are_another_run(lake: Lake, tmp_path: Path) -> None:
    # Samples hold no time: greedy decoding writes the same bytes every night.
    for night in ("2026-03-01", "2026-03-02"):
        date_id = f"{night}T10-20-30.123456"
        (tmp_path / f"results_{date_id}.json").write_bytes(
            lm_eval_results(date=dt.datetime.fromisoformat(f"{night}T10:00:00Z").timestamp())
        )
        (tmp_path / f"samples_sums_{date_id}.jsonl").write_bytes(lm_eval_samples())
        import_paths(lake, [tmp_path], now=NOW)
    assert lake.read("silver.runs").height == 2
    assert lake.read("silver.outputs").height == 6


def test_a_log_that_went_on_replaces_what_it_was(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "log.eval"
    path.write_bytes(inspect_zip([inspect_sample(0)], has_header=False))
    import_paths(lake, [path], now=NOW)
    path.write_bytes(inspect_zip([inspect_sample(0), inspect_sample(1)]))
    import_paths(lake, [path], now=NOW)
    assert lake.read("silver.runs")["status"].to_list() == ["success"]
    assert sorted(lake.read("silver.outputs")["sample_id"]) == ["0", "1"]


def test_refused_files_are_said_once_and_forgotten_until_they_change(lake: Lake, tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "secret.jsonl"
    inside.mkdir()
    outside.write_bytes(benchlake_file())
    (inside / "link.jsonl").symlink_to(outside)
    (inside / "bomb.eval").write_bytes(make_zip({"header.json": b"0" * 200_000}))
    (inside / "note.json").write_text("{}")
    (inside / "good.jsonl").write_bytes(benchlake_file())
    limits = Limits(expansion=20, expansion_floor_bytes=10_000)
    first = import_paths(lake, [inside, outside, inside / "absent"], root=inside, now=NOW, limits=limits)
    assert (first.files, first.runs, first.rejects) == (1, 1, 5)
    rules = {row["source_uri"].rsplit("/", 1)[1]: row["rule"] for row in lake.read("bronze.rejects").to_dicts()}
    assert rules == {
        "link.jsonl": "inside_root",
        "secret.jsonl": "inside_root",
        "bomb.eval": "expansion",
        "note.json": "format",
        "absent": "readable",
    }
    versions = lake.versions(TABLES)
    again = import_paths(lake, [inside], root=inside, now=LATER, limits=limits)
    assert (again.files, again.unchanged_files, lake.versions(TABLES)) == (0, 3, versions)
    (inside / "note.json").write_bytes(inspect_json([inspect_sample(0)]))
    assert import_paths(lake, [inside], root=inside, now=LATER, limits=limits).files == 1


@pytest.mark.parametrize("form", declared_formats(), ids=str)
def test_a_named_format_is_taken_at_its_word(form: Format, lake: Lake, tmp_path: Path) -> None:
    path = form.write(tmp_path, form.good())
    assert import_paths(lake, [path], format=form.source_kind, now=NOW).files >= 1
    with pytest.raises(UserError, match="Did you mean"):
        import_paths(lake, [path], format=form.source_kind + "s", now=NOW)


def test_a_file_that_changes_while_read_is_left_for_the_next_call(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.jsonl.gz"
    path.write_bytes(gzip.compress(benchlake_file()))
    monkeypatch.setattr("pipelines.runs.sources.SourceFile.is_unchanged", lambda self: False)
    result = import_paths(lake, [path], now=NOW)
    assert (result.files, result.samples) == (0, 0)
    assert "changed while being read" in result.messages[0]
    monkeypatch.undo()
    assert import_paths(lake, [path], now=NOW).samples == 3


def test_many_problems_are_told_in_few_lines(lake: Lake, tmp_path: Path) -> None:
    lines = [f'{{"broken {index}'.encode() for index in range(50)]
    (tmp_path / "run.jsonl").write_bytes(json_lines([benchlake_run()]) + b"\n".join(lines) + b"\n")
    result = import_paths(lake, [tmp_path], now=NOW)
    assert result.rejects == 50
    assert len(result.messages) == 21
    assert result.messages[-1] == "and 30 more"


def test_nothing_to_import_is_no_error(lake: Lake, tmp_path: Path) -> None:
    result = import_paths(lake, [tmp_path], now=NOW)
    assert (result.files, result.rejects, result.messages) == (0, 0, ())
    assert lake.tables() == []


def test_a_copy_that_was_cut_off_does_not_undo_the_whole_file(lake: Lake, tmp_path: Path) -> None:
    whole = benchlake_file()
    (tmp_path / "whole.jsonl").write_bytes(whole)
    (tmp_path / "cut.jsonl").write_bytes(whole[: len(whole) * 2 // 3])
    import_paths(lake, [tmp_path / "whole.jsonl"], now=NOW)
    before = lake.read("silver.runs")
    result = import_paths(lake, [tmp_path / "cut.jsonl"], now=LATER)
    assert lake.read("silver.runs").equals(before)
    assert any("has ended by another file" in message for message in result.messages)


def test_a_file_that_grew_to_its_end_does_end_its_run(lake: Lake, tmp_path: Path) -> None:
    whole = benchlake_file()
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"\n".join(whole.splitlines()[:-1]) + b"\n")
    import_paths(lake, [path], now=NOW)
    assert lake.read("silver.runs")["status"].to_list() == ["started"]
    path.write_bytes(whole)
    import_paths(lake, [path], now=LATER)
    assert lake.read("silver.runs")["status"].to_list() == ["success"]


def test_a_newer_importer_reads_again_without_storing_the_records_twice(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(benchlake_file())
    import_paths(lake, [path], now=NOW)
    before = lake.read("bronze.raw_records")
    importer = importer_of("benchlake")
    monkeypatch.setattr(type(importer), "version", importer.version + 1)
    assert import_paths(lake, [path], now=LATER).files == 1
    assert lake.read("bronze.raw_records").equals(before)
    assert lake.row_count("bronze.run_files") == 2
