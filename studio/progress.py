"""Progress of long work on a terminal; silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.runs.batches import BatchCell

Progress = Callable[[int, int, str], None]


@contextmanager
def file_progress(*, enabled: bool) -> Iterator[Progress | None]:
    """A bar that takes (done, total, label); None when not enabled or standard error is not a terminal."""
    if not enabled or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from studio.rendering import printable

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def advance(done: int, total: int, label: str) -> None:
            bar.update(task, completed=done, total=total, description=printable(label))

        yield advance


@contextmanager
def cell_progress() -> Iterator[Callable[[BatchCell, int], None] | None]:
    """A bar for each cell of a batch that is being asked; None when standard error is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    from studio.rendering import printable

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:

        def advance(cell: BatchCell, answered: int) -> None:
            if cell.run_id not in tasks:
                label = printable(f"{cell.suite} on {cell.backend}")
                tasks[cell.run_id] = bars.add_task(label, total=cell.expected_count)
            bars.update(tasks[cell.run_id], completed=answered)
            if answered >= cell.expected_count:
                bars.update(tasks[cell.run_id], visible=False)

        yield advance
