"""What the docs say about MLflow's stores."""

from __future__ import annotations

from pipelines.runs.importers.guide import FieldSource, FormatGuide

GUIDE = FormatGuide(
    title="MLflow",
    reads="Runs and traces of a tracking database (`mlflow.db`) or a file store (`mlruns/`), without MLflow",
    versions="MLflow 3.18; databases of earlier revisions give the tables and columns that they have",
    recognised_by=(
        "An SQLite file with the tables experiments, runs, metrics, params and tags; in a folder, a meta.yaml that "
        "describes a run. The other files of such a folder belong to its run by where they lie."
    ),
    how_to="""\
Point the import at the database, at a whole store, or at one run of it:

```sh
mlflow server --backend-store-uri sqlite:///mlflow.db
benchlake import mlflow.db
benchlake import mlruns/
benchlake import mlruns/304943661540303913/78002d71b83f436f98e1fe7096a6f027
```

Nothing is written, and the server may go on working: what a run logs later comes in with the next import. So that runs
can be filtered and gated by their code, let MLflow find the repository, or say it yourself:

```python
with mlflow.start_run(tags={"mlflow.source.git.branch": "main", "pull_request": "17", "nightly": ""}):
    mlflow.log_params({"model": "tiny", "backend": "vllm", "temperature": 0})
    mlflow.log_metric("val/loss", 0.41, step=100)
```

Import a store as a whole (its experiments' folders included), or the experiments' names are not known.
""",
    fields=(
        FieldSource(source="runs.run_uuid, run_id of meta.yaml", column="silver.runs.run_id"),
        FieldSource(
            source="name of the experiment", column="silver.runs.suite", note="its id where the name is absent"
        ),
        FieldSource(
            source="parameter or tag model, model_name, model_id, base_model",
            column="silver.runs.model",
            note="else the model that the run's traces name",
        ),
        FieldSource(source="parameter or tag backend, provider", column="silver.runs.backend"),
        FieldSource(source="parameter or tag engine, engine_version", column="silver.runs.engine"),
        FieldSource(source="start_time, end_time", column="silver.runs.started_at", note="and ended_at; milliseconds"),
        FieldSource(
            source="status",
            column="silver.runs.status",
            note="1 and 2 are started, 3 success, 4 error, 5 cancelled; a database has the words",
        ),
        FieldSource(source="lifecycle_stage deleted", column="silver.runs.tags", note="as the tag deleted"),
        FieldSource(source="tags of your own", column="silver.runs.tags", note="as name=value; the name if it is true"),
        FieldSource(
            source="mlflow.source.git.commit, branch, dirty, repoURL",
            column="silver.runs.code_version",
            note="else tags and parameters such as git_commit, pull_request",
        ),
        FieldSource(
            source="mlflow.runName, note.content, parentRunId, user, source.name", column="silver.runs.environment"
        ),
        FieldSource(source="inputs and their datasets", column="silver.runs.fingerprint", note="as suite_digest"),
        FieldSource(
            source="temperature, top_p, top_k, max_tokens, seed",
            column="silver.runs.fingerprint",
            note="as sampling_digest",
        ),
        FieldSource(source="params", column="silver.run_params.value"),
        FieldSource(
            source="metrics",
            column="silver.run_metrics.value",
            note="val/loss is loss with the variant val; a name that is not known stays as it is",
        ),
        FieldSource(source="step", column="silver.run_metrics.step"),
        FieldSource(source="timestamp", column="silver.run_metrics.recorded_at"),
        FieldSource(
            source="several values of one step",
            column="silver.run_metrics.repeat_index",
            note="from 0, in the order of their timestamps",
        ),
        FieldSource(
            source="compare/<baseline>/<scorer>/diff, p_value, ...",
            column="silver.run_metrics.metric",
            note="compare/<scorer>/diff; the baseline is the variant",
        ),
        FieldSource(source="end_time - start_time", column="silver.run_metrics.value", note="runtime_ms"),
        FieldSource(source="a trace's inputs", column="silver.outputs.prompt", note="and, as a digest, sample_id"),
        FieldSource(source="a trace's outputs, else its preview", column="silver.outputs.output"),
        FieldSource(source="state, status", column="silver.outputs.status", note="OK is ok, ERROR is error"),
        FieldSource(source="execution_time_ms, execution_duration_ms", column="silver.outputs.latency_ms"),
        FieldSource(
            source="input_tokens, output_tokens, mlflow.trace.tokenUsage",
            column="silver.outputs.input_token_count",
            note="and output_token_count",
        ),
        FieldSource(source="feedback", column="silver.outputs.scores", note="yes, true and pass are 1; words are tags"),
        FieldSource(source="expectations", column="silver.outputs.reference", note="expected_response first"),
        FieldSource(source="spans", column="silver.spans.name"),
        FieldSource(
            source="total_cost", column="silver.run_metrics.value", note="cost_usd, over all traces of the run"
        ),
    ),
    surprises=(
        "NaN and infinite values are no measurements and do not land; each metric that has some is named as a reject.",
        "A trace belongs to the run that was open when it was recorded, or that it was put to later.",
        "The other traces are one run an experiment and UTC day, with the tag traces.",
        "Trace ids are new in every run, so a sample is known by what was asked.",
        "The same question in two runs is a pair, and asked twice in one run it is a repeat.",
        "A trace in progress has no output yet; it comes with the import after its end.",
        "Spans that a server keeps as artifacts are not in its database, and its traces come without them.",
        "Of feedback with one name and source the last counts; names that several sources use end with the source.",
        "Where metrics are gone and only their last values are left, those are read.",
        "Deleted runs are imported, with the tag deleted, because a gate may have been judged by them.",
        "Metrics and parameters of logged models, registered models and evaluation datasets are not read.",
        "New rows in a database's log (`-wal`) are read, but only a change of the database itself is noticed.",
        "A run's folder that is imported alone does not know its experiment's name; its suite is then the id.",
    ),
)
