"""Versions are numbered without gaps and never changed, whoever writes at the same time."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import polars as pl
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from lake.errors import UserError
from lake.store import Lake
from pipelines.databits import writing
from pipelines.databits.reading import find_databit, read_current, read_history, read_version
from pipelines.databits.revising import (
    Changes,
    VersionConflictError,
    create_databit,
    fork_databit,
    joined_content,
    merge_databits,
    retract_databit,
    revise_databit,
)
from pipelines.databits.units import DATABITS, DatabitKey, Draft, parse_content
from pipelines.databits.writing import ensure_databits
from tests.databits.units import NOON, hand, make


def test_a_revision_is_the_next_version_and_keeps_what_is_not_given(lake: Lake) -> None:
    make(lake, "parent")
    make(lake, "unit", license_id="mit", parents=[DatabitKey("parent", 1)])
    written = revise_databit(lake, "unit", Changes(content={"a": 1}), expected_version=1, hand=hand(note="why"))
    assert written == DatabitKey("unit", 2)
    row = read_version(lake, "unit")
    assert (row["content"], row["modality"], row["change_note"]) == ('{"a":1}', ["json"], "why")
    assert row["attribution"]["license"] == "MIT"
    assert row["attribution"]["derived_from"] == [{"databit_id": "parent", "version": 1}]
    assert read_version(lake, "unit", 1)["content"] == '"unit"'


def test_null_is_a_content_like_any_other(lake: Lake) -> None:
    make(lake, "unit")
    revise_databit(lake, "unit", Changes(content=None), expected_version=1, hand=hand())
    assert read_version(lake, "unit")["content"] == "null"


def test_who_revises_an_old_version_is_told_both_versions(lake: Lake) -> None:
    make(lake, "unit")
    revise_databit(lake, "unit", Changes(content="first"), expected_version=1, hand=hand())
    with pytest.raises(VersionConflictError, match="expected at version 1 and is at version 2") as refused:
        revise_databit(lake, "unit", Changes(content="second"), expected_version=1, hand=hand())
    assert (refused.value.expected, refused.value.found) == (1, 2)
    assert read_version(lake, "unit")["content"] == '"first"'


def test_a_revision_that_changes_nothing_is_refused(lake: Lake) -> None:
    make(lake, "unit")
    with pytest.raises(UserError, match="nothing would change"):
        revise_databit(lake, "unit", Changes(content="unit"), expected_version=1, hand=hand())


def test_a_retraction_is_a_version_and_a_revision_takes_it_back(lake: Lake) -> None:
    make(lake, "unit")
    assert retract_databit(lake, "unit", expected_version=1, hand=hand()) == DatabitKey("unit", 2)
    assert read_current(lake).is_empty()
    with pytest.raises(UserError, match="retracted at version 2 already"):
        retract_databit(lake, "unit", expected_version=2, hand=hand())
    revise_databit(lake, "unit", Changes(), expected_version=2, hand=hand())
    assert read_history(lake, "unit")["is_deleted"].to_list() == [False, True, False]


def test_a_fork_names_the_version_it_was_made_from(lake: Lake) -> None:
    make(lake, "unit", license_id="MIT")
    key = fork_databit(lake, DatabitKey("unit", 1), databit_id="fork", changes=Changes(content="x"), hand=hand())
    row = read_version(lake, *key)
    assert row["attribution"]["derived_from"] == [{"databit_id": "unit", "version": 1}]
    assert (row["attribution"]["license"], row["attribution"]["creator"]) == ("MIT", "ann")


def test_a_merge_joins_what_can_be_joined(lake: Lake) -> None:
    keys = [make(lake, "one", content={"a": 1}), make(lake, "two", content={"b": 2})]
    merged = merge_databits(lake, keys, databit_id="both", changes=Changes(), hand=hand())
    row = read_version(lake, *merged)
    assert parse_content(row["content"]) == {"a": 1, "b": 2}
    assert [parent["databit_id"] for parent in row["attribution"]["derived_from"]] == ["one", "two"]
    assert joined_content(["a", "b"]) == "a\n\nb"
    assert joined_content([[1], [2]]) == [1, 2]
    assert joined_content(["a", 1]) == ["a", 1]
    with pytest.raises(UserError, match="disagree about the member 'a'"):
        joined_content([{"a": 1}, {"a": 2}])
    with pytest.raises(UserError, match="two different parents"):
        merge_databits(lake, [keys[0], keys[0]], databit_id="x", changes=Changes(), hand=hand())


def test_a_parent_that_does_not_stand_is_named(lake: Lake) -> None:
    make(lake, "unit")
    with pytest.raises(UserError, match="derived_from names nobody@1, unit@2"):
        make(lake, "child", parents=[DatabitKey("unit", 2), DatabitKey("nobody", 1)])


def test_the_same_content_is_the_same_unit_and_is_not_created_twice(lake: Lake) -> None:
    key = create_databit(lake, Draft(content="x"), hand=hand())
    with pytest.raises(UserError, match=f"{key.databit_id} stands already, at version 1"):
        create_databit(lake, Draft(content="x"), hand=hand())


def test_a_unit_is_found_by_the_beginning_of_its_id(lake: Lake) -> None:
    make(lake, "abcdef")
    make(lake, "abcxyz")
    assert find_databit(lake, "abcd@1") == DatabitKey("abcdef", 1)
    with pytest.raises(UserError, match="at least 4"):
        find_databit(lake, "abc")
    with pytest.raises(UserError, match="has no version 7; it has 1 to 1"):
        find_databit(lake, "abcdef@7")


# Bulk


def drafts(*contents: str, source: str = "s") -> list[Draft]:
    return [Draft(content=content, source=f"{source}#{place}") for place, content in enumerate(contents)]


def test_ensuring_twice_writes_once_and_a_change_is_the_next_version(lake: Lake) -> None:
    first = ensure_databits(lake, drafts("a", "b"), now=NOON, author="night")
    assert (first.created_count, first.revised_count, first.unchanged_count) == (2, 0, 0)
    version = lake.version(DATABITS)
    again = ensure_databits(lake, drafts("a", "b"), now=NOON, author="night")
    assert (again.created_count, again.unchanged_count, lake.version(DATABITS)) == (0, 2, version)
    changed = ensure_databits(lake, drafts("a", "B"), now=NOON, author="night")
    assert (changed.revised_count, changed.unchanged_count) == (1, 1)
    assert changed.keys["version"].to_list() == [1, 2]


def test_what_a_person_edited_stays_until_the_source_changes(lake: Lake) -> None:
    key = ensure_databits(lake, drafts("teh cat"), now=NOON, author="night").keys["databit_id"][0]
    revise_databit(lake, key, Changes(content="the cat"), expected_version=1, hand=hand())
    assert ensure_databits(lake, drafts("teh cat"), now=NOON, author="night").unchanged_count == 1
    assert ensure_databits(lake, drafts("teh dog"), now=NOON, author="night").revised_count == 1
    assert read_history(lake, key)["content"].to_list() == ['"teh cat"', '"the cat"', '"teh dog"']


def test_a_retracted_unit_is_not_brought_back_by_its_source(lake: Lake) -> None:
    key = ensure_databits(lake, drafts("a"), now=NOON, author="night").keys["databit_id"][0]
    retract_databit(lake, key, expected_version=1, hand=hand())
    assert ensure_databits(lake, drafts("b"), now=NOON, author="night").retracted_count == 1
    assert read_current(lake).is_empty()


def test_more_units_than_one_query_lists_are_found_by_range(lake: Lake) -> None:
    many = drafts(*map(str, range(700)))
    ensure_databits(lake, many, now=NOON, author="night")
    assert ensure_databits(lake, many, now=NOON, author="night").unchanged_count == 700


def test_another_writer_between_look_and_commit_costs_a_number_and_no_version(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ensure_databits(lake, drafts("a"), now=NOON, author="night").keys["databit_id"][0]
    look = writing.plan_versions
    interrupted = []

    def plan_while_somebody_revises(*args, **kwargs):
        planned = look(*args, **kwargs)
        if not interrupted:
            interrupted.append(revise_databit(lake, key, Changes(content="x"), expected_version=1, hand=hand()))
        return planned

    monkeypatch.setattr(writing, "plan_versions", plan_while_somebody_revises)
    result = ensure_databits(lake, drafts("b"), now=NOON, author="night")
    assert read_history(lake, key)["content"].to_list() == ['"a"', '"x"', '"b"']
    assert result.keys["version"].to_list() == [3]


def revise_on(lake: Lake, writer: int, rounds: int) -> int:
    """Revise one unit again and again, each time on its newest version; how many revisions landed."""
    landed = 0
    for number in range(rounds):
        newest = read_version(lake, "unit")["version"]
        try:
            revise_databit(
                lake, "unit", Changes(content=[writer, number]), expected_version=newest, hand=hand(str(writer))
            )
            landed += 1
        except VersionConflictError:
            continue
    return landed


def test_versions_have_no_gap_when_processes_revise_at_once(lake: Lake) -> None:
    make(lake, "unit")
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        landed = sum(run.result() for run in [pool.submit(revise_on, lake, writer, 4) for writer in range(3)])
    rows = lake.read(DATABITS, columns=["version", "content"]).sort("version")
    assert rows["version"].to_list() == list(range(1, landed + 2))
    assert landed >= 4
    assert rows["content"].is_unique().all()


class Versions(RuleBasedStateMachine):
    """Any order of acts on a few units against a list of contents kept by hand."""

    units = Bundle("units")

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.lake = Lake.open(self.folder.name)
        self.model: dict[str, list[tuple[str, bool]]] = {}

    @initialize(target=units)
    def first(self):
        return self._make("u0")

    @rule(target=units)
    def another(self):
        return self._make(f"u{len(self.model)}")

    def _make(self, name: str) -> str:
        make(self.lake, name)
        self.model[name] = [(name, False)]
        return name

    @rule(unit=units, content=st.sampled_from(["x", "y"]), lag=st.integers(0, 1))
    def revise(self, unit, content, lag) -> None:
        versions = self.model[unit]
        is_same = versions[-1] == (content, False)
        try:
            revise_databit(
                self.lake, unit, Changes(content=content), expected_version=max(len(versions) - lag, 1), hand=hand()
            )
        except VersionConflictError as error:
            assert (lag, error.found) == (1, len(versions))  # noqa: PT017 - which of three outcomes it is, is drawn
        except UserError:
            assert is_same
        else:
            assert not is_same
            versions.append((content, False))

    @rule(unit=units)
    def retract(self, unit) -> None:
        versions = self.model[unit]
        try:
            retract_databit(self.lake, unit, expected_version=len(versions), hand=hand())
        except UserError:
            assert versions[-1][1]
        else:
            versions.append((versions[-1][0], True))

    @invariant()
    def history_is_as_written(self) -> None:
        rows = self.lake.read(DATABITS).sort("databit_id", "version")
        for name, versions in self.model.items():
            own = rows.filter(pl.col("databit_id") == name)
            assert own["version"].to_list() == list(range(1, len(versions) + 1))
            assert [(parse_content(c), d) for c, d in own.select("content", "is_deleted").iter_rows()] == versions

    def teardown(self) -> None:
        self.folder.cleanup()


TestVersions = Versions.TestCase
TestVersions.settings = settings(deadline=None, max_examples=4, stateful_step_count=10)
