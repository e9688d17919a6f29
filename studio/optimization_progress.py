"""An optimisation run on a terminal: a line for each trial that ends, and how much is spent meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.optimization.recording import Trial
    from pipelines.optimization.spending import Spent


@dataclass(frozen=True)
class Listeners:
    """What a run tells: trials and calls."""

    on_trial: Callable[[Trial], None]
    on_call: Callable[[Spent], None]


@contextmanager
def optimization_progress() -> Iterator[Listeners]:
    """Trials as lines on standard error; on a terminal also calls, tokens and time as they grow."""
    # The stream itself: while an optimiser works, sys.stderr is another.
    stream = sys.stderr
    if not stream.isatty():
        yield Listeners(on_trial=lambda trial: _write(stream, trial_line(trial)), on_call=lambda _spent: None)
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(
        *columns, console=Console(file=stream), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        task = bar.add_task("asking", total=None)
        yield Listeners(
            on_trial=lambda trial: bar.console.print(trial_line(trial), markup=False, highlight=False),
            on_call=lambda spent: bar.update(task, description=spent_line(spent)),
        )


def trial_line(trial: Trial) -> str:
    """`trial 3  candidate  validation  0.350 [0.181, 0.567]  8 demos`."""
    demos = sum(map(len, trial.facts.demos.values()))
    pool = f", {trial.facts.neighbour_count} shown" if trial.facts.neighbour_count is not None else ""
    again = "  (as before)" if trial.is_repeated else ""
    return (
        f"trial {trial.trial_index:<3} {trial.trial_kind:<9} {trial.split:<10} {trial.score:.3f} "
        f"[{trial.interval_low:.3f}, {trial.interval_high:.3f}]  {len(trial.scores)} items, {demos} demos{pool}{again}"
    )


def spent_line(spent: Spent) -> str:
    """`34 calls, 5 from the cache, 12,345 tokens`."""
    cost = f", {spent.cost_usd:.4f} USD" if spent.cost_usd else ""
    tokens = spent.input_tokens + spent.output_tokens
    return f"{spent.calls} calls, {spent.cached_calls} from the cache, {tokens:,} tokens{cost}"


def _write(stream: object, line: str) -> None:
    print(line, file=stream, flush=True)  # type: ignore[call-overload]
