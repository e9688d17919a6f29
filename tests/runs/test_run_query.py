import datetime as dt

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import UserError
from pipelines.runs.run_query import RunQuery, exact_values, filter_runs, matches, parse_instant, parse_query
from tests.evidence.rows import DAY, START, run, run_rows

NOW = START + 10 * DAY
CODE = {"commit": "abc123def", "branch": "main", "pull_request": "12", "is_dirty": False, "repository_url": "u"}
RUNS = run_rows(
    run("r1", "llama.cpp", tags=["experiment-a", "nightly"], code_version=CODE),
    run("r2", "vllm", tags=["nightly"], code_version=CODE | {"branch": "topic/x", "is_dirty": True}),
    run("s1", "llama.cpp", started_at=START + 8 * DAY, model="large[q4]"),
)


def found(*words: str) -> list[str]:
    return filter_runs(RUNS, parse_query(words, now=NOW))["run_id"].to_list()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ["r1", "r2", "s1"]),
        (("backend=llama.cpp",), ["r1", "s1"]),
        (("backend=llama*", "tag=experiment-*"), ["r1"]),
        (("backend=llama.cpp,vllm",), ["r1", "r2", "s1"]),
        (("backend=llama.cpp", "backend=vllm"), ["r1", "r2", "s1"]),
        (("without_tag=experiment-*",), ["r2", "s1"]),
        (("branch=main",), ["r1"]),
        (("branch=topic/*",), ["r2"]),
        (("commit=abc",), ["r1", "r2"]),
        (("commit=bc1",), []),
        (("pull_request=12",), ["r1", "r2"]),
        (("is_dirty=true",), ["r2"]),
        (("is_dirty=no",), ["r1"]),  # unknown is neither
        (("since=3d",), ["s1"]),
        (("until=2026-11-21",), ["r1", "r2"]),
        (("model=large[q4]",), ["s1"]),  # literally, though it reads as a glob too
        (("model=large*",), ["s1"]),
        (("r",), ["r1", "r2"]),
        (("r1",), ["r1"]),
        (("tag=NIGHTLY",), []),  # case counts
    ],
)
def test_words_mean_runs(words: tuple[str, ...], expected: list[str]) -> None:
    assert found(*words) == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("brnch=main", "Did you mean"),
        ("branch=", "says nothing"),
        ("since=yesterday", "is no time"),
        ("is_dirty=maybe", "true or false"),
    ],
)
def test_what_is_no_filter_is_told(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        found(word)


def test_times_are_relative_or_utc() -> None:
    assert parse_instant("2w", now=NOW) == NOW - 14 * DAY
    assert parse_instant("24h", now=NOW) == NOW - DAY
    assert parse_instant("2026-11-20", now=NOW) == dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
    assert parse_instant("2026-11-20T08:00+02:00", now=NOW) == dt.datetime(2026, 11, 20, 6, tzinfo=dt.UTC)
    with pytest.raises(UserError):
        parse_instant("999999999999w", now=NOW)


def test_plain_texts_can_be_looked_up_in_the_table() -> None:
    query = parse_query(["suite=a,b", "backend=x*", "branch=main"], now=NOW)
    assert exact_values(query, ("suite", "backend")) == {"suite": ["a", "b"]}


@settings(deadline=None, max_examples=50)
@given(st.text(min_size=1, max_size=8))
def test_a_text_always_matches_itself_and_the_empty_query_everything(text: str) -> None:
    assert matches(text, [text])
    assert not matches(None, [text])
    assert RunQuery().is_empty
    assert filter_runs(RUNS, RunQuery()).equals(RUNS)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(["suite=cap*", "backend=vllm", "tag=n*", "branch=main", "since=30d"]), max_size=3))
def test_order_of_words_does_not_matter_and_more_keys_mean_fewer_runs(words: list[str]) -> None:
    assert found(*words) == found(*reversed(words))
    assert set(found(*words, "commit=abc")) <= set(found(*words))


def test_no_runs_is_no_error() -> None:
    empty = filter_runs(RUNS.clear(), parse_query(["tag=x", "suite=y", "is_dirty=true"], now=NOW))
    assert empty.equals(RUNS.clear())
    assert isinstance(empty, pl.DataFrame)
