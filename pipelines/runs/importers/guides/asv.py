"""What the docs say about asv's result files."""

from __future__ import annotations

from pipelines.runs.importers.guide import FieldSource, FormatGuide

GUIDE = FormatGuide(
    title="asv (airspeed velocity)",
    reads="Result files of `asv run`: a commit in an environment on a machine each",
    versions="asv 0.6.6 and the first version of its result files",
    recognised_by="A JSON object with commit_hash, env_name and results.",
    how_to="""\
Run the benchmarks as usual and import the project's folder, or only its results:

```sh
asv run HEAD~20..HEAD
benchlake import .
benchlake import results/ --json
```

With the project's folder the suite has the name that stands in `asv.conf.json`, and with the folder of results what
is tracked has the unit that `benchmarks.json` says; a result file alone knows neither. `asv run --record-samples`
keeps every sample, from which the deviation is computed.
""",
    fields=(
        FieldSource(source="project of asv.conf.json", column="silver.runs.suite", note="else asv"),
        FieldSource(source="env_name", column="silver.runs.backend"),
        FieldSource(source="commit_hash", column="silver.runs.code_version", note="as commit"),
        FieldSource(
            source="started_at and duration of the benchmarks",
            column="silver.runs.started_at",
            note="and ended_at; the commit's date where a file has no times",
        ),
        FieldSource(source="env_name, python, requirements", column="silver.run_params.value"),
        FieldSource(source="params, env_vars, date", column="silver.runs.environment", note="the date as committed_at"),
        FieldSource(source="params machine, cpu", column="silver.runs.fingerprint", note="as hardware"),
        FieldSource(source="name of the benchmark", column="silver.run_metrics.metric"),
        FieldSource(
            source="combination of params",
            column="silver.run_metrics.variant",
            note="joined with commas, as asv says it",
        ),
        FieldSource(source="result", column="silver.run_metrics.value", note="times in ms, memory in bytes"),
        FieldSource(
            source="stats_ci_99_a, stats_ci_99_b",
            column="silver.run_metrics.standard_error",
            note="half the interval over 2.576; null without bounds",
        ),
        FieldSource(source="samples", column="silver.run_metrics.standard_deviation"),
        FieldSource(source="stats_repeat, else the number of samples", column="silver.run_metrics.sample_count"),
        FieldSource(source="duration, durations", column="silver.run_metrics.value", note="wall_time_ms by benchmark"),
        FieldSource(source="benchmarks that failed", column="silver.runs.error_message"),
    ),
    surprises=(
        "null is a benchmark that failed, NaN a combination that was skipped; neither has a value.",
        "Benchmarks that failed are named in the run; a run whose every benchmark failed has status error.",
        "A run starts when it was measured, not when its commit was made, and its date is that of the measurement.",
        "A history that was measured in one weekend has that weekend's dates; the commits' are in the environment.",
        "Times and memory are better when lower; for what is tracked asv does not say, and the direction is null.",
        "A file that asv adds to, or measures again, updates its run.",
        "A benchmark whose code changed keeps its name; its version is in the raw record.",
        "Quartiles and loop counts stay in the raw record.",
    ),
)
