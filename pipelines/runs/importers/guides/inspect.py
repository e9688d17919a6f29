"""What the docs say about logs of Inspect AI."""

from __future__ import annotations

from pipelines.runs.importers.guide import FieldSource, FormatGuide

GUIDE = FormatGuide(
    title="Inspect AI",
    reads="`.eval` (deflate and zstd) and `.json` logs, finished or not; epochs become repeats",
    versions="0.3.58 to 0.3.285",
    recognised_by="A zip with `header.json` or `_journal/start.json`, or an object with an `eval` that has a `task`.",
    how_to="""\
Point Benchlake at the log folder; either format will do:

```sh
inspect eval arithmetic.py --model openai/gpt-4o-mini --epochs 3 --tags nightly --log-dir logs/
benchlake import logs/
```

`--logprobs --top-logprobs 5`, where the provider gives them, brings in tokens, by which two models can be compared
where they part. Inspect itself need not be installed to import.
""",
    fields=(
        FieldSource(source="eval.eval_id", column="silver.runs.run_id"),
        FieldSource(source="eval.run_id", column="silver.runs.source_run_id", note="shared by tasks started together"),
        FieldSource(source="eval.task", column="silver.runs.suite"),
        FieldSource(
            source="eval.model",
            column="silver.runs.model",
            note="the provider before the slash is the backend and the engine",
        ),
        FieldSource(source="eval.created", column="silver.runs.started_at"),
        FieldSource(source="stats.completed_at", column="silver.runs.ended_at"),
        FieldSource(source="status", column="silver.runs.status"),
        FieldSource(source="error.message", column="silver.runs.error_message"),
        FieldSource(
            source="plan.config, eval.model_args, task_args, config",
            column="silver.run_params.parameter",
            note="generate.*, model_args.*, task_args.*, config.*",
        ),
        FieldSource(source="eval.packages, sandbox", column="silver.runs.environment"),
        FieldSource(source="eval.revision", column="silver.runs.code_version"),
        FieldSource(source="eval.tags, log_updates", column="silver.runs.tags", note="as edited since"),
        FieldSource(
            source="plan.steps; task, data set, scorers; sampling; max_connections",
            column="silver.runs.fingerprint",
            note="as prompt_digest, suite_digest, sampling_digest, concurrency",
        ),
        FieldSource(source="results.scores[].metrics", column="silver.run_metrics.value", note="scorer as variant"),
        FieldSource(source="samples id, epoch", column="silver.outputs.sample_id", note="epoch 1 is repeat 0"),
        FieldSource(source="input, output, target", column="silver.outputs.prompt", note="attachments are put back"),
        FieldSource(
            source="scores",
            column="silver.outputs.scores",
            note="C, I, P, N become 1, 0, 0.5, 0; parts of a composite are named scorer.key; the last edit counts",
        ),
        FieldSource(source="total_time", column="silver.outputs.latency_ms", note="in seconds; the whole sample"),
        FieldSource(
            source="model_usage of the judged model",
            column="silver.outputs.output_token_count",
            note="over all its calls, without models that graded",
        ),
        FieldSource(source="choices[0].logprobs", column="silver.output_tokens.logprobs"),
        FieldSource(
            source="events: span_begin and span_end, step, model, tool, subtask",
            column="silver.spans",
            note="one span for the sample around them; a model call is named generate, its model is an attribute",
        ),
    ),
    surprises=(
        "A log whose header promises more samples than it holds lands with a reject that says so (rule sample_count).",
        "A log that was cancelled, cut or is being written gives the samples that it holds.",
        "A sample that met a time limit is a timeout, one with an error an error: neither is a score of 0.",
        (
            "latency_ms is the time of the whole sample with its tools and waiting; logs before 0.3.60 have the model "
            "call's alone."
        ),
        "Scores that are words other than C, I, P, N stay in the raw record.",
        (
            "Which samples of the data set were taken (`--limit`, `--sample-id`) does not make two runs incomparable: "
            "pairs are made of the samples that both have."
        ),
    ),
)
