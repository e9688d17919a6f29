"""What the docs say about promptfoo's output files."""

from __future__ import annotations

from pipelines.runs.importers.guide import FieldSource, FormatGuide

GUIDE = FormatGuide(
    title="promptfoo",
    reads="`promptfoo eval --output`: JSON of versions 2 and 3, and JSON lines of results",
    versions="promptfoo 0.121.20 and files of 2024 and 2025 (versions 2 and 3 of its results)",
    recognised_by=(
        "An object whose `results` have a `version`, or whose `evalId` begins with `eval-`; a line with a `prompt` and "
        "three or more of `gradingResult`, `namedScores`, `failureReason`, `promptIdx`, `testIdx`, `testCase`."
    ),
    how_to="""\
Write JSON, and put what identifies the code into the configuration's metadata, since promptfoo keeps no commit:

```yaml
# promptfooconfig.yaml
description: capitals
tags: {nightly: ""}
metadata:
  git_commit: "{{env.GITHUB_SHA}}"
  branch: "{{env.GITHUB_REF_NAME}}"
prompts: ["Capital of {{country}}?"]
providers:
  - id: openai:chat:gpt-4o-mini
    config: {temperature: 0, max_tokens: 50}
tests:
  - vars: {country: Peru}
    assert: [{type: contains, value: Lima}]
```

```sh
promptfoo eval --no-cache --output results.json
benchlake import results.json
```

`--output results.jsonl` works too, but holds results alone: no description, tags or date. Use `--no-cache` for
latencies that mean something, and `--repeat 5` to see how much answers vary.
""",
    fields=(
        FieldSource(
            source="a provider with a prompt (prompts[i], promptIdx)",
            column="silver.runs.run_id",
            note="from evalId and promptIdx; of JSON lines, from the file's content",
        ),
        FieldSource(source="config.description", column="silver.runs.suite"),
        FieldSource(source="provider.label, else provider.id", column="silver.runs.backend"),
        FieldSource(source="provider.id without vendor and call", column="silver.runs.model"),
        FieldSource(source="metadata.evaluationCreatedAt, results.timestamp", column="silver.runs.started_at"),
        FieldSource(
            source="config.providers[].config, evaluateOptions, runtimeOptions", column="silver.run_params.value"
        ),
        FieldSource(
            source="config.tests, prompt.raw, provider settings",
            column="silver.runs.fingerprint",
            note="as suite_digest, prompt_digest, sampling_digest",
        ),
        FieldSource(
            source="config.metadata, config.tags", column="silver.runs.code_version", note="git_commit and such"
        ),
        FieldSource(source="config.tags", column="silver.runs.tags", note="`name=value`, or the name alone"),
        FieldSource(source="testIdx", column="silver.outputs.sample_id", note="less the repetitions before it"),
        FieldSource(source="the same test again", column="silver.outputs.repeat_index"),
        FieldSource(source="prompt.raw", column="silver.outputs.prompt"),
        FieldSource(source="response.output", column="silver.outputs.output", note="an object as JSON"),
        FieldSource(source="value of equals, similar, factuality, ...", column="silver.outputs.reference"),
        FieldSource(source="failureReason, else success and error", column="silver.outputs.status"),
        FieldSource(source="error", column="silver.outputs.error_message", note="also why an assertion failed"),
        FieldSource(source="latencyMs", column="silver.outputs.latency_ms", note="null when cached or failed"),
        FieldSource(source="tokenUsage", column="silver.outputs.input_token_count", note="and output_token_count"),
        FieldSource(
            source="score, namedScores, componentResults",
            column="silver.outputs.scores",
            note="components as assert.<type>",
        ),
        FieldSource(source="cached, isRefusal, testCase.metadata", column="silver.outputs.tags"),
        FieldSource(source="response.raw logprobs", column="silver.output_tokens.logprobs", note="where raw has them"),
        FieldSource(
            source="prompts[].metrics",
            column="silver.run_metrics.value",
            note="pass_ratio, score, counts, tokens, cost_usd",
        ),
        FieldSource(source="traces[].spans[]", column="silver.spans.name"),
    ),
    surprises=(
        "`success: false` mixes failed assertions with errors; failureReason tells them apart. An error has no score.",
        "A cached answer has a latency of a few milliseconds that means nothing: it is null, and the sample is tagged.",
        "promptfoo counts a repetition as a test of its own; here it is a repeat, so runs with and without pair.",
        "Tests are known by their place: with tests added in front, prompts no longer match, and a comparison says so.",
        "A header may sum up more results than the file holds; that is named in the rejects, and both are kept.",
        "The mean score leaves errors out, which promptfoo adds as 0.",
        "A version that is not known yet is read as far as it is like version 3, and the rejects name it.",
        "`logProbs` are numbers without tokens; they stay in the raw record.",
        "A test without assertions has score 1, as promptfoo writes it.",
    ),
)
