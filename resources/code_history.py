"""The git repository of an installation, asked what lies between two commits. Reads only; nothing is fetched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.runs.repository_pages import repository_page
from resources.code_version import read_git, strip_credentials

# A whole hash names one commit of all the world's repositories; a shortened one only within its own.
_WHOLE = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORTENED = re.compile(r"[0-9a-f]{7,64}")


@dataclass(frozen=True, kw_only=True)
class GitHistory:
    """The repository around a folder; implements `pipelines.trends.code_history.CodeHistory`."""

    folder: Path
    # Many series change between the same two commits.
    _known: dict[tuple[str, str, str | None], Sequence[str] | None] = field(default_factory=dict, compare=False)

    def messages_between(
        self, last_commit: str, first_commit: str, *, repository_url: str | None
    ) -> Sequence[str] | None:
        """Messages of the commits after `last_commit` up to `first_commit`, oldest first.

        None where git or one of the commits is missing, where the first does not descend from the last, where the
        clone is shallow (commits between may be cut off), or where shortened hashes may be another repository's.
        """
        key = (last_commit, first_commit, repository_url)
        if key not in self._known:
            self._known[key] = self._read(last_commit, first_commit, repository_url)
        return self._known[key]

    def _read(self, last_commit: str, first_commit: str, repository_url: str | None) -> Sequence[str] | None:
        commits = (last_commit, first_commit)
        is_sure = all(map(_WHOLE.fullmatch, commits)) or (
            all(map(_SHORTENED.fullmatch, commits)) and self._is_repository(repository_url)
        )
        if not is_sure or self._git("merge-base", "--is-ancestor", *commits) is None:
            return None
        if self._git("rev-parse", "--is-shallow-repository") != "false":
            return None
        told = self._git("log", "--reverse", "--no-show-signature", "--format=%B%x00", "..".join(commits))
        # Each message ends with the mark, also an empty one.
        return None if told is None else [message.strip() for message in told.split("\0")[:-1]]

    def _is_repository(self, repository_url: str | None) -> bool:
        own = self._git("config", "--get", "remote.origin.url")
        page = repository_page(repository_url)
        return bool(page) and own is not None and repository_page(strip_credentials(own)) == page

    def _git(self, *arguments: str) -> str | None:
        return read_git(self.folder, *arguments)
