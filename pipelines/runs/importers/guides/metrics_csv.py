"""What the docs say about CSV files of metrics."""

from __future__ import annotations

from pipelines.runs.importers.guide import FieldSource, FormatGuide

GUIDE = FormatGuide(
    title="CSV of metrics",
    reads="Training curves, histories of benchmarks (as Apache Otava reads them) and lists of metric and value",
    versions="Comma, semicolon or tab; tried with the sample tables of Apache Otava",
    recognised_by=(
        "A header of different names, rows of its width, a column of numbers, and a column that says when, at which "
        "step, of which run or of which commit; or the columns metric and value. Tables of people are nobody's."
    ),
    how_to="""\
Three kinds of table are read, told apart by their columns.

A curve has a step (`step`, `global_step`, `iteration`, `epoch`). It is one run, or one a value of `run_id`:

```csv
step,train_loss,val_loss,time
0,2.31,,2026-03-01T10:00:00Z
100,1.87,1.92,2026-03-01T10:05:00Z
```

A history has a time or a commit and no step. Each row is a run; columns of words are its parameters:

```csv
time,commit,branch,p99 latency (ms),output_tokens_per_s,host
2026-03-01 10:00:00 +0000,c0ffee,main,81.5,1210,box-1
```

A list names the metric in each row. It is one run, one a `run_id`, or one a commit:

```csv
run_id,metric,value,unit,variant,step
nightly-17,latency,0.25,s,p99,0
nightly-17,accuracy,0.81,,mmlu,0
```

```sh
benchlake import curve.csv history.csv metrics/
```

A unit in a header (`latency_ms`, `latency (s)`, `peak memory [MiB]`) is understood where the metric is known: see
docs/metrics.md. A name that is not known stays as it is, with the unit that it says.
""",
    fields=(
        FieldSource(
            source="run_id, run, run_name",
            column="silver.runs.run_id",
            note="derived; without one from the suite, time, commit and settings, or for a curve from its first row",
        ),
        FieldSource(source="suite, task, benchmark", column="silver.runs.suite", note="else the file's name"),
        FieldSource(source="model, backend, engine, engine_version", column="silver.runs.model", note="and the like"),
        FieldSource(
            source="time, timestamp, date, created_at, ...",
            column="silver.runs.started_at",
            note="and silver.run_metrics.recorded_at; year first, or an epoch",
        ),
        FieldSource(source="commit, branch, pr, repo, dirty", column="silver.runs.code_version"),
        FieldSource(source="columns of words, and seed, batch_size, ...", column="silver.run_params.value"),
        FieldSource(source="step, global_step, iteration, epoch", column="silver.run_metrics.step"),
        FieldSource(source="columns of numbers; metric and value", column="silver.run_metrics.value"),
        FieldSource(source="p99, mean, train, val in a name; variant", column="silver.run_metrics.variant"),
        FieldSource(source="unit, or the header", column="silver.run_metrics.unit"),
        FieldSource(
            source="stderr, std, n, higher_is_better, repeat",
            column="silver.run_metrics.standard_error",
            note="and the other columns of the same names, in lists alone",
        ),
    ),
    surprises=(
        "A row of another width is refused by its line; a quote that is never closed costs one row and no more.",
        "Empty cells, n/a and null are no value. NaN and words where numbers stand are refused cell by cell.",
        "With semicolons or tabs, 1,5 is a number.",
        "Times without an offset are read as UTC. Dates that do not begin with the year are not guessed.",
        "The same metric at the same step again is refused; different columns may share a step, as Lightning writes.",
        "A history that grows keeps its rows as the runs they are, also when a value is corrected.",
        "A curve without a column for its run is known by its first row: it stays the same run while the file grows.",
        "Which columns are metrics is decided from the first hundred rows.",
        "Files of llama-bench and histogram logs are not read as this.",
    ),
)
