"""Which code produces a run: commit, branch, pull request, from git and from the variables of CI systems.

Reads only; nothing is fetched, no repository's hooks or monitors run, and credentials never leave a URL.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lake.errors import UserError
from pipelines.runs.run_lines import CodeVersion

_GIT_SECONDS = 10
_PULL_REF = re.compile(r"refs/pull/([0-9]+)/")

# What overrides everything, git too: whoever sets these knows better.
OVERRIDES = {
    "commit": "BENCHLAKE_COMMIT",
    "branch": "BENCHLAKE_BRANCH",
    "pull_request": "BENCHLAKE_PULL_REQUEST",
    "is_dirty": "BENCHLAKE_DIRTY",
    "repository_url": "BENCHLAKE_REPOSITORY_URL",
}
# GitHub Actions, GitLab CI, Jenkins, CircleCI, Buildkite, Azure Pipelines, Bitbucket, Travis CI.
_COMMIT = (
    "GITHUB_SHA",
    "CI_COMMIT_SHA",
    "GIT_COMMIT",
    "CIRCLE_SHA1",
    "BUILDKITE_COMMIT",
    "BUILD_SOURCEVERSION",
    "BITBUCKET_COMMIT",
    "TRAVIS_COMMIT",
)
_BRANCH = (
    "GITHUB_HEAD_REF",  # set for pull requests alone, where GITHUB_REF_NAME is "12/merge"
    "GITHUB_REF_NAME",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
    "CI_COMMIT_BRANCH",
    "CHANGE_BRANCH",
    "GIT_BRANCH",
    "CIRCLE_BRANCH",
    "BUILDKITE_BRANCH",
    "SYSTEM_PULLREQUEST_SOURCEBRANCH",
    "BUILD_SOURCEBRANCH",
    "BITBUCKET_BRANCH",
    "TRAVIS_PULL_REQUEST_BRANCH",  # TRAVIS_BRANCH is then the one to merge into
    "TRAVIS_BRANCH",
)
_PULL_REQUEST = (
    "CI_MERGE_REQUEST_IID",
    "CHANGE_ID",
    "CIRCLE_PULL_REQUEST",
    "BUILDKITE_PULL_REQUEST",
    "SYSTEM_PULLREQUEST_PULLREQUESTNUMBER",
    "BITBUCKET_PR_ID",
    "TRAVIS_PULL_REQUEST",
)
_REPOSITORY = (
    "CI_PROJECT_URL",
    "CIRCLE_REPOSITORY_URL",
    "BUILDKITE_REPO",
    "BUILD_REPOSITORY_URI",
    "BITBUCKET_GIT_HTTP_ORIGIN",
)
_WORKSPACE = (
    "GITHUB_WORKSPACE",
    "CI_PROJECT_DIR",
    "WORKSPACE",
    "BUILDKITE_BUILD_CHECKOUT_PATH",
    "BUILD_SOURCESDIRECTORY",
    "BITBUCKET_CLONE_DIR",
    "TRAVIS_BUILD_DIR",
)


def read_code_version(folder: Path, environ: Mapping[str, str]) -> CodeVersion:
    """The code in `folder`; unknown fields are None, also all of them.

    A variable of `OVERRIDES` counts before anything else. Commit and dirtiness are git's, branch and pull request the
    CI system's, which checks out a commit without a branch. The CI system's variables count only for a folder inside
    its workspace: a run of another repository's code is not made by that pull request. `is_dirty` is about tracked
    files, as in `git describe --dirty`. Raises `UserError` for BENCHLAKE_DIRTY that is neither true nor false.
    """
    given = {name: environ[variable] for name, variable in OVERRIDES.items() if environ.get(variable)}
    ci = environ if _is_in_workspace(folder, environ) else {}
    url = given.get("repository_url")
    return CodeVersion(
        commit=given.get("commit") or read_git(folder, "rev-parse", "--verify", "HEAD") or _first(ci, _COMMIT),
        branch=given.get("branch") or _branch(ci) or read_git(folder, "symbolic-ref", "--quiet", "--short", "HEAD"),
        pull_request=given.get("pull_request") or _pull_request(ci),
        is_dirty=_truth(given["is_dirty"]) if "is_dirty" in given else _is_dirty(folder),
        repository_url=strip_credentials(url) if url else _repository_url(folder, ci),
    )


def _is_dirty(folder: Path) -> bool | None:
    status = read_git(folder, "status", "--porcelain", "--untracked-files=no")
    return None if status is None else bool(status)


def _truth(text: str) -> bool:
    if text.lower() not in {"true", "false", "1", "0"}:
        raise UserError(f"{OVERRIDES['is_dirty']}={text} must be true or false.")
    return text.lower() in {"true", "1"}


def strip_credentials(url: str) -> str:
    """`url` without user and password, query and fragment; `git@host:path` stays, its user is no secret."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    keeps_user = parts.scheme == "ssh" and ":" not in user and user
    return urlunsplit((parts.scheme, f"{user}@{host}" if keeps_user else host, parts.path, "", ""))


def _repository_url(folder: Path, ci: Mapping[str, str]) -> str | None:
    url = read_git(folder, "config", "--get", "remote.origin.url") or _first(ci, _REPOSITORY)
    if not url and ci.get("GITHUB_REPOSITORY"):
        url = f"{ci.get('GITHUB_SERVER_URL', 'https://github.com')}/{ci['GITHUB_REPOSITORY']}"
    return strip_credentials(url) if url else None


def _pull_request(ci: Mapping[str, str]) -> str | None:
    named = _PULL_REF.match(ci.get("GITHUB_REF", ""))
    number = _first(ci, _PULL_REQUEST) or (named[1] if named else None)
    # Some give false when there is none, some the address of the page.
    return None if number in {None, "false"} else str(number).rpartition("/")[2]


def _branch(ci: Mapping[str, str]) -> str | None:
    branch = _first(ci, _BRANCH)
    return branch.removeprefix("refs/heads/") if branch else None


def _is_in_workspace(folder: Path, environ: Mapping[str, str]) -> bool:
    workspace = _first(environ, _WORKSPACE)
    return workspace is None or folder.resolve().is_relative_to(Path(workspace).resolve())


def _first(environ: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((environ[name] for name in names if environ.get(name)), None)


def read_git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command in `folder`, or None where git, the repository or the answer is missing."""
    # Inside a git hook GIT_DIR names the hook's repository, not the folder's.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        result = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments],
            env={**environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
