"""Optimisation runs in words, for the commands that show one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.optimization.syncing import SyncResult


def print_json(run: dict[str, Any]) -> None:
    """An optimisation run as one JSON object."""
    import polars as pl

    from lake.tables import contract_of
    from studio.rendering import as_json

    rows = pl.DataFrame([run], schema=contract_of("gold.dspy_runs").dtypes)
    sys.stdout.write(as_json(rows)[1:-1] + "\n")


def print_run(run: dict[str, Any]) -> None:
    """What a run searched and spent, and what its test says."""
    from pipelines.optimization.listing import tell_outcome
    from studio.rendering import printable

    lines = [
        f"Optimisation run {run['optimization_run_id'][:8]} of {run['template']}@{run['template_version_index']}: "
        f"{run['state']}" + (f". {run['state_reason']}" if run["state_reason"] else "."),
        (
            f"{run['optimizer']} on {run['train_count']} training, {run['validation_count']} validation and "
            f"{run['test_count']} test items; {run['language_model']} ({run['model']}), seed {run['seed']}."
        ),
        (
            f"{run['trial_count']} trials, {run['call_count']} calls and {run['cached_call_count']} from the cache, "
            f"{run['input_token_count'] + run['output_token_count']:,} tokens, {run['duration_ms'] / 1000:.0f} s."
        ),
        tell_outcome(run),
    ]
    sys.stdout.write("\n".join(map(printable, lines)) + "\n")


def print_sync(synced: SyncResult) -> None:
    """What was carried back."""
    from studio.rendering import printable

    uses = f"{synced.usage_count} uses of examples recorded"
    unknown = (
        f", {synced.unknown_example_count} demos are no examples of the store" if synced.unknown_example_count else ""
    )
    lines = [f"{uses}{unknown}; {synced.curation_count} demos offered to the curation queue."]
    if synced.version is not None:
        waits = "waits for its gates (benchlake gate)" if synced.version.state == "pending" else "stands"
        lines.append(
            f"{synced.version} ({synced.version.state}) {waits}; evaluation run {synced.evaluation_run_ids[-1][:8]}."
        )
    sys.stdout.write("\n".join(map(printable, lines)) + "\n")
