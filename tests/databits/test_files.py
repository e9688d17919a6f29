"""Units come in from files once, and go out as they may."""

import json
from pathlib import Path

import polars as pl
import pytest

from lake.errors import UserError
from lake.store import Lake
from pipelines.databits.exporting import EXPORTS, LicenseRefusalError, Selection, export_databits
from pipelines.databits.importing import ImportOptions, import_databits
from pipelines.databits.reading import read_current, read_history
from pipelines.databits.revising import Changes, fork_databit, merge_databits, retract_databit, revise_databit
from pipelines.databits.units import DATABITS, DatabitKey
from tests.databits.units import NOON, hand, make, relicense

KEY = ["databit_id", "version"]


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def take_in(lake: Lake, path: Path, **options):
    batch_rows = options.pop("batch_rows", 1000)
    return import_databits(
        lake, path, ImportOptions(source="file", **options), now=NOON, author="ann", batch_rows=batch_rows
    )


def counts(result) -> tuple[int, int, int, int]:
    return result.line_count, result.written_count, result.unchanged_count, result.rejected_count


@pytest.fixture
def family(lake: Lake) -> Lake:
    keys = [make(lake, "one", license_id="MIT"), make(lake, "two", content={"n": 2**70}, license_id="CC0-1.0")]
    merged = merge_databits(lake, keys, databit_id="a-merge", changes=Changes(), hand=hand(note="both"))
    fork_databit(lake, merged, databit_id="fork", changes=Changes(content=None), hand=hand("bob"))
    revise_databit(lake, "one", Changes(content="1", quality_scores={"x": 0.5}), expected_version=1, hand=hand(hours=1))
    retract_databit(lake, "fork", expected_version=1, hand=hand())
    return lake


@pytest.mark.parametrize("name", ["u.jsonl", "u.jsonl.gz", "u.ndjson.zst", "u.parquet"])
@pytest.mark.parametrize("batch_rows", [2, 1000])
def test_history_and_lineage_survive_a_file(family: Lake, tmp_path: Path, name: str, batch_rows: int) -> None:
    result = export_databits(family, tmp_path / name, Selection(has_history=True), now=NOON, author="ann")
    assert result.row_count == 6
    other = Lake.open(tmp_path / "other")
    assert counts(take_in(other, tmp_path / name, batch_rows=batch_rows)) == (6, 6, 0, 0)
    assert other.read(DATABITS).sort(KEY).equals(family.read(DATABITS).sort(KEY))
    version = other.version(DATABITS)
    assert counts(take_in(other, tmp_path / name, batch_rows=batch_rows)) == (6, 0, 6, 0)
    assert other.version(DATABITS) == version


def test_any_lines_are_units_by_naming_their_members(lake: Lake, tmp_path: Path) -> None:
    path = write(tmp_path / "faq.jsonl", {"q": "1", "a": "one"}, {"q": "2", "a": "two"})
    options = {"content_member": "a", "id_member": "q", "license": "CC-BY-4.0", "search_keys": ("faq",)}
    assert counts(take_in(lake, path, **options)) == (2, 2, 0, 0)
    write(path, {"q": "1", "a": "one"}, {"q": "2", "a": "TWO"})
    assert counts(take_in(lake, path, **options)) == (2, 1, 1, 0)
    row = read_current(lake).filter(pl.col("version") == 2).row(0, named=True)
    assert (row["content"], row["search_keys"]) == ('"TWO"', ["faq"])
    assert (row["attribution"]["source"], row["attribution"]["license"]) == ("file#2", "CC-BY-4.0")
    assert read_history(lake, row["databit_id"])["content"].to_list() == ['"two"', '"TWO"']


def test_a_whole_line_can_be_the_content(lake: Lake, tmp_path: Path) -> None:
    take_in(lake, write(tmp_path / "x.jsonl", {"b": 1, "a": [2]}), content_member=".")
    assert read_current(lake)["content"].to_list() == ['{"a":[2],"b":1}']


def test_plain_parquet_takes_its_texts_as_texts(lake: Lake, tmp_path: Path) -> None:
    pl.DataFrame({"content": ["1", '{"a": 1}']}).write_parquet(tmp_path / "x.parquet")
    take_in(lake, tmp_path / "x.parquet")
    assert sorted(read_current(lake)["content"]) == ['"1"', '"{\\"a\\": 1}"']


def unit(name: str, *parents: str, version: int | None = None) -> dict:
    line = {"databit_id": name, "content": name, "derived_from": [{"databit_id": p, "version": 1} for p in parents]}
    return line if version is None else {**line, "version": version}


@pytest.mark.parametrize("batch_rows", [1, 2, 1000])
def test_parents_may_come_after_their_children(lake: Lake, tmp_path: Path, batch_rows: int) -> None:
    path = write(tmp_path / "x.jsonl", unit("c", "b"), unit("b", "a"), unit("d", "c", "a"), unit("a"))
    assert counts(take_in(lake, path, batch_rows=batch_rows)) == (4, 4, 0, 0)


@pytest.mark.parametrize("batch_rows", [1, 1000])
def test_lines_that_cannot_be_versions_are_kept_with_their_reason(lake: Lake, tmp_path: Path, batch_rows: int) -> None:
    make(lake, "stands")
    make(lake, "gone")
    retract_databit(lake, "gone", expected_version=1, hand=hand())
    path = write(
        tmp_path / "x.jsonl",
        unit("x", "y"),
        unit("y", "x"),
        unit("orphan", "nobody"),
        {"text": "no content"},
        [1],
        "not json",
        unit("late", version=9),
        {"databit_id": "stands", "content": "otherwise", "version": 1},
        {"databit_id": "gone", "content": "again"},
        {"content": "x", "modality": ["smell"]},
        {"content": "x", "derived_from": ["x"]},
        unit("good"),
    )
    for written, unchanged in ((1, 0), (0, 1)):
        assert counts(take_in(lake, path, batch_rows=batch_rows)) == (12, written, unchanged, 11)
    rejects = lake.read("bronze.rejects").sort("record_index")
    assert rejects.select("record_index", "rule").rows() == [
        (0, "lineage_cycle"),
        (1, "lineage_cycle"),
        (2, "derived_from"),
        (3, "unit"),
        (4, "unit"),
        (5, "unit"),
        (6, "version_gap"),
        (7, "version_conflict"),
        (8, "retracted"),
        (9, "unit"),
        (10, "unit"),
    ]
    messages = dict(rejects.select("record_index", "message").iter_rows())
    assert "x@1 -> y@1 -> x@1" in messages[0]
    assert "nobody@1" in messages[2]
    assert "it has: text" in messages[3]


def test_an_import_that_was_cut_short_is_finished_by_the_next(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x.jsonl", *(unit(f"u{number}") for number in range(10)))
    insert, calls = Lake.insert, []

    def die_the_third_time(self, table, rows, **options):
        calls.append(rows.height)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return insert(self, table, rows, **options)

    monkeypatch.setattr(Lake, "insert", die_the_third_time)
    with pytest.raises(KeyboardInterrupt):
        take_in(lake, path, batch_rows=2)
    assert counts(take_in(lake, path, batch_rows=2)) == (10, 6, 4, 0)
    assert read_current(lake)["version"].to_list() == [1] * 10


def test_other_files_are_refused_by_name(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "x.txt").touch()
    (tmp_path / "x.parquet").write_text("no")
    for name, why in (("x.txt", "neither JSON lines"), ("none.jsonl", "There is no file"), ("x.parquet", "no Parquet")):
        with pytest.raises(UserError, match=why):
            take_in(lake, tmp_path / name)


def test_what_may_not_be_passed_on_goes_out_only_with_a_reason(lake: Lake, tmp_path: Path) -> None:
    sides = [make(lake, "apache", license_id="Apache-2.0"), make(lake, "gpl", license_id="GPL-2.0-only")]
    merge_databits(lake, sides, databit_id="mix", changes=Changes(), hand=hand())
    path = tmp_path / "x.jsonl"
    with pytest.raises(LicenseRefusalError, match=r"1 of the chosen .* mix@1 is incompatible .*patent terms"):
        export_databits(lake, path, Selection(), now=NOON, author="ann")
    assert list(tmp_path.glob("*.jsonl*")) == []
    assert not lake.exists(EXPORTS)
    result = export_databits(lake, path, Selection(), now=NOON, author="ann", override_reason="internal")
    assert (result.row_count, result.overridden_count) == (3, 1)
    assert lake.read(EXPORTS).select("row_count", "overridden_count", "override_reason").rows() == [(3, 1, "internal")]
    lines = {line["databit_id"]: line for line in map(json.loads, path.read_text().splitlines())}
    assert lines["mix"]["effective_license"] == "GPL-2.0-only"
    assert lines["mix"]["license_status"] == "incompatible"
    # Put right, it goes out by itself.
    relicense(lake, DatabitKey("gpl", 1), "GPL-2.0-or-later")
    assert export_databits(lake, path, Selection(), now=NOON, author="ann").overridden_count == 0


def test_a_selection_is_by_search_keys_and_leaves_out_what_is_retracted(family: Lake, tmp_path: Path) -> None:
    revise_databit(family, "two", Changes(search_keys=["topic=x"]), expected_version=1, hand=hand())
    path = tmp_path / "x.jsonl"
    assert export_databits(family, path, Selection(search_keys=["topic=x"]), now=NOON, author="a").row_count == 1
    assert export_databits(family, path, Selection(), now=NOON, author="a").row_count == 3
