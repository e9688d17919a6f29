import subprocess
from pathlib import Path

import pytest

from lake.errors import UserError
from pipelines.runs.run_lines import CodeVersion
from resources.code_version import read_code_version, strip_credentials


def read_git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    result = subprocess.run(["git", "-C", folder, *settings, *arguments], check=True, capture_output=True, text=True)
    return result.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    read_git(folder, "init", "--quiet", "--initial-branch=trunk")
    (folder / "a.txt").write_text("a")
    read_git(folder, "add", "a.txt")
    read_git(folder, "commit", "--quiet", "-m", "first")
    return folder


def test_git_gives_commit_branch_dirtiness_and_url(repository: Path) -> None:
    read_git(repository, "remote", "add", "origin", "https://me:secret@example.com/team/repo.git?token=x")
    assert read_code_version(repository, {}) == CodeVersion(
        commit=read_git(repository, "rev-parse", "HEAD"),
        branch="trunk",
        is_dirty=False,
        repository_url="https://example.com/team/repo.git",
    )


def test_a_changed_tracked_file_is_dirty_and_a_new_one_is_not(repository: Path) -> None:
    (repository / "new.txt").write_text("new")
    assert read_code_version(repository, {}).is_dirty is False
    (repository / "a.txt").write_text("changed")
    assert read_code_version(repository, {}).is_dirty is True


def test_a_folder_below_the_repository_is_its_code(repository: Path) -> None:
    below = repository / "below"
    below.mkdir()
    assert read_code_version(below, {}).branch == "trunk"


def test_outside_a_repository_nothing_is_known(tmp_path: Path) -> None:
    assert read_code_version(tmp_path, {}) == CodeVersion()
    assert read_code_version(tmp_path / "missing", {}) == CodeVersion()


def test_without_git_nothing_is_known(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert read_code_version(repository, {}) == CodeVersion()


def test_a_repository_without_commits_has_a_branch_alone(tmp_path: Path) -> None:
    read_git(tmp_path, "init", "--quiet", "--initial-branch=trunk")
    assert read_code_version(tmp_path, {}) == CodeVersion(branch="trunk", is_dirty=False)


def test_the_repository_of_a_git_hook_is_not_taken_for_the_folders(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    read_git(other, "init", "--quiet", "--initial-branch=hooked")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert read_code_version(repository, {}).branch == "trunk"


def test_a_repositorys_monitor_is_not_run(repository: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    monitor = tmp_path / "monitor"
    monitor.write_text(f"#!/bin/sh\ntouch {witness}\n")
    monitor.chmod(0o755)
    read_git(repository, "config", "core.fsmonitor", str(monitor))
    assert read_code_version(repository, {}).is_dirty is False
    assert not witness.exists()


GITHUB = {
    "GITHUB_SHA": "merge",
    "GITHUB_REF": "refs/pull/12/merge",
    "GITHUB_REF_NAME": "12/merge",
    "GITHUB_HEAD_REF": "feature",
    "GITHUB_REPOSITORY": "team/repo",
}
GITLAB = {
    "CI_COMMIT_SHA": "abc",
    "CI_MERGE_REQUEST_IID": "7",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "feature",
    "CI_PROJECT_URL": "https://gitlab.example.com/team/repo",
}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            GITHUB,
            CodeVersion(
                commit="merge", branch="feature", pull_request="12", repository_url="https://github.com/team/repo"
            ),
        ),
        (
            {"GITHUB_SHA": "a", "GITHUB_REF": "refs/heads/main", "GITHUB_REF_NAME": "main"},
            CodeVersion(commit="a", branch="main"),
        ),
        (
            GITLAB,
            CodeVersion(
                commit="abc",
                branch="feature",
                pull_request="7",
                repository_url="https://gitlab.example.com/team/repo",
            ),
        ),
        (
            {"GIT_COMMIT": "a", "GIT_BRANCH": "origin/main", "CHANGE_ID": ""},
            CodeVersion(commit="a", branch="origin/main"),
        ),
        (
            {
                "BUILDKITE_COMMIT": "a",
                "BUILDKITE_BRANCH": "topic",
                "BUILDKITE_PULL_REQUEST": "false",
                "BUILDKITE_REPO": "git@example.com:team/repo.git",
            },
            CodeVersion(commit="a", branch="topic", repository_url="git@example.com:team/repo.git"),
        ),
        (
            {
                "CIRCLE_SHA1": "a",
                "CIRCLE_BRANCH": "topic",
                "CIRCLE_PULL_REQUEST": "https://example.com/team/repo/pull/31",
            },
            CodeVersion(commit="a", branch="topic", pull_request="31"),
        ),
        (
            {"BUILD_SOURCEVERSION": "a", "BUILD_SOURCEBRANCH": "refs/heads/topic/x"},
            CodeVersion(commit="a", branch="topic/x"),
        ),
        ({"BENCHLAKE_COMMIT": "mine", **GITLAB, "BENCHLAKE_BRANCH": "b", "BENCHLAKE_PULL_REQUEST": "1"}, None),
    ],
)
def test_ci_systems_fill_in_what_git_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict, expected: CodeVersion | None
) -> None:
    monkeypatch.setenv("PATH", "")
    version = read_code_version(tmp_path, environ)
    if expected is None:
        assert (version.commit, version.branch, version.pull_request) == ("mine", "b", "1")
    else:
        assert version == expected


def test_in_ci_the_commit_is_gits_and_the_branch_the_ci_systems(repository: Path) -> None:
    read_git(repository, "checkout", "--quiet", "--detach")
    version = read_code_version(repository, {**GITHUB, "GITHUB_WORKSPACE": str(repository.parent)})
    assert version.commit == read_git(repository, "rev-parse", "HEAD")
    assert (version.branch, version.pull_request) == ("feature", "12")


def test_what_is_said_outright_counts_before_git(repository: Path) -> None:
    said = {"BENCHLAKE_COMMIT": "mine", "BENCHLAKE_DIRTY": "true", "BENCHLAKE_REPOSITORY_URL": "https://t@host/a"}
    version = read_code_version(repository, said)
    assert version == CodeVersion(commit="mine", branch="trunk", is_dirty=True, repository_url="https://host/a")
    with pytest.raises(UserError, match="must be true or false"):
        read_code_version(repository, {"BENCHLAKE_DIRTY": "somewhat"})


def test_another_workspaces_pull_request_is_not_this_folders(repository: Path, tmp_path: Path) -> None:
    version = read_code_version(repository, {**GITHUB, "GITHUB_WORKSPACE": str(tmp_path / "elsewhere")})
    assert (version.branch, version.pull_request, version.repository_url) == ("trunk", None, None)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:token@host/a.git", "https://host/a.git"),
        ("https://token@host/a.git", "https://host/a.git"),
        ("ssh://git@host:22/a.git", "ssh://git@host:22/a.git"),
        ("ssh://git:secret@host/a.git", "ssh://host/a.git"),
        ("git@host:team/a.git", "git@host:team/a.git"),
        ("https://p@ss:w@host/a", "https://host/a"),
    ],
)
def test_credentials_are_stripped(url: str, expected: str) -> None:
    assert strip_credentials(url) == expected
