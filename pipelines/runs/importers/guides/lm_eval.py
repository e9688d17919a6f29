"""What the docs say about results and samples of lm-evaluation-harness."""

from __future__ import annotations

from pipelines.runs.importers.guide import FieldSource, FormatGuide

GUIDE = FormatGuide(
    title="lm-evaluation-harness",
    reads="`results_*.json` and `samples_*.jsonl` of one invocation together; one run per task",
    versions="0.4.13; sample rows of older versions (lists for requests, no list of metrics) are known too",
    recognised_by=(
        "A results object (`results` with `configs`, `n-shot`, `versions` or the like), or a line with `doc_id` and "
        "`arguments`, `resps` or `filtered_resps`."
    ),
    how_to="""\
Ask for the samples, and give the files a folder:

```sh
lm_eval --model hf --model_args pretrained=HuggingFaceTB/SmolLM2-135M-Instruct \\
  --tasks gsm8k,arc_easy --limit 100 --log_samples --output_path results/
benchlake import results/
```

Naming one file of an invocation brings in the others beside it. Without `--log_samples` there are metrics and no
outputs, so that nothing can be compared answer by answer.
""",
    fields=(
        FieldSource(source="the task", column="silver.runs.suite", note="one run per task, groups included"),
        FieldSource(
            source="folder, date id and task",
            column="silver.runs.run_id",
            note="of a file that was renamed its content",
        ),
        FieldSource(source="model_source", column="silver.runs.backend", note="hf, vllm, local-completions, ..."),
        FieldSource(
            source="model_args pretrained, model, path, ...",
            column="silver.runs.model",
            note="else model_name, which is random where no argument names the model",
        ),
        FieldSource(source="date", column="silver.runs.started_at", note="else the date id, read as UTC"),
        FieldSource(source="total_evaluation_time_seconds", column="silver.runs.ended_at"),
        FieldSource(
            source="config, generation_kwargs, num_fewshot, repeats",
            column="silver.run_params.parameter",
            note="config.* and task.*",
        ),
        FieldSource(source="git_hash", column="silver.runs.code_version", note="as commit"),
        FieldSource(source="pretty_env_info, transformers_version, lm_eval_version", column="silver.runs.environment"),
        FieldSource(
            source="doc_to_text, description, few-shot settings",
            column="silver.runs.fingerprint",
            note="as prompt_digest; the data set, metrics and version as suite_digest",
        ),
        FieldSource(source="n-samples.effective", column="silver.runs.expected_sample_count"),
        FieldSource(source="doc_id", column="silver.outputs.sample_id"),
        FieldSource(
            source="arguments",
            column="silver.outputs.prompt",
            note="of a multiple choice the context, without the choices",
        ),
        FieldSource(
            source="resps",
            column="silver.outputs.output",
            note="of a multiple choice the text of the choice with the highest log-probability; repeats are rows",
        ),
        FieldSource(source="target", column="silver.outputs.reference", note="an index becomes its choice's text"),
        FieldSource(
            source="the metrics of a row",
            column="silver.outputs.scores",
            note="with several filters `metric,filter`",
        ),
        FieldSource(
            source="results `metric,filter`",
            column="silver.run_metrics.value",
            note="the filter is the variant, `metric_stderr` the standard error, higher_is_better the direction",
        ),
    ),
    surprises=(
        "Sample rows are one per document and filter; the rows of a document become one output.",
        "The results may cover more tasks than there are samples files: such runs have metrics and no outputs.",
        "A samples file alone is a run with status `started`, as of a harness that has not written its results.",
        "The harness records neither latencies nor token counts; these columns are null.",
        "The answer is what the model gave (`resps`), before any filter; the scores are of what the filter left.",
        "Scores that are lists or objects belong to corpus metrics and stay in the raw record.",
        "Log-probabilities of choices stay in the raw record: they are sums over a choice, not of tokens.",
    ),
)
