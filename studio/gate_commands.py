"""Commands that judge: gates of a night or of two runs, and what a policy asks."""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from studio.options import JsonOption, open_installation, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from pipelines.evidence.ad_hoc import PairEvidence

VerdictFormat = Literal["table", "markdown", "json", "csv", "junit"]
VerdictFormatOption = Annotated[
    VerdictFormat,
    typer.Option("--format", help="table for people, markdown for a pull request, junit for CI, json or csv."),
]
UndecidedOption = Annotated[
    int, typer.Option("--undecided-exit-code", min=0, max=255, help="Exit code when nothing failed but not all passed.")
]

SHOWN_PARTED = 10

gates_app = typer.Typer(no_args_is_help=True, help="Look at the policy: is it valid, and what does it ask?")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(gate)
    app.command()(compare)
    app.add_typer(gates_app, name="gates")


def gate(
    date: Annotated[
        dt.datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="UTC run date; newest when absent.")
    ] = None,
    candidate: Annotated[
        str | None, typer.Option("--candidate", help="Judge this run alone: the beginning of its id.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="Against this run, instead of what the policy pairs it with.")
    ] = None,
    form: VerdictFormatOption = "table",
    as_json: JsonOption = False,
    undecided: UndecidedOption = 2,
) -> None:
    """Judge what is new, show the verdicts of a run date, exit by them: 1 a blocking gate failed, 2 undecided.

    Runs that were imported since the last judgement are paired, diffed and judged first. A date without verdicts is
    undecided: nothing was compared, which is never a pass. With --candidate only that run counts; with --baseline
    too, the two are judged by every gate of the policy, and nothing is written.

    Example:  benchlake import results/ && benchlake gate && echo ship
    Example:  benchlake gate --candidate 3fa2 --format markdown > comment.md
    """
    from lake.errors import UserError
    from pipelines.evidence.listing import list_verdicts, list_verdicts_of, newest_run_date
    from pipelines.evidence.steps import judge_what_is_new
    from pipelines.runs.remarks import find_run

    if baseline and not candidate:
        raise UserError("--baseline needs --candidate: which run is judged against it?")
    if candidate and baseline:
        compare(baseline, candidate, form=form, as_json=as_json, undecided=undecided)
        return
    installation = open_installation()
    lake = installation.lake
    judge_what_is_new(lake, installation.policy)
    day = date.date() if date else newest_run_date(lake)
    if candidate:
        run = find_run(lake, candidate)
        day, rows = run["run_date"], list_verdicts_of(lake, run["run_id"])
    else:
        rows = list_verdicts(lake, dates=[day] if day else None)
    chosen: VerdictFormat = "json" if as_json else form
    if rows.is_empty() and chosen == "table":
        sys.stdout.write(_nothing_judged(day, run["run_id"] if candidate else None))
    else:
        _show(rows, chosen, title=f"Gates of {day}")
    raise typer.Exit(_exit_code(rows, undecided))


def compare(
    baseline: Annotated[str, typer.Argument(metavar="BASELINE", help="Beginning of the id of the run to judge by.")],
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="Beginning of the id of the run to judge.")],
    form: VerdictFormatOption = "table",
    as_json: JsonOption = False,
    undecided: UndecidedOption = 2,
) -> None:
    """Compare any two runs now: may they be compared, how many outputs differ, where tokens part, what the gates say.

    The baseline comes first, as everywhere; where the two look exchanged, standard error says so.

    Where the candidate's backend has scored the baseline's tokens (benchlake score-tokens), the band says how far the
    two are apart: same, close, degraded or broken.

    Judged by every gate of the policy, whether or not it pairs the two; nothing is written. Exit code 0 pass, 1 a
    blocking gate failed, 2 undecided or incomparable. The outputs themselves:  benchlake diff BASELINE CANDIDATE

    Example:  benchlake compare 81bc 3fa2 --format markdown
    """
    from pipelines.evidence.ad_hoc import compare_two
    from pipelines.evidence.roles import doubt_roles
    from pipelines.runs.remarks import find_run

    installation = open_installation()
    lake = installation.lake
    runs = {"baseline": find_run(lake, baseline), "candidate": find_run(lake, candidate)}
    doubt = doubt_roles(lake, **runs)
    if doubt:
        ids = [str(runs[role]["run_id"])[:8] for role in ("candidate", "baseline")]
        say(f"{doubt} The baseline comes first; to exchange them:  benchlake compare {' '.join(ids)}")
    found = compare_two(lake, installation.policy, **runs)
    chosen: VerdictFormat = "json" if as_json else form
    if chosen == "json":
        sys.stdout.write(_pair_as_json(found) + "\n")
    else:
        if chosen == "table":
            _print_comparison(found, runs)
        _show(found.verdicts, chosen, title="Gates", found=found)
    raise typer.Exit(_exit_code(found.verdicts, undecided))


def _show(rows: pl.DataFrame, form: VerdictFormat, *, title: str, found: PairEvidence | None = None) -> None:
    from pipelines.evidence.verdict_texts import as_junit, as_markdown
    from studio.rendering import emit
    from studio.summary import print_verdicts

    if form == "markdown":
        from pipelines.evidence.pair_token_texts import token_sentences

        sentences = token_sentences(found.tokens) if found else ()
        sys.stdout.write(as_markdown(rows, comparison=found.comparison if found else None, tokens=sentences))
    elif form == "junit":
        sys.stdout.write(as_junit(rows))
    elif form == "table":
        print_verdicts(rows, title=title)
    else:
        emit(rows, form)


def _print_comparison(found: PairEvidence, runs: Mapping[str, Mapping[str, Any]]) -> None:
    from pipelines.evidence.pair_token_texts import parted_rows, token_sentences
    from studio.diff_rendering import role_lines
    from studio.rendering import print_table, printable

    row = found.comparison
    for line in role_lines(runs["baseline"], runs["candidate"]):
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(
        f"{row['comparability'].capitalize()}. "
        f"{row['paired_sample_count']} pairs, {row['changed_count'] or 0} differ.\n"
    )
    for reason in row["reasons"]:
        sys.stdout.write(f"  {printable(reason)}\n")
    for sentence in token_sentences(found.tokens):
        sys.stdout.write(f"{printable(sentence)}\n")
    parted = found.tokens.parted.height
    if parted:
        shown = f", the first {SHOWN_PARTED}" if parted > SHOWN_PARTED else ""
        print_table(parted_rows(found.tokens, limit=SHOWN_PARTED), title=f"Where tokens part{shown}")


def _pair_as_json(found: PairEvidence) -> str:
    from studio.rendering import as_json

    comparison = {name: value for name, value in found.comparison.items() if name != "input_versions"}
    told = {
        "verdicts": found.verdicts,
        "divergences": found.tokens.counts,
        "parted": found.tokens.parted,
        "bands": found.tokens.bands,
    }
    rows = {name: json.loads(as_json(frame)) for name, frame in told.items()}
    return json.dumps({"comparison": comparison, **rows}, default=str)


def _nothing_judged(day: dt.date | None, run_id: str | None) -> str:
    if run_id is not None:
        return (
            f"Run {run_id[:8]} has no baseline under the policy, so it was not judged (docs/gates.md). Name one:  "
            f"benchlake compare BASELINE {run_id[:8]}\n"
        )
    if day is None:
        return "No runs yet. Make some:  benchlake nightly   or   benchlake import PATH\n"
    return f"Nothing that ran on {day} has a baseline under the policy, so nothing was judged (docs/gates.md).\n"


def _exit_code(rows: pl.DataFrame, undecided: int) -> int:
    from pipelines.evidence.listing import UNDECIDED, exit_code_of

    code = exit_code_of(rows)
    return undecided if code == UNDECIDED else code


PolicyFile = Annotated[Path | None, typer.Argument(metavar="FILE", help="Policy file; the one in force when absent.")]


@gates_app.command("lint")
def gates_lint(file: PolicyFile = None) -> None:
    """Check a policy file and say what it holds; exit 3 with file, key and what is allowed if it is not valid.

    Example:  benchlake gates lint gates.yaml
    """
    from pipelines.evidence.policy import load_policy

    policy = load_policy(file) if file else open_installation().policy
    blocking = sum(gate.severity == "block" for gate in policy.gates)
    waiting = sum(gate.confirm_on_rerun for gate in policy.gates)
    does = f"{blocking} block{f', {waiting} confirm on a re-run' if waiting else ''}"
    sys.stdout.write(
        f"Valid: {len(policy.comparisons)} comparisons, {len(policy.gates)} gates ({does}). "
        f"Digest {policy.digest[:12]}.\n"
    )
    for rule in policy.comparisons:
        if not policy.gates_of(rule.name):
            sys.stdout.write(f"No gate judges the comparison {rule.name}: it is diffed and nothing more.\n")
    if policy.on_inconclusive == "promote" and any(
        gate.confirm_on_rerun and gate.severity == "block" for gate in policy.gates
    ):
        sys.stdout.write(
            "on_inconclusive: promote lets a run through while its failure awaits a re-run; hold keeps it back.\n"
        )


@gates_app.command("explain")
def gates_explain(file: PolicyFile = None) -> None:
    """Say in sentences which runs the policy compares, what each gate asks, and what a failure does.

    Example:  benchlake gates explain
    """
    from pipelines.evidence.policy import load_policy
    from pipelines.evidence.policy_text import explain_policy
    from studio.rendering import printable

    policy = load_policy(file) if file else open_installation().policy
    sys.stdout.write("\n".join(map(printable, explain_policy(policy).splitlines())) + "\n")


@gates_app.command("schema")
def gates_schema() -> None:
    """Print the JSON Schema of a policy file, for editors that check while you type.

    Example:  benchlake gates schema > gates.schema.json
    """
    from pipelines.evidence.policy import policy_schema

    sys.stdout.write(json.dumps(policy_schema(), indent=2) + "\n")
