"""What every command shares: its output options, the installation it works on, and how it speaks to standard error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from pipelines.runs.remarks import Act
    from resources.installation import Installation

FormatOption = Annotated[
    Literal["table", "json", "csv"], typer.Option("--format", help="table for people, json or csv for programs.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]
AuthorOption = Annotated[
    str | None, typer.Option("--by", help="Who does it; BENCHLAKE_AUTHOR, git's user or the account when absent.")
]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why, for whoever reads the history.")]


def open_installation() -> Installation:
    """The installation of the working folder."""
    from resources.installation import Installation

    return Installation(folder=Path.cwd())


def read_act(author: str | None, reason: str | None) -> Act:
    """Who does what is recorded now: the named author, else who is known to the environment, git or the system."""
    import datetime as dt
    import os

    from pipelines.runs.remarks import Act
    from resources.author import read_author

    return Act(author=author or read_author(Path.cwd(), os.environ), at=dt.datetime.now(dt.UTC), reason=reason)


def say(message: str) -> None:
    """A message on standard error, with control characters shown."""
    from studio.rendering import printable

    sys.stderr.write("\n".join(map(printable, message.splitlines())) + "\n")
