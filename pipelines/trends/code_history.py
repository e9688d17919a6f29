"""What was merged between two commits, from the messages of the commits between them.

Pure, but for the Protocol by which steps ask for the messages; reading a repository is `resources/code_history.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from pipelines.runs.repository_pages import pull_request_page

# The first line of a merge or a squashed merge, as GitHub, GitLab, Bitbucket and Azure write it.
_SUBJECTS = (
    re.compile(r"^Merge pull request #(\d{1,9})\b"),
    re.compile(r"\(#(\d{1,9})\)$"),
    re.compile(r"\(pull request #(\d{1,9})\)$"),
    re.compile(r"^Merged PR (\d{1,9}):"),
)
# GitLab names the request on a line of its own, below.
_BELOW = re.compile(r"^See merge request (?:[\w./-]+)?!(\d{1,9})$", re.MULTILINE)


class CodeHistory(Protocol):
    """A repository that can be asked what lies between two commits."""

    def messages_between(
        self, last_commit: str, first_commit: str, *, repository_url: str | None
    ) -> Sequence[str] | None:
        """Messages of the commits after `last_commit` up to `first_commit`, oldest first; None if it cannot tell.

        `repository_url` is where the runs say that the commits are from; None if they do not.
        """


def pull_requests_of(messages: Iterable[str]) -> list[str]:
    """Numbers of the pull requests that these commits merged, each once, in order."""
    found: dict[str, None] = {}
    for message in messages:
        subject = message.strip().partition("\n")[0].strip()
        named = next((match for match in (pattern.search(subject) for pattern in _SUBJECTS) if match), None)
        named = named or _BELOW.search(message)
        if named:
            found[named[1]] = None
    return list(found)


def with_code_between(
    row: Mapping[str, Any], *, history: CodeHistory | None, standing: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A row of `gold.trend_regressions` with what the history says of the code between its two commits.

    `standing` is the row as it stood; what was once read for the same two commits is kept, with or without a history.
    """
    commits = ("last_commit", "first_commit")
    if standing and standing["commit_count"] is not None and all(row[name] == standing[name] for name in commits):
        return {**row, **{name: standing[name] for name in ("commit_count", "merged_pull_requests")}}
    messages = _messages(row, history)
    if messages is None:
        return {**row, "commit_count": None, "merged_pull_requests": None}
    return {**row, "commit_count": len(messages), "merged_pull_requests": pull_requests_of(messages)}


def linked_pull_requests(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each pull request that runs or commits of a change name, and its page; empty where the forge is not known."""
    numbers = dict.fromkeys([*(row["merged_pull_requests"] or []), *row["pull_requests"]])
    return [(number, pull_request_page(row["repository_url"], number)) for number in numbers]


def _messages(row: Mapping[str, Any], history: CodeHistory | None) -> Sequence[str] | None:
    last, first = row["last_commit"], row["first_commit"]
    if last is None or first is None:
        return None
    if last == first:
        return []
    if history is None:
        return None
    return history.messages_between(last, first, repository_url=row["repository_url"])
