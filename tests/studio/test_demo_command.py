"""The sample files: every format is among them, they land without a reject, and they tell nothing of a machine."""

from __future__ import annotations

import datetime as dt
import gzip
import re
from pathlib import Path

import pytest

from lake.store import Lake
from pipelines.runs.archives import open_archive
from pipelines.runs.importers import IMPORTERS
from pipelines.runs.sources import Limits, identify, packing_of
from pipelines.runs.steps import import_paths
from resources.demo_files import SHIPPED, DemoSource, clean_demo, demo_sources, place_demo

NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
each = pytest.mark.parametrize("source", demo_sources(), ids=lambda source: source.folder)
# A path of somebody's account or folder, a package folder, a name of a virtual machine, a credential.
PRIVATE = re.compile(rb"(?<![\w.])/(?:home|root|Users|tmp|work|opt|mnt)/|site-packages|[A-Z]:\\\\|\"vm\"|Bearer |sk-")
MAX_BYTES = 32 << 10


def contents(path: Path) -> list[bytes]:
    """A file's bytes as they are read: unpacked, and of a zip every member."""
    file = identify(path, root=SHIPPED.resolve(), limits=Limits())
    packing = packing_of(file)
    if packing == "zip":
        with open_archive(file, limits=Limits()) as archive:
            return [archive.read(member) for member in archive.members]
    return [gzip.decompress(path.read_bytes())] if packing == "gzip" else [path.read_bytes()]


def test_every_format_has_samples() -> None:
    assert set(IMPORTERS) - {source.source_kind for source in demo_sources()} == set()


def test_every_file_that_ships_belongs_to_a_source() -> None:
    listed = {name for source in demo_sources() for name in source.files()}
    shipped = {path.relative_to(SHIPPED) for path in SHIPPED.rglob("*") if path.is_file()}
    assert shipped - listed == {Path("README.md"), Path("contents.yaml")}


@each
def test_samples_land_as_their_format_without_a_reject(source: DemoSource, lake: Lake) -> None:
    result = import_paths(lake, [SHIPPED / source.folder], now=NOW)
    assert (result.rejects, result.messages) == (0, ())
    assert set(lake.read("silver.runs")["source_kind"]) == {source.source_kind}
    assert sum(lake.row_count(f"silver.{table}") for table in ("outputs", "run_metrics", "spans")) > 0


@each
def test_samples_are_small_and_tell_nothing_of_a_machine(source: DemoSource) -> None:
    for name in source.files():
        assert (SHIPPED / name).stat().st_size <= MAX_BYTES
        for content in contents(SHIPPED / name):
            assert PRIVATE.findall(content) == [], name


def test_the_landing_folder_imports_whole_and_a_second_demo_changes_nothing(tmp_path: Path, lake: Lake) -> None:
    # Not the folder that the lake is in as well.
    landing = tmp_path / "landing"
    place_demo(landing)
    result = import_paths(lake, [landing], root=landing, now=NOW)
    assert (result.rejects, result.messages) == (0, ())
    assert set(lake.read("silver.runs")["source_kind"]) == set(IMPORTERS)
    times = {path: path.stat().st_mtime_ns for path in landing.rglob("*")}
    assert {placed.written_count for placed in place_demo(landing)} == {0}
    assert {path: path.stat().st_mtime_ns for path in landing.rglob("*")} == times
    again = import_paths(lake, [landing], root=landing, now=NOW)
    assert (again.files, again.rejects) == (0, 0)


def test_cleaning_takes_away_what_was_put_and_nothing_else(tmp_path: Path) -> None:
    placed = place_demo(tmp_path)
    changed = tmp_path / "demo" / "metrics_csv" / "line_fit.csv"
    changed.write_text("step,loss\n0,1\n")
    own = tmp_path / "demo" / "mine.jsonl"
    own.write_text("{}\n")
    cleaned = clean_demo(tmp_path)
    assert cleaned.removed_count == sum(each.written_count for each in placed) - 1
    assert cleaned.changed == (changed,)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == [changed, own]
    changed.unlink()
    own.unlink()
    assert clean_demo(tmp_path).removed_count == 0
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_put_where_and_what_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from studio.demo_command import demo

    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "a state"))
    monkeypatch.delenv("BENCHLAKE_LAKE", raising=False)
    demo()
    told = capsys.readouterr().out
    for source in demo_sources():
        assert f"{source.folder}/" in told
        assert f"{'hand-written in the form of ' if source.is_hand_written else '('}{source.made_with}" in told
    assert f"benchlake import '{tmp_path / 'a state' / 'landing' / 'demo'}'" in told
    demo()
    assert re.search(r"0 files written to .*, \d+ stood there already", capsys.readouterr().out)
    demo(clean=True)
    assert "sample files taken away" in capsys.readouterr().out
    assert list((tmp_path / "a state" / "landing").iterdir()) == []
