"""Which saved suite version is meant: by name, `name@version` or the beginning of a digest. Pure.

What belongs here: the words for a version and the mistakes in them. Reading and writing versions is
`suite_registry.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

import polars as pl

from lake.errors import UserError

# To ask a version, or only to read it: what is archived can be read by name, but not asked by it.
Purpose = Literal["ask", "read"]

MIN_DIGEST_CHARS = 8
SHOWN_DIGEST_CHARS = 12
NO_SUITE = "None is saved yet. Save one:  benchlake suite save FILE   (the form of a file: docs/suites.md)"
_DIGEST = re.compile(rf"[0-9a-f]{{{MIN_DIGEST_CHARS},64}}")

Version = dict[str, Any]


def find_version(versions: pl.DataFrame, reference: str, *, purpose: Purpose) -> Version:
    """The row of `versions` (rows of silver.suites) that `reference` means.

    `name` is the newest version that is not archived; `name@2` the version with that version_index, else with that
    label of its author's; eight hex digits or more the version whose digest begins so. Raises `UserError` when none
    or several are meant, or the one that is meant is archived and may only be read.
    """
    own = versions.filter(pl.col("suite") == reference)
    if own.height:
        return _newest(own, reference, purpose=purpose)
    name, at, tail = reference.rpartition("@")
    own = versions.filter(pl.col("suite") == name) if at else own
    if own.height:
        return _not_archived(_of_name(own, name, tail), reference, purpose=purpose)
    if _DIGEST.fullmatch(reference):
        return _of_digest(versions, reference)
    raise _unknown(versions, name or reference, reference)


def find_versions(versions: pl.DataFrame, reference: str) -> list[Version]:
    """Every version of a suite for its bare name, else the one version that `reference` means."""
    own = versions.filter(pl.col("suite") == reference).sort("version_index")
    return own.to_dicts() if own.height else [find_version(versions, reference, purpose="read")]


def shown_version(version: Version) -> str:
    """A version in words that find it again: `support@2 (1f2e3d4c5b6a)`."""
    return f"{version['suite']}@{version['version_index']} ({version['suite_digest'][:SHOWN_DIGEST_CHARS]})"


def _newest(own: pl.DataFrame, name: str, *, purpose: Purpose) -> Version:
    newest_first = own.sort("version_index", descending=True)
    current = newest_first.filter(~pl.col("is_archived"))
    if current.height:
        return current.row(0, named=True)
    return _not_archived(newest_first.row(0, named=True), name, purpose=purpose)


def _of_name(own: pl.DataFrame, name: str, tail: str) -> Version:
    """The version that `name@tail` means; an index and a label that mean different ones are never guessed between."""
    by_index = own.filter(pl.col("version_index").cast(pl.String) == tail)
    by_label = own.filter(pl.col("version") == tail).sort(~pl.col("is_archived"), "version_index", descending=True)
    if by_index.height and (by_label.is_empty() or by_index["version"][0] == tail):
        return by_index.row(0, named=True)
    if by_index.height:
        raise UserError(
            f"{name}@{tail} could be version_index {tail} ({by_index['suite_digest'][0][:SHOWN_DIGEST_CHARS]}) or the "
            f"version that its author calls {tail} ({_listed(by_label.to_dicts())}). Name it by its digest."
        )
    if by_label.height:
        return by_label.row(0, named=True)
    known = [shown_version(row) for row in own.sort("version_index").to_dicts()]
    raise UserError(f"The suite {name!r} has no version {tail!r}. It has {', '.join(known)}.")


def _of_digest(versions: pl.DataFrame, beginning: str) -> Version:
    found = versions.filter(pl.col("suite_digest").str.starts_with(beginning)).to_dicts()
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"No saved suite has a digest that begins with {beginning}. See: benchlake suite list --all")
    raise UserError(f"The digests of {len(found)} suites begin with {beginning}: {_listed(found)}. Give more of it.")


def _not_archived(version: Version, reference: str, *, purpose: Purpose) -> Version:
    if purpose == "read" or not version["is_archived"]:
        return version
    why = f": {version['archive_reason']}" if version["archive_reason"] else ""
    raise UserError(
        f"{shown_version(version)} was archived by {version['archived_by']} on {version['archived_at']:%Y-%m-%d}{why}. "
        f"Take it out with `benchlake suite restore {reference}`, or name it by its digest."
    )


def _unknown(versions: pl.DataFrame, name: str, reference: str) -> UserError:
    if versions.is_empty():
        return UserError.unknown("saved suite", name, [], none=NO_SUITE)
    if re.fullmatch(r"[0-9a-f]+", reference) and len(reference) < MIN_DIGEST_CHARS:
        return UserError(
            f"No saved suite is named {reference!r}, and a digest needs at least {MIN_DIGEST_CHARS} hex digits. "
            "See them:  benchlake suite list"
        )
    known = versions["suite"].unique().to_list()
    return UserError.unknown("saved suite", name, known, list_all="benchlake suite list")


def _listed(versions: Iterable[Version]) -> str:
    return ", ".join(shown_version(version) for version in versions)
