"""The command that has a backend score the tokens of another run's outputs."""

from __future__ import annotations

import datetime as dt
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from studio.options import JsonOption, open_installation, say

if TYPE_CHECKING:
    import polars as pl

    from lake.store import Lake
    from pipelines.evidence.scoring_steps import ScoringResult

EXIT_NOTHING_SCORED = 2


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("score-tokens")(score_tokens)


def score_tokens(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Beginning of the id of the run whose outputs are given.")],
    backend: Annotated[str, typer.Option("--backend", help="Configured backend that scores them.")],
    top_k: Annotated[
        int | None, typer.Option("--top-k", min=1, help="Alternatives asked for at each position; 4096 when absent.")
    ] = None,
    whole: Annotated[
        bool,
        typer.Option("--vocabulary", help="The whole vocabulary of both sides: exact numbers; slow for llama.cpp."),
    ] = False,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Compare with what the run recorded; its own backend is not asked again.")
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, help="Only so many samples, always the same ones; all when absent."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Have a backend score the tokens that a run's outputs consist of, and say how far it is from the run's own.

    Both sides are given the same tokens, so every position can be compared, also behind the one at which free-running
    outputs part (docs/token-divergence.md). What was scored before is not scored again; a killed scoring goes on where
    it stopped. Gates of the family token_divergence judge it with the next `benchlake gate`.

    Example:  benchlake score-tokens 81bc --backend staging
    """
    from lake.errors import UserError
    from pipelines.runs.remarks import find_run
    from resources.token_scorings import TOP_K, score_tokens_of
    from studio.progress import file_progress

    if whole and top_k:
        raise UserError("--vocabulary lists every token; leave --top-k out.")
    installation = open_installation()
    with file_progress(enabled=not as_json) as progress:
        installation.on_progress = progress
        result = score_tokens_of(
            installation,
            find_run(installation.lake, run),
            backend,
            top_k=None if whole else top_k or TOP_K,
            is_recorded=recorded,
            sample_limit=samples,
            clock=lambda: dt.datetime.now(dt.UTC),
            on_message=say,
        )
    if as_json:
        import json

        sys.stdout.write(json.dumps(asdict(result)) + "\n")
    else:
        _print(result, _band(installation.lake, result))
    raise typer.Exit(0 if result.scored_count else EXIT_NOTHING_SCORED)


def _band(lake: Lake, result: ScoringResult) -> pl.DataFrame:
    from pipelines.evidence.forced_steps import band_of_scoring

    return band_of_scoring(lake, result.scoring_id)


def _print(result: ScoringResult, bands: pl.DataFrame) -> None:
    from pipelines.evidence.band_texts import band_sentences
    from studio.rendering import printable

    reused = f", {result.reused_count} of them scored before" if result.reused_count else ""
    sys.stdout.write(
        f"{printable(result.backend)} scored {result.position_count} tokens of {result.scored_count} outputs of run "
        f"{result.run_id[:8]}{reused}; the reference is {printable(result.reference)}.\n"
    )
    if result.failed_count:
        why = printable(result.first_error or "no reason given")
        sys.stdout.write(f"{result.failed_count} outputs could not be scored. The first: {why}\n")
    for row in bands.iter_rows(named=True):
        sys.stdout.write("".join(f"{printable(line)}\n" for line in band_sentences(row)))
