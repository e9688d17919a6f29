"""What was merged between two commits, from a real repository."""

from __future__ import annotations

import datetime as dt
import subprocess
from pathlib import Path

import pytest

from lake.store import Lake
from pipelines.runs.repository_pages import pull_request_page
from pipelines.trends.code_history import pull_requests_of
from pipelines.trends.listing import between_words, changes_of, readable_changes
from pipelines.trends.steps import update_changes, update_series
from resources.code_history import GitHistory
from tests.evidence.rows import code_version
from tests.trends.series import put_runs, stepped

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
MESSAGES = (
    "Merge pull request #12 from ada/cache\n\nA cache (#11) for prompts",
    "Faster tokenizer (#15)\n\n* first try (#13)",
    "Merge branch 'x' into 'main'\n\nX\n\nSee merge request team/code!7",
    "Merged in x (pull request #8)",
    "Merged PR 9: docs",
    "Faster tokenizer (#15)",
    "Fix #99 and (#98) by the way",
)


def git(folder: Path, *words: str) -> str:
    named = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *named, "-C", folder, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> tuple[Path, list[str]]:
    """A repository with a commit of each message after a first one, and all hashes in order."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "remote", "add", "origin", "git@github.com:team/code.git")
    hashes = []
    for message in ("Begin", *MESSAGES):
        git(folder, "commit", "-q", "--allow-empty", "-m", message)
        hashes.append(git(folder, "rev-parse", "HEAD"))
    return folder, hashes


def test_the_ways_in_which_forges_write_a_merge() -> None:
    assert pull_requests_of(MESSAGES) == ["12", "15", "7", "8", "9"]


def test_the_history_says_what_lies_between_or_nothing(clone: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, hashes = clone
    history = GitHistory(folder=folder)
    url = "https://github.com/team/code"
    assert history.messages_between(hashes[0], hashes[-1], repository_url=None) == list(MESSAGES)
    assert history.messages_between(hashes[2], hashes[3], repository_url=None) == [MESSAGES[2]]
    # A shortened hash counts in the repository that the run names alone.
    assert history.messages_between(hashes[0][:9], hashes[1][:9], repository_url=url) == [MESSAGES[0]]
    assert history.messages_between(hashes[0][:9], hashes[1][:9], repository_url=None) is None
    assert history.messages_between(hashes[0][:9], hashes[1][:9], repository_url="https://github.com/me/it") is None
    # The other way round, commits of elsewhere, and words that git would take for options.
    assert history.messages_between(hashes[1], hashes[0], repository_url=url) is None
    assert history.messages_between("0" * 40, hashes[0], repository_url=url) is None
    assert history.messages_between("--all", "--all", repository_url=url) is None
    assert GitHistory(folder=tmp_path).messages_between(hashes[0], hashes[1], repository_url=None) is None
    git(tmp_path, "clone", "-q", "--depth", "2", f"file://{folder}", "shallow")
    shallow = GitHistory(folder=tmp_path / "shallow")
    assert shallow.messages_between(hashes[-2], hashes[-1], repository_url=None) is None


def test_an_empty_message_is_a_commit_too(clone: tuple[Path, list[str]]) -> None:
    folder, hashes = clone
    git(folder, "commit", "-q", "--allow-empty", "--allow-empty-message", "-m", "")
    newest = git(folder, "rev-parse", "HEAD")
    assert GitHistory(folder=folder).messages_between(hashes[-2], newest, repository_url=None) == [MESSAGES[-1], ""]


def put_changed(lake: Lake, last: str, first: str, **version: object) -> None:
    for values, begin, commit in ((stepped((20, 100)), 0, last), (stepped((10, 120), seed=5), 20, first)):
        put_runs(lake, values, first=begin, code_version=code_version(commit) | version)
    update_series(lake)


def test_a_change_names_what_was_merged_and_keeps_it(lake: Lake, clone: tuple[Path, list[str]]) -> None:
    folder, hashes = clone
    put_changed(lake, hashes[0], hashes[3], repository_url="git@github.com:team/code.git")
    update_changes(lake, now=NOW, history=GitHistory(folder=folder))
    row = lake.read("gold.trend_regressions").row(0, named=True)
    assert (row["commit_count"], row["merged_pull_requests"]) == (3, ["12", "15", "7"])
    assert readable_changes(changes_of(lake, row["series_id"]))["between"].to_list() == ["3 commits, #12 #15 #7"]
    assert "[#12](https://github.com/team/code/pull/12)" in between_words(row, form="markdown")
    # Where the next update has no repository at hand, what was read stays.
    put_runs(lake, [120.0], first=30, code_version=code_version(hashes[3]))
    update_series(lake)
    update_changes(lake, now=NOW + dt.timedelta(days=1))
    again = lake.read("gold.trend_regressions").row(0, named=True)
    assert (again["later_count"], again["commit_count"], again["merged_pull_requests"]) == (11, 3, ["12", "15", "7"])


def test_what_is_not_known_is_null(lake: Lake) -> None:
    put_changed(lake, "a" * 40, "b" * 40)
    update_changes(lake, now=NOW)
    row = lake.read("gold.trend_regressions").row(0, named=True)
    assert (row["commit_count"], row["merged_pull_requests"], row["repository_url"]) == (None, None, None)
    assert between_words(row) == ""


def test_pull_requests_that_runs_name_need_no_repository(lake: Lake) -> None:
    put_changed(lake, "a" * 40, "b" * 40, pull_request="](javascript:x)")
    update_changes(lake, now=NOW)
    row = lake.read("gold.trend_regressions").row(0, named=True)
    assert (row["commit_count"], row["pull_requests"]) == (None, ["](javascript:x)"])
    assert "](javascript" not in between_words(row, form="markdown").replace("\\]", "")


def test_pages_of_pull_requests() -> None:
    assert pull_request_page("git@gitlab.com:a/b.git", "7") == "https://gitlab.com/a/b/-/merge_requests/7"
    assert pull_request_page("https://bitbucket.org/a/b", "7") == "https://bitbucket.org/a/b/pull-requests/7"
    # Nobody knows how another forge names its pages, and not everything is a number.
    assert pull_request_page("https://git.example.org/a/b", "7") == ""
    assert pull_request_page("https://github.com/a/b", "7)") == ""
    assert pull_request_page(None, "7") == ""
