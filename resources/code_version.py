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

from pipelines.runs.run_lines import CodeVersion

_GIT_SECONDS = 10
_PULL_REF = re.compile(r"refs/pull/([0-9]+)/")

# First the explicit ones, then GitHub Actions, GitLab CI, Jenkins.
_COMMIT = ("BENCHLAKE_COMMIT", "GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT")
_BRANCH = (
    "BENCHLAKE_BRANCH",
    "GITHUB_HEAD_REF",  # set for pull requests alone, where GITHUB_REF_NAME is "12/merge"
    "GITHUB_REF_NAME",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
    "CI_COMMIT_BRANCH",
    "CHANGE_BRANCH",
    "GIT_BRANCH",
)
_PULL_REQUEST = ("BENCHLAKE_PULL_REQUEST", "CI_MERGE_REQUEST_IID", "CHANGE_ID")
_WORKSPACE = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR", "WORKSPACE")


def read_code_version(folder: Path, environ: Mapping[str, str]) -> CodeVersion:
    """The code in `folder`; unknown fields are None, also all of them.

    Commit and dirtiness are git's, branch and pull request the CI system's, which checks out a commit without a
    branch. The CI system's variables count only for a folder inside its workspace: a run of another repository's
    code is not made by that pull request. `is_dirty` is about tracked files, as in `git describe --dirty`.
    """
    ci = environ if _is_in_workspace(folder, environ) else {}
    status = read_git(folder, "status", "--porcelain", "--untracked-files=no")
    return CodeVersion(
        commit=read_git(folder, "rev-parse", "--verify", "HEAD") or _first(ci, _COMMIT),
        branch=_first(ci, _BRANCH) or read_git(folder, "symbolic-ref", "--quiet", "--short", "HEAD"),
        pull_request=_pull_request(ci),
        is_dirty=None if status is None else bool(status),
        repository_url=_repository_url(folder, ci),
    )


def strip_credentials(url: str) -> str:
    """`url` without user and password, query and fragment; `git@host:path` stays, its user is no secret."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    keeps_user = parts.scheme == "ssh" and ":" not in user and user
    return urlunsplit((parts.scheme, f"{user}@{host}" if keeps_user else host, parts.path, "", ""))


def _repository_url(folder: Path, ci: Mapping[str, str]) -> str | None:
    url = read_git(folder, "config", "--get", "remote.origin.url") or ci.get("CI_PROJECT_URL")
    if not url and ci.get("GITHUB_REPOSITORY"):
        url = f"{ci.get('GITHUB_SERVER_URL', 'https://github.com')}/{ci['GITHUB_REPOSITORY']}"
    return strip_credentials(url) if url else None


def _pull_request(ci: Mapping[str, str]) -> str | None:
    named = _PULL_REF.match(ci.get("GITHUB_REF", ""))
    return _first(ci, _PULL_REQUEST) or (named[1] if named else None)


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
