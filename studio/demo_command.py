"""`benchlake demo`: sample files of every format into the landing folder, and what to do with them."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from studio.options import open_installation

if TYPE_CHECKING:
    from pathlib import Path

    from resources.demo_files import Placed


_NEXT = """\
Import:  benchlake import {folder}
List:    benchlake runs --limit 50
Ask:     benchlake sql "from silver.runs select source_kind, suite, backend, model, status"
Remove:  benchlake demo --clean
A running `benchlake ui` and the next night import them by themselves.
"""


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(demo)


def demo(
    *,
    clean: Annotated[
        bool, typer.Option("--clean", help="Take the sample files away again; the lake keeps its rows.")
    ] = False,
) -> None:
    """Put small sample files of every format into the landing folder, to see what an import makes of them.

    They are our own: a few questions to a small model, asked by each tool. Doing it again changes nothing.

    Example:  benchlake demo
    """
    from resources.demo_files import FOLDER, clean_demo, place_demo

    landing = open_installation().landing
    if clean:
        cleaned = clean_demo(landing)
        sys.stdout.write(f"{cleaned.removed_count} sample files taken away from {landing / FOLDER}.\n")
        for path in cleaned.changed:
            sys.stdout.write(f"{path} was changed and stays.\n")
        return
    _tell(place_demo(landing), landing / FOLDER)


def _tell(placed: list[Placed], folder: Path) -> None:
    """What stands where, who wrote it, and what to run next."""
    width = max(len(each.source.folder) for each in placed) + 1
    for each in placed:
        source = each.source
        origin = f"hand-written in the form of {source.made_with}" if source.is_hand_written else source.made_with
        sys.stdout.write(f"  {source.folder + '/':{width}}  {source.shows} ({origin})\n")
    written = sum(each.written_count for each in placed)
    standing = sum(each.standing_count for each in placed)
    already = f", {standing} stood there already" if standing else ""
    sys.stdout.write(
        f"{written} files written to {folder}{already}.\n\n{_NEXT.format(folder=shlex.quote(str(folder)))}"
    )
