"""What the docs say about results of vLLM's serving benchmark."""

from __future__ import annotations

from pipelines.runs.importers.guide import FieldSource, FormatGuide

GUIDE = FormatGuide(
    title="vLLM serving benchmark",
    reads="Results of `vllm bench serve`, plain, detailed, appended, and their PyTorch form",
    versions="vLLM 0.25.1; older names such as `request_goodput:` are known too",
    recognised_by=(
        "An object with a target (`backend` or `endpoint_type`), traffic (`request_rate`, `burstiness` or "
        "`request_throughput`) and counts (`num_prompts` or `completed`); or a list of `benchmark` and `metric` pairs."
    ),
    how_to="""\
Save the result, and pass what identifies the code as metadata:

```sh
vllm bench serve --model facebook/opt-125m --num-prompts 200 --max-concurrency 8 \\
  --percentile-metrics ttft,tpot,itl,e2el --metric-percentiles 50,95,99 \\
  --metadata git_commit=$(git rev-parse HEAD) branch=$(git branch --show-current) gpu=L4 tags=nightly,serving \\
  --save-result --save-detailed --append-result --result-filename serving.json
benchlake import serving.json
```

`--label` names the suite. With `--save-detailed` every request becomes an output, so that latencies can be compared
request by request. `--append-result` adds to the file, and importing it again brings in what is new. Without
`--append-result` each result is a file of its own; point `benchlake import` at the folder.
""",
    fields=(
        FieldSource(source="label, else dataset_name", column="silver.runs.suite"),
        FieldSource(
            source="backend, else endpoint_type", column="silver.runs.backend", note="the tool's request function"
        ),
        FieldSource(source="model_id", column="silver.runs.model"),
        FieldSource(
            source="date, duration",
            column="silver.runs.started_at",
            note="the date is when it ended, in local time, read as UTC",
        ),
        FieldSource(
            source="request_rate, burstiness, ramp_up_*, num_prompts",
            column="silver.runs.fingerprint",
            note="as suite_digest",
        ),
        FieldSource(
            source="tokenizer_id, max_concurrency",
            column="silver.runs.fingerprint",
            note="as tokenizer and concurrency",
        ),
        FieldSource(
            source="metadata git_commit, branch, pr, dirty, repo",
            column="silver.runs.code_version",
            note="and their synonyms",
        ),
        FieldSource(source="metadata gpu, hardware, device", column="silver.runs.fingerprint", note="as hardware"),
        FieldSource(source="metadata engine_version, vllm_version", column="silver.runs.engine_version"),
        FieldSource(source="metadata tags", column="silver.runs.tags", note="separated by commas"),
        FieldSource(source="any other scalar", column="silver.run_params.value"),
        FieldSource(
            source="mean, median, std and p* of ttft, tpot, itl, e2el",
            column="silver.run_metrics.value",
            note="time_to_first_token_ms, time_per_output_token_ms, inter_token_latency_ms, latency_ms; "
            "the statistic is the variant",
        ),
        FieldSource(source="duration", column="silver.run_metrics.value", note="runtime_ms"),
        FieldSource(
            source="completed, failed", column="silver.run_metrics.value", note="completed_count, failed_count"
        ),
        FieldSource(
            source="*_throughput, request_goodput",
            column="silver.run_metrics.value",
            note="requests_per_s and the tokens_per_s",
        ),
        FieldSource(
            source="latencies, else ttfts and itls", column="silver.outputs.latency_ms", note="seconds in the file"
        ),
        FieldSource(source="ttfts", column="silver.outputs.time_to_first_token_ms", note="seconds in the file"),
        FieldSource(source="generated_texts", column="silver.outputs.output"),
        FieldSource(source="errors", column="silver.outputs.status", note="empty is ok; the text is the error_message"),
        FieldSource(
            source="input_lens, output_lens", column="silver.outputs.input_token_count", note="and output_token_count"
        ),
        FieldSource(
            source="start_times", column="silver.outputs.started_at", note="the first stands for the start of the run"
        ),
    ),
    surprises=(
        "When every request failed, the file has medians of 0.0 ms. They are no measurements and do not land.",
        "Such a run has status error and only its counts and rates.",
        "A statistic whose every value is 0.0 was not measured (no streaming, one token an answer) and is left out.",
        "Aggregates are in milliseconds and the arrays in seconds; everything lands in milliseconds.",
        "Prompts are not in the file, so requests pair by their place; use the same seed and dataset on both sides.",
        "A request that one of the arrays does not reach is refused by itself.",
        "The gaps between tokens of every request stay in the raw record; their statistics are inter_token_latency_ms.",
        "Since some release temperature is no longer forced to 0; `--metadata temperature=0` records what was set.",
        "A `.pytorch.json` file beside its result says the same again and makes no second run.",
    ),
)
