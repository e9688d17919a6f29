"""Web pages of a repository: the repository itself, a commit, a pull request. Pure.

What a run says of its repository came from a file: anything that is not plainly the address of one has no page.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_COMMIT = re.compile("[0-9a-f]{7,64}")
_WEB_REPOSITORY = re.compile(r"https?://[\w.-]+(?::\d+)?(?:/[\w.~-]+)+")
_SSH_REPOSITORY = re.compile(r"(?:ssh://)?git@([\w.-]+)[:/]([\w./~-]+)")
# Where forges show a pull request, by a word in the name of the host; of another host nobody can know.
_PULL_REQUESTS = {"github": "pull", "gitlab": "-/merge_requests", "bitbucket": "pull-requests", "codeberg": "pulls"}


def repository_page(repository_url: str | None) -> str:
    """The repository's web page; empty for anything that is not plainly one."""
    url = (repository_url or "").removesuffix(".git")
    by_ssh = _SSH_REPOSITORY.fullmatch(url)
    if by_ssh:
        url = f"https://{by_ssh[1]}/{by_ssh[2]}"
    return url if _WEB_REPOSITORY.fullmatch(url) else ""


def commit_page(repository_url: str | None, commit: str | None) -> str:
    """The page of a commit; empty where either is not plainly one."""
    page = repository_page(repository_url)
    return f"{page}/commit/{commit}" if page and commit and _COMMIT.fullmatch(commit) else ""


def pull_request_page(repository_url: str | None, number: str) -> str:
    """The page of a pull or merge request by its number; empty where the forge is not known."""
    page = repository_page(repository_url)
    host = urlsplit(page).hostname or ""
    folder = next((folder for word, folder in _PULL_REQUESTS.items() if word in host), "")
    return f"{page}/{folder}/{number}" if folder and number.isascii() and number.isdigit() else ""
