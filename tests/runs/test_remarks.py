"""Tags, notes and baselines: every act stays, and what follows from it is there at once."""

import datetime as dt
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import UserError
from lake.store import Lake
from lake.tables import contract_of
from pipelines.runs import remarks
from pipelines.runs.remarks import (
    Act,
    add_note,
    designate_baseline,
    find_run,
    find_runs,
    list_baselines,
    list_notes,
    settle_tags,
    tag_runs,
    with_tags,
    withdraw_baseline,
)
from pipelines.runs.steps import import_paths
from tests.runs.run_files import benchlake_file, benchlake_run, json_lines

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


def act(minutes: int = 0, reason: str | None = None) -> Act:
    return Act(author="ann", at=NOW + minutes * MINUTE, reason=reason)


def tags_of(lake: Lake, run_id: str = "run-1") -> list[str]:
    return lake.read("silver.runs", where={"run_id": run_id})["tags"].item().to_list()


@pytest.fixture
def filled(lake: Lake, tmp_path: Path) -> Lake:
    (tmp_path / "run-1.jsonl").write_bytes(benchlake_file())
    other = benchlake_run(run_id="run-2", backend="vllm", tags=[], code_version={"branch": "topic"})
    (tmp_path / "run-2.jsonl").write_bytes(json_lines([other, {"type": "end", "status": "error"}]))
    import_paths(lake, [tmp_path], now=NOW)
    return lake


def test_a_tag_stands_in_the_run_and_its_act_in_the_history(filled: Lake) -> None:
    runs = find_runs(filled, ["run-1", "backend=vllm"], now=NOW)
    result = tag_runs(filled, runs, add=["nightly", "a"], act=act(reason="first"))
    assert (result.run_count, result.changed_count) == (2, 2)
    assert tags_of(filled) == ["a", "b", "nightly"]
    assert tags_of(filled, "run-2") == ["a", "nightly"]
    events = filled.read("silver.tag_events").sort("run_id", "tag")
    # run-1 had the tag a from its file.
    assert events.select("run_id", "tag", "action", "changed_by", "reason").rows() == [
        ("run-1", "nightly", "add", "ann", "first"),
        ("run-2", "a", "add", "ann", "first"),
        ("run-2", "nightly", "add", "ann", "first"),
    ]


def test_doing_it_again_changes_nothing(filled: Lake) -> None:
    for minute in range(2):
        tag_runs(filled, find_runs(filled, ["run-1"], now=NOW), add=["x"], act=act(minute))
    assert filled.row_count("silver.tag_events") == 1
    versions = filled.versions(["silver.runs", "silver.tag_events"])
    settle_tags(filled)
    assert filled.versions(["silver.runs", "silver.tag_events"]) == versions


def test_tags_survive_a_new_import_of_the_run(filled: Lake, tmp_path: Path) -> None:
    runs = find_runs(filled, ["run-1"], now=NOW)
    tag_runs(filled, runs, add=["mine"], remove=["a"], act=act())
    grown = json_lines([benchlake_run(tags=["a", "b", "c"])]) + benchlake_file(5).split(b"\n", 1)[1]
    (tmp_path / "run-1.jsonl").write_bytes(grown)
    import_paths(filled, [tmp_path], now=NOW + MINUTE)
    assert tags_of(filled) == ["b", "c", "mine"]


def test_an_act_that_was_killed_before_it_took_effect_does_with_the_next(
    filled: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = find_runs(filled, ["run-1"], now=NOW)
    monkeypatch.setattr(remarks, "settle_tags", lambda lake: None)
    tag_runs(filled, runs, add=["lost"], act=act())
    monkeypatch.undo()
    assert "lost" not in tags_of(filled)
    settle_tags(filled)
    assert "lost" in tags_of(filled)


@pytest.mark.parametrize("tag", ["", "two words", "a,b", "night*", "q?", "[x]", "x" * 101, "a\nb", "a\x1b[0m"])
def test_what_could_not_be_filtered_by_is_no_tag(filled: Lake, tag: str) -> None:
    with pytest.raises(UserError, match="cannot be a tag"):
        tag_runs(filled, find_runs(filled, ["run-1"], now=NOW), add=[tag], act=act())


EVENT = st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["add", "remove"]))


@settings(deadline=None, max_examples=60)
@given(given=st.sets(st.sampled_from(["a", "b", "d"])), events=st.lists(EVENT, max_size=8))
def test_the_latest_act_on_a_tag_counts(given: set[str], events: list[tuple[str, str]]) -> None:
    expected = set(given)
    for tag, action in events:
        (expected.add if action == "add" else expected.discard)(tag)
    rows = [
        {"event_id": f"{index:03}", "run_id": "r", "tag": tag, "action": action, "changed_at": NOW + index * MINUTE}
        for index, (tag, action) in enumerate(events)
    ]
    schema = {name: kind for name, kind in contract_of("silver.tag_events").dtypes.items() if name != "reason"}
    frame = pl.DataFrame([row | {"changed_by": "ann"} for row in rows], schema=schema)
    runs = pl.DataFrame({"run_id": ["r", "other"], "tags": [sorted(given), ["z"]]})
    assert with_tags(runs, frame.sample(fraction=1, shuffle=True, seed=1))["tags"].to_list() == [
        sorted(expected),
        ["z"],
    ]


def test_runs_are_found_by_what_is_enough_of_their_id(filled: Lake) -> None:
    assert find_run(filled, "run-2")["backend"] == "vllm"
    for word, message in (("run-", "2 runs have an id"), ("x", "No run has an id")):
        with pytest.raises(UserError, match=message):
            find_run(filled, word)
    with pytest.raises(UserError, match="No run is meant by branch=none"):
        find_runs(filled, ["branch=none"], now=NOW)
    with pytest.raises(UserError, match="Name runs"):
        find_runs(filled, [], now=NOW)


def test_notes_are_kept_newest_first(filled: Lake) -> None:
    runs = find_runs(filled, ["run-1"], now=NOW)
    for minute, text in enumerate(["first", "second *with* <b>marks</b>"]):
        assert add_note(filled, runs, text, act=act(minute)) == 1
    assert list_notes(filled)["text"].to_list() == ["second *with* <b>marks</b>", "first"]
    assert list_notes(filled, ["run-2"]).is_empty()
    with pytest.raises(UserError, match="needs a text"):
        add_note(filled, runs, "  ", act=act())


def test_a_baseline_is_designated_replaced_and_withdrawn_and_its_history_kept(filled: Lake) -> None:
    run = find_run(filled, "run-1")
    day = NOW.date()
    selector = designate_baseline(filled, run, effective=day, act=act(reason="release"))
    assert selector == {"suite": "capitals", "model": "tiny-1", "backend": "local"}
    designate_baseline(filled, run, key=["suite", "backend=*"], effective=day, act=act(1))
    assert list_baselines(filled).height == 2
    designate_baseline(filled, run, effective=day, act=act(2))
    assert list_baselines(filled).height == 2
    newest = list_baselines(filled).row(0, named=True)
    withdraw_baseline(filled, newest["designation_id"][:12], effective=day, act=act(3, "noisy"))
    assert list_baselines(filled)["selector"].to_list() == ['{"backend":"*","suite":"capitals"}']
    history = list_baselines(filled, history=True)
    assert history["reason"].to_list() == ["noisy", None, None, "release"]
    assert history["run_id"].to_list() == [None, "run-1", "run-1", "run-1"]


@pytest.mark.parametrize(
    ("run_id", "key", "message"),
    [
        ("run-2", ["suite"], "must have succeeded"),
        ("run-1", ["branch"], "has no branch"),
        ("run-1", ["colour"], "field of a baseline"),
        ("run-1", [], "needs a key"),
    ],
)
def test_what_can_be_no_yardstick_is_told(filled: Lake, run_id: str, key: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        designate_baseline(filled, find_run(filled, run_id), key=key, effective=NOW.date(), act=act())
    assert list_baselines(filled, history=True).is_empty()


def test_withdrawing_what_is_not_there_is_told(filled: Lake) -> None:
    with pytest.raises(UserError, match=r"No baseline is in force\. Designate one:  benchlake baseline set RUN"):
        withdraw_baseline(filled, "abc", effective=NOW.date(), act=act())
