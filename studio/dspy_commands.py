"""Commands of prompt optimisation: optimise a template, look at runs and trials, stop, carry back.

Commands about templates themselves are `template_commands.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from studio.optimization_words import print_json, print_run, print_sync
from studio.options import AuthorOption, FormatOption, JsonOption, ReasonOption, open_installation, say
from studio.template_commands import author_of, now, template_app

OneRun = Annotated[str, typer.Argument(metavar="RUN", help="Beginning of an optimisation run's id, or `latest`.")]
# As lake/tables/optimization.py has them, which is slow to import; a test compares the two.
OptimizerName = Literal[
    "labeled_few_shot",
    "bootstrap_few_shot",
    "random_search",
    "knn_few_shot",
    "mipro_v2",
    "copro",
    "simba",
    "gepa",
]

dspy_app = typer.Typer(
    no_args_is_help=True,
    help="Templates become DSPy programs, optimisers search better ones, what they learn flows back to the examples.",
)
dspy_app.add_typer(template_app, name="templates")


def register(app: typer.Typer) -> None:
    """Add the commands of templates and prompt optimisation to the command line."""
    app.add_typer(dspy_app, name="dspy")


@dspy_app.command()
def optimize(
    template: Annotated[str, typer.Argument(metavar="TEMPLATE", help="NAME or NAME@VERSION.")],
    optimizer: Annotated[OptimizerName, typer.Option(help="Which optimiser searches.")] = "random_search",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=NUMBER", help="A setting of the optimiser; `benchlake dspy optimizers`."),
    ] = None,
    budget_calls: Annotated[int | None, typer.Option(min=1, help="Calls of the model allowed.")] = None,
    budget_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens allowed, sent and generated.")] = None,
    budget_usd: Annotated[float | None, typer.Option(min=0, help="Cost allowed.")] = None,
    budget_seconds: Annotated[float | None, typer.Option(min=0, help="Time allowed.")] = None,
    max_train: Annotated[int | None, typer.Option(min=1, help="Most training items used.")] = None,
    max_validation: Annotated[int | None, typer.Option(min=1, help="Most validation items used.")] = 24,
    max_test: Annotated[int | None, typer.Option(min=1, help="Most test items used.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    language_model: Annotated[
        str | None, typer.Option("--model", help="Configured language model that answers; default the template's.")
    ] = None,
    prompt_model: Annotated[
        str | None, typer.Option("--prompt-model", help="Configured language model that writes instructions.")
    ] = None,
    function_name: Annotated[
        str | None, typer.Option("--function", help="Function whose examples are used; default the template's name.")
    ] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="Only examples with this tag; repeatable.")] = None,
    as_json: JsonOption = False,
    author: AuthorOption = None,
) -> None:
    """Search a better program for a template, on the examples of its function.

    Examples are split by digest into training, validation and test items. Every trial is a row of gold.dspy_trials
    when it ends; a run that was killed, stopped or ran out of budget is taken up by the same command. At the end start
    and best are asked the test items, and `improved` is said only where the whole interval of the difference is above
    0. What was learnt is carried back: see `benchlake dspy sync --help`.

    Example:  benchlake dspy optimize transport-orders --optimizer random_search --budget-seconds 600
    """
    from pipelines.optimization.spending import Budget
    from pipelines.optimization.splitting import SplitShares
    from resources.optimization import OptimizationPlan, optimize_template
    from studio.optimization_progress import optimization_progress

    plan = OptimizationPlan(
        template=template,
        optimizer=optimizer,
        settings=_read_settings(setting or []),
        budget=Budget(calls=budget_calls, tokens=budget_tokens, cost_usd=budget_usd, seconds=budget_seconds),
        shares=SplitShares(max_train=max_train, max_validation=max_validation, max_test=max_test),
        seed=seed,
        language_model=language_model,
        prompt_model=prompt_model,
        function_name=function_name,
        tags=tags or [],
    )
    with optimization_progress() as listeners:
        end = optimize_template(
            open_installation(),
            plan,
            author=author_of(author),
            clock=now,
            on_trial=listeners.on_trial,
            on_call=listeners.on_call,
        )
    run = dict(end.result.row)
    if as_json:
        print_json(run)
        return
    if not end.result.is_new:
        say("This run has finished before, with the same template, items, settings and model; nothing was asked.")
    print_run(run)
    if end.synced is not None:
        print_sync(end.synced)
    sys.stdout.write(f"Look closer:  benchlake dspy trials {run['optimization_run_id'][:8]}\n")


@dspy_app.command()
def optimizers(as_json: JsonOption = False) -> None:
    """List the optimisers with what each does, and the settings that `optimize --set` takes.

    Example:  benchlake dspy optimizers
    """
    import polars as pl

    from pipelines.optimization.settings import DESCRIPTIONS, WRITES_INSTRUCTIONS, OptimizerSettings
    from studio.rendering import emit

    emit(
        pl.DataFrame(
            [
                {"optimizer": name, "does": text, "writes instructions": name in WRITES_INSTRUCTIONS}
                for name, text in DESCRIPTIONS.items()
            ]
        ),
        "json" if as_json else "table",
    )
    if not as_json:
        fields = OptimizerSettings.model_fields.items()
        emit(
            pl.DataFrame(
                [{"setting": name, "default": str(field.default), "means": field.description} for name, field in fields]
            ),
            "table",
        )


@dspy_app.command()
def runs(
    template: Annotated[str | None, typer.Argument(metavar="TEMPLATE", help="Only runs of this template.")] = None,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """List optimisation runs, the newest first, with scores before and after and what the test allows to say.

    Example:  benchlake dspy runs transport-orders
    """
    import polars as pl

    from pipelines.optimization.listing import list_runs
    from pipelines.optimization.steps import NO_RUN_YET
    from studio.rendering import emit

    rows = list_runs(open_installation().lake, template=template)
    if as_json or form != "table":
        emit(rows, "json" if as_json else form)
        return
    if rows.is_empty():
        sys.stdout.write(f"{NO_RUN_YET}\n")
        return
    emit(
        rows.select(
            pl.col("optimization_run_id").str.head(8).alias("run"),
            pl.format("{}@{}", "template", "template_version_index").alias("template"),
            "optimizer",
            "state",
            before=pl.col("start_test_score").round(3),
            after=pl.col("best_test_score").round(3),
            conclusion="conclusion",
        ),
        form,
    )


@dspy_app.command()
def show(run: OneRun = "latest", as_json: JsonOption = False) -> None:
    """Show an optimisation run, also while it goes on: what it searched, what it spent, what the test says.

    Example:  benchlake dspy show latest
    """
    from pipelines.optimization.steps import read_run

    row = read_run(open_installation().lake, run)
    if as_json:
        print_json(row)
    else:
        print_run(row)


@dspy_app.command()
def trials(
    run: OneRun = "latest",
    chart: Annotated[Path | None, typer.Option("--svg", help="Write score against trial as an SVG file, too.")] = None,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """List the trials of a run in order: program, demos, items, score with its interval, and what each took.

    Example:  benchlake dspy trials latest --svg trials.svg
    """
    import polars as pl

    from lake.errors import UserError
    from pipelines.optimization.charts import trial_chart
    from pipelines.optimization.listing import read_trials
    from studio.rendering import emit

    rows = read_trials(open_installation().lake, run)
    if chart is not None:
        if rows.is_empty():
            raise UserError("The run has no trial yet, so there is nothing to draw.")
        chart.write_text(trial_chart(rows, title="Score against trial"), encoding="utf-8")
    if as_json or form != "table":
        emit(rows, "json" if as_json else form)
        return
    emit(
        rows.select(
            pl.col("trial_index").alias("trial"),
            pl.format("{}, {}", "trial_kind", "split").alias("what"),
            pl.col("program_id").str.head(8).alias("program"),
            pl.format("{} ({})", "demo_count", "bootstrapped_demo_count").alias("demos (own)"),
            pl.col("item_count").alias("items"),
            score=pl.col("score").round(3),
            interval=pl.format("{} to {}", pl.col("interval_low").round(3), pl.col("interval_high").round(3)),
        ),
        form,
    )


@dspy_app.command()
def stop(run: OneRun = "latest", reason: ReasonOption = None, author: AuthorOption = None) -> None:
    """Ask a running optimisation run to stop; it does so before its next call and keeps what it has.

    Take it up again by the same `optimize` command.

    Example:  benchlake dspy stop latest --reason 'the machine is needed'
    """
    from pipelines.optimization.steps import request_stop

    run_id = request_stop(open_installation().lake, run, now=now(), author=author_of(author), reason=reason)
    sys.stdout.write(f"Asked optimisation run {run_id[:8]} to stop.\n")


@dspy_app.command()
def sync(run: OneRun = "latest", author: AuthorOption = None) -> None:
    """Carry back what a run learnt, and settle learnt versions by the verdicts of their gates.

    Uses of examples are recorded and their worth is estimated again; the best program becomes the template's next
    version, pending until its evaluation run passes the gates (benchlake gate); demos that the model answered itself
    are offered to the curation queue. `optimize` does this at its end; doing it again changes nothing.

    Example:  benchlake dspy sync latest
    """
    from pipelines.optimization.syncing import settle_templates
    from resources.optimization import sync_run

    installation = open_installation()
    print_sync(sync_run(installation, run, author=author_of(author), clock=now))
    for name in settle_templates(installation.lake, now=now()):
        sys.stdout.write(f"{name} was settled by the gates.\n")


def _read_settings(words: list[str]) -> Any:  # noqa: ANN401 - OptimizerSettings, which is imported late
    from pydantic import ValidationError

    from lake.errors import UserError
    from pipelines.optimization.settings import OptimizerSettings

    given = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"--set {word!r} is not NAME=NUMBER, for instance labeled_demo_count=8.")
        if name not in OptimizerSettings.model_fields:
            raise UserError.unknown("setting of the optimisers", name, OptimizerSettings.model_fields)
        given[name] = value
    try:
        return OptimizerSettings.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        raise UserError(f"--set {problem['loc'][0]}: {problem['msg']} (given: {problem['input']!r}).") from None
