"""What can go wrong in the lake, said so that the reader knows what to do next.

Every error carries what was wrong, the value, and the remedy. The CLI maps `UserError` to exit code 3 and
everything else to 4; nothing here prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

# Names that a message lists where none is near; beyond that nobody reads them.
_LISTED_NAMES = 20


def nearest_names(name: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """Those of `known` that `name` may have been meant to be, the nearest first; after a dot, or all of it."""
    ends: dict[str, list[str]] = {}
    for choice in sorted(known):
        ends.setdefault(choice.rpartition(".")[2], []).append(choice)
    whole = get_close_matches(name, [choice for choices in ends.values() for choice in choices], n=count, cutoff=0.5)
    by_end = get_close_matches(name.rpartition(".")[2], ends, n=count, cutoff=0.7)
    return list(dict.fromkeys([*(choice for end in by_end for choice in ends[end]), *whole]))[:count]


def _first(names: list[str], *, count: int = _LISTED_NAMES) -> str:
    more = len(names) - count
    return ", ".join(names[:count]) + (f", and {more} more" if more > 0 else "")


class BenchlakeError(Exception):
    """Base of every error that Benchlake raises on purpose."""


class UserError(BenchlakeError):
    """The caller can mend it: a wrong name, a bad file, a value out of range."""

    @classmethod
    def unknown(cls, kind: str, name: str, known: Iterable[str], *, list_all: str = "", none: str = "") -> UserError:
        """`name` is not one of `known`; the message offers the nearest names, else the first of them.

        `list_all` is the command that lists every name; `none` says how to make one where there is none at all.
        """
        choices = sorted(known, key=lambda choice: ("." in choice, choice))
        if not choices:
            return cls(f"There is no {kind} named {name!r}. {none or 'There is none at all.'}")
        near = nearest_names(name, choices)
        hints = [f"Did you mean {' or '.join(near)}?"] if near else []
        if not near and not (list_all and len(choices) > _LISTED_NAMES):
            hints.append(f"Known: {_first(choices)}.")
        if list_all:
            hints.append(f"All of them:  {list_all}")
        return cls(f"There is no {kind} named {name!r}. {' '.join(hints)}")

    @classmethod
    def not_one(
        cls, kind: str, beginning: str, found: Sequence[str], *, see: str, least: int = 1, none: str = ""
    ) -> UserError:
        """Not exactly one id begins with `beginning`; `see` lists them, `none` says more where there is none.

        `least` is how many characters a beginning must have.
        """
        if found and len(beginning) < least:
            return cls(f"Write at least {least} characters of the {kind}'s id, not {beginning!r}. See them:  {see}")
        if not found:
            return cls(f"No {kind} has an id that begins with {beginning!r}. {none or f'See them:  {see}'}")
        some = _first(sorted(found), count=5)
        return cls(f"{len(found)} {kind}s have an id that begins with {beginning!r}: {some}. Write more of it.")


class ContractError(BenchlakeError):
    """A batch cannot be made to fit its table at all (a column is missing or of another kind)."""

    @classmethod
    def missing_columns(cls, table: str, missing: Iterable[str], given: Iterable[str]) -> ContractError:
        """The batch lacks columns that the contract does not allow to be null."""
        return cls(
            f"Rows for {table} lack the column(s) {', '.join(sorted(missing))}; given: {', '.join(sorted(given))}. "
            f"See docs/tables/{table}.md for the contract."
        )

    @classmethod
    def unknown_columns(cls, table: str, extra: Iterable[str], known: Iterable[str]) -> ContractError:
        """The batch has columns that the contract does not know."""
        names = sorted(extra)
        near = get_close_matches(names[0], list(known), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return cls(f"Rows for {table} have unknown column(s) {', '.join(names)}.{hint}")

    @classmethod
    def wrong_kind(cls, table: str, column: str, given: object, wanted: object) -> ContractError:
        """A column is of a type whose values cannot become those of the contract."""
        return cls(
            f"Column {column!r} of rows for {table} is {given}; the contract wants {wanted}, so convert it first."
        )


class ConflictError(BenchlakeError):
    """Other writers kept winning the race for the next version of a table."""

    @classmethod
    def gave_up(cls, table: str, verb: str, tries: int, first_version: int, last_version: int) -> ConflictError:
        """The retry bound was reached."""
        return cls(
            f"{verb} on {table} met a conflicting commit {tries} times while the table went from version "
            f"{first_version} to {last_version}. Nothing of this call was written. Run it again when the other "
            f"writers are done, or give the writers of this table one Dagster pool so that they queue."
        )


class LeaseHeldError(BenchlakeError):
    """Somebody else holds the lease on a resource (for instance maintenance of a table)."""


class MaintenanceError(BenchlakeError):
    """Maintenance would have changed the content of a table; it was undone."""


class QueryError(UserError):
    """A query that the lake does not run: not a single SELECT, unknown table, or invalid SQL."""
