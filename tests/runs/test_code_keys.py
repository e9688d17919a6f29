from __future__ import annotations

import pytest

from pipelines.runs.importers.code_keys import lift_code_version


@pytest.mark.parametrize(
    "key", ["git_commit", "git.commit", "gitCommit", "GIT-COMMIT", "commit", "sha", "git_rev", "CI_COMMIT_SHA"]
)
def test_every_spelling_of_a_commit_is_one(key: str) -> None:
    assert lift_code_version({key: "c0ffee", "other": 1}) == ({"commit": "c0ffee"}, frozenset({key}))


def test_all_fields_are_lifted_and_the_first_counts() -> None:
    given = {
        "GITHUB_REF": "refs/heads/main",
        "branch": "other",
        "pr": 12,
        "git_dirty": "false",
        "repo": "https://example.org/x.git",
    }
    assert lift_code_version(given)[0] == {
        "branch": "main",
        "pull_request": "12",
        "is_dirty": False,
        "repository_url": "https://example.org/x.git",
    }


@pytest.mark.parametrize("key", ["revision", "ref", "remote", "hash", "origin", "precision", "sharding"])
def test_vague_names_say_nothing_alone(key: str) -> None:
    assert lift_code_version({key: "x"}) == ({}, frozenset())


def test_what_is_no_text_is_left_where_it_is() -> None:
    assert lift_code_version({"commit": None, "branch": ["a"], "pr": ""}) == ({}, frozenset())
