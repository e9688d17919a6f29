"""Who does a thing that is recorded with a name: from the environment, git, or the account."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from pathlib import Path

from resources.code_version import read_git

# First the explicit one, then who set off a run of GitHub Actions, GitLab CI.
_VARIABLES = ("BENCHLAKE_AUTHOR", "GITHUB_ACTOR", "GITLAB_USER_LOGIN")


def read_author(folder: Path, environ: Mapping[str, str]) -> str:
    """A name for tags, notes, baselines and suites: a variable, git's user name, else the account's."""
    named = next((environ[name] for name in _VARIABLES if environ.get(name)), None)
    return named or read_git(folder, "config", "--get", "user.name") or _account()


def _account() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
