"""The code version that people pass to their tools as free metadata: `git_commit=...`, `branch=...`, `pr=...`.

What belongs here: which names mean what. Where a format keeps such metadata is its importer's business.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipelines.runs.records import JsonObject, as_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMES = {
    "commit": ("commit", "commit_sha", "commit_hash", "commit_id", "sha", "head_sha", "hash", "rev", "revision"),
    "branch": ("branch", "branch_name", "commit_branch", "ref", "ref_name", "head_ref"),
    "pull_request": ("pr", "pr_number", "pull_request", "pull", "pull_number", "mr", "merge_request"),
    "is_dirty": ("dirty", "is_dirty"),
    "repository_url": ("repo", "repo_url", "repository", "repository_url", "remote", "remote_url", "origin"),
}
# Names that say too little by themselves: they count only with "git" or a CI system's name before them.
_VAGUE = frozenset({"hash", "rev", "revision", "ref", "pull", "mr", "remote", "origin"})
_PREFIX = re.compile(r"^(?:git|github|gitlab|ci|vcs|code|source)_")
_FIELDS = {name: field for field, names in _NAMES.items() for name in names}
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_TRUE, _FALSE = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})


def lift_code_version(values: Mapping[str, object]) -> tuple[JsonObject, frozenset[str]]:
    """The code version among `values` and the keys it was read from; the first key that names a field counts."""
    found: JsonObject = {}
    keys: set[str] = set()
    for key, value in values.items():
        field = _field_of(key)
        text = as_text(value) if isinstance(value, str | int) else None
        if field is None or not text:
            continue
        keys.add(key)
        found.setdefault(field, _flag(text) if field == "is_dirty" else text.removeprefix("refs/heads/"))
    return found, frozenset(keys)


def _field_of(key: str) -> str | None:
    """The field that a key means, whether written git_commit, git.commit, gitCommit or GIT-COMMIT."""
    name = re.sub(r"[\s.\-/]+", "_", _CAMEL.sub("_", key)).lower()
    bare = _PREFIX.sub("", name)
    return None if bare == name and bare in _VAGUE else _FIELDS.get(bare)


def _flag(text: str) -> bool | None:
    lowered = text.lower()
    return True if lowered in _TRUE else False if lowered in _FALSE else None
