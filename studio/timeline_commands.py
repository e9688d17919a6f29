"""Commands about timelines: where the time of a run went, which part of it got slower, and both as one trace."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from studio.options import FormatOption, JsonOption, open_installation, say

if TYPE_CHECKING:
    from lake.store import Lake
    from pipelines.timelines.listing import TimelineComparison

BaselineArgument = Annotated[str, typer.Argument(metavar="BASELINE", help="Beginning of a run id.")]
CandidateArgument = Annotated[
    str, typer.Argument(metavar="CANDIDATE", help="Beginning of the id of the run beside it.")
]
StepOption = Annotated[
    int | None, typer.Option("--step", help="One iteration alone, by the number that the profiler gave it.")
]

timeline_app = typer.Typer(
    no_args_is_help=True, help="Where the time of runs went, from their spans (silver.spans, gold.timeline_diffs)."
)


def register(app: typer.Typer) -> None:
    """Add the commands of timelines to the command line."""
    app.add_typer(timeline_app, name="timeline")


@timeline_app.command("list")
def list_(form: FormatOption = "table", as_json: JsonOption = False) -> None:
    """List the runs that have a timeline, newest first, with how busy each device was.

    The night sums timelines up; a run that was imported since then has a dash for what is not known yet.

    Example:  benchlake timeline list
    """
    import polars as pl

    from pipelines.timelines.listing import list_timelines
    from studio.rendering import emit

    rows = list_timelines(open_installation().lake)
    form = "json" if as_json else form
    if rows.is_empty() and form == "table":
        say("No run has a timeline yet. Import a trace:  benchlake import trace.json.gz   or run:  benchlake nightly")
        return
    shown = rows.select(
        run=pl.col("run_id").str.head(8),
        date="run_date",
        suite="suite",
        backend="backend",
        device="device",
        spans="span_count",
        wall_ms=pl.col("wall_ns") / 1e6,
        busy=_percent("busy_ns").fill_null("-"),
    )
    emit(shown if form == "table" else rows, form)
    waiting = rows.filter(~pl.col("is_summed_up"))["run_id"].unique(maintain_order=True)
    if waiting.len() and form == "table":
        told = "1 run is" if waiting.len() == 1 else f"{waiting.len()} runs are"
        sys.stdout.write(
            f"{told} not summed up yet; the night does it. Look at one now:  benchlake timeline show {waiting[0][:8]}\n"
        )


@timeline_app.command()
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Beginning of a run id.")],
    step: StepOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Names to show in a table.")] = 20,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Show what a run spent its time on: operators, kernels and phases by their share of the wall time.

    total counts what a name encloses, self does not, wall is what somebody had to wait for it (docs/timelines.md).

    Example:  benchlake timeline show 3fa2
    """
    import polars as pl

    from pipelines.runs.remarks import find_run
    from pipelines.timelines.listing import timeline_of
    from studio.rendering import emit, print_table

    lake = open_installation().lake
    names, devices = timeline_of(lake, find_run(lake, run), step=step)
    form = "json" if as_json else form
    if form != "table":
        emit(names, form)
        return
    milliseconds = {f"{name}_ms": pl.col(f"{name}_ns") / 1e6 for name in ("total", "self", "p50", "p95")}
    print_table(
        names.head(limit).select(
            kind="span_kind",
            name=pl.col("name").str.slice(0, 48),
            count="span_count",
            **milliseconds,
            wall=pl.format("{} %", (100 * pl.col("wall_ratio")).round(1)),
        ),
        title=f"{min(limit, names.height)} of {names.height} names, by share of the wall time",
    )
    print_table(_readable_devices(devices), title="Devices (ms)")


@timeline_app.command()
def diff(
    baseline: BaselineArgument,
    candidate: CandidateArgument,
    step: StepOption = None,
    find_renames: Annotated[
        bool, typer.Option("--renames/--no-renames", help="Take names that are nearly alike for the same thing.")
    ] = True,
    keep_warm_up: Annotated[
        bool, typer.Option("--warm-up/--no-warm-up", help="Count step 0, in which a program warms up, like any other.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="Families and names to show in tables.")] = 8,
    charts: Annotated[
        Path | None, typer.Option("--charts", help="Write waterfall.svg and lanes.svg into this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say how much slower a run is than another, and which part of it: one sentence, then the parts of the sum.

    The shares add up to the difference of the wall times, per step or sample where the runs have them.

    Example:  benchlake timeline diff 3fa2 8c1f --charts pictures/
    """
    from pipelines.runs.remarks import find_run
    from pipelines.timelines.listing import compare_timelines

    lake = open_installation().lake
    before, after = find_run(lake, baseline), find_run(lake, candidate)
    found = compare_timelines(
        lake, baseline=before, candidate=after, step=step, find_renames=find_renames, keep_warm_up=keep_warm_up
    )
    written = [] if charts is None else _write_charts(lake, found, charts, step)
    if as_json:
        sys.stdout.write(_as_json(found) + "\n")
        return
    _print_difference(found, limit=limit)
    for path in written:
        say(f"Wrote {path}")


@timeline_app.command()
def export(
    baseline: BaselineArgument,
    candidate: CandidateArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("timelines.trace.json"),
    step: StepOption = None,
) -> None:
    """Write both timelines as one trace of two processes that begin at 0; open it at https://ui.perfetto.dev.

    Example:  benchlake timeline export 3fa2 8c1f -o both.trace.json
    """
    from pipelines.runs.remarks import find_run
    from pipelines.timelines.listing import spans_of
    from pipelines.timelines.perfetto import TraceSide, merged_trace

    lake = open_installation().lake
    sides = [
        TraceSide(title=f"{side}: {_title(run)}", spans=spans_of(lake, run, step=step))
        for side, run in (("baseline", find_run(lake, baseline)), ("candidate", find_run(lake, candidate)))
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("wb") as stream:
        stream.writelines(merged_trace(sides))
    sys.stdout.write(f"Wrote {output}: {sum(side.spans.height for side in sides)} spans. Open it at ")
    sys.stdout.write("https://ui.perfetto.dev (the file stays on your machine).\n")


def _title(run: dict[str, Any]) -> str:
    return f"{run['suite']} on {run['backend']}, {run['run_id'][:8]}"


def _percent(column: str) -> Any:  # noqa: ANN401 - a Polars expression, whose library is imported late
    import polars as pl

    return pl.format("{} %", (100 * pl.col(column) / pl.col("wall_ns")).fill_nan(0).round(1))


def _readable_devices(devices: Any) -> Any:  # noqa: ANN401 - frames, whose library is imported late
    import polars as pl

    side = ["side"] if "side" in devices.columns else []
    milliseconds = {
        name: (pl.col(f"{name}_ns") / 1e6).round(3) for name in ("busy", "idle", "computation", "communication", "copy")
    }
    hidden = pl.format("{} %", (100 * pl.col("communication_overlap_ratio")).round(1)).fill_null("-")
    return devices.select(*side, "device", **milliseconds, hidden=hidden).rename(
        {"computation": "compute", "communication": "comm."}
    )


def _print_difference(found: TimelineComparison, *, limit: int) -> None:
    import polars as pl

    from pipelines.timelines.telling import contribution_rows, count_words, signed_ms
    from studio.rendering import print_table, printable

    sys.stdout.write(f"{printable(_title(found.baseline))}  ->  {printable(_title(found.candidate))}\n")
    sys.stdout.write(f"{printable(found.answer.sentence)}\n\n")
    parts = contribution_rows(found.answer, limit=limit)
    print_table(
        pl.DataFrame(
            {
                "from": [part.family for part in parts],
                "points": [None if part.points is None else f"{part.points:+.1f}" for part in parts],
                "time": [signed_ms(part.delta_ms) for part in parts],
                "count": [count_words(part) for part in parts],
                "sure": ["yes" if part.is_sure else "" for part in parts],
            },
            schema_overrides={"points": pl.String},
        ),
        title=f"What the difference is made of (points of the baseline's wall time per {found.answer.repeat_kind})",
    )
    names = found.diff.filter(pl.col("alignment") == "name").head(limit)
    interval = pl.format(
        "{} to {}", (pl.col("interval_low_ns") / 1e6).round(3), (pl.col("interval_high_ns") / 1e6).round(3)
    )
    print_table(
        names.select(
            kind="span_kind",
            name=pl.col("name").str.slice(0, 24),
            count=pl.format("{} -> {}", "baseline_count", "candidate_count"),
            change="duration_change",
            wall_ms=(pl.col("wall_delta_ns") / 1e6).round(3),
            interval_ms=interval.fill_null("-"),
        ),
        title="Names that changed most (interval: total duration per repeat, 95 %)",
    )
    gpus = found.devices.filter(pl.col("device") == "gpu")
    if gpus.height:
        print_table(_readable_devices(gpus).drop("device"), title="GPU (ms)")


def _as_json(found: TimelineComparison) -> str:
    from dataclasses import asdict

    import orjson

    answer = found.answer
    value = {
        "baseline_run_id": found.baseline["run_id"],
        "candidate_run_id": found.candidate["run_id"],
        "sentence": answer.sentence,
        "slowdown_ratio": answer.slowdown_ratio,
        **asdict(answer),
        "rows": found.diff.drop("candidate_name_id", "baseline_name_id", "path_digest", strict=False).to_dicts(),
        "devices": found.devices.drop("input_digest").to_dicts(),
    }
    return orjson.dumps(value).decode()


def _write_charts(lake: Lake, found: TimelineComparison, folder: Path, step: int | None) -> list[Path]:
    from pipelines.timelines.charts import lanes_chart, waterfall_chart
    from pipelines.timelines.listing import stretch_to_draw

    folder.mkdir(parents=True, exist_ok=True)
    before, after, stretch = stretch_to_draw(lake, baseline=found.baseline, candidate=found.candidate, step=step)
    title = f"{_title(found.baseline)} -> {_title(found.candidate)}"
    pictures = {
        "waterfall.svg": waterfall_chart(found.answer, title=title),
        "lanes.svg": lanes_chart(before, after, title=f"{title}: {stretch}"),
    }
    for name, svg in pictures.items():
        (folder / name).write_text(svg, encoding="utf-8")
    return [folder / name for name in pictures]
