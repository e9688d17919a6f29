"""What the docs say about llama.cpp's own files."""

from __future__ import annotations

from pipelines.runs.importers.guide import FieldSource, FormatGuide

GUIDE = FormatGuide(
    title="llama.cpp",
    reads="Answers of the server's `/completion`, results of `llama-bench`, reports of `llama-perplexity`",
    versions="the server of October 2026 (build 11549); older shapes of probabilities and stop reasons are known too",
    recognised_by=(
        "An object with `content` and a field that only this server writes (`stop_type`, `generation_settings`, "
        "`tokens_evaluated`), bare or as the `response` to a `request`; records or a table with `build_commit`, "
        "`n_prompt`, `n_gen` and `avg_ts`; a text with the headings of llama-perplexity."
    ),
    how_to="""\
Keep every request with its answer, one pair a line, and name the sample if it has a name:

```python
import json, httpx

request = {"prompt": "The capital of France is", "n_predict": 16, "temperature": 0, "n_probs": 5,
           "return_tokens": True, "cache_prompt": False}
response = httpx.post("http://127.0.0.1:8080/completion", json=request).json()
with open("answers.jsonl", "a") as file:
    record = {"sample_id": "capital-1", "request": request, "response": response,
              "metadata": {"suite": "capitals", "git_commit": "0123abc"}}
    file.write(json.dumps(record) + "\\n")
```

```sh
benchlake import answers.jsonl
llama-bench -m model.gguf -p 512 -n 128 -d 0,4096 -r 5 -o jsonl > bench.jsonl && benchlake import bench.jsonl
llama-perplexity -m model.gguf --kl-divergence --kl-divergence-base base.kld > kld.txt 2>&1 && benchlake import kld.txt
```

Answers in the shape of OpenAI's interface (`/v1/chat/completions`) are read as that format, timings included. Beside
`response` a record may carry `suite`, `backend`, `engine_version`, `started_at`, `latency_ms`, `tags`, `run_tags`,
`reference` and `scores`.
""",
    fields=(
        FieldSource(source="model, model_filename", column="silver.runs.model", note="of a path its last part"),
        FieldSource(source="metadata.suite, else llama-bench or llama-perplexity", column="silver.runs.suite"),
        FieldSource(source="metadata git_commit, branch, pr", column="silver.runs.code_version"),
        FieldSource(
            source="generation_settings, else the request; cache_prompt",
            column="silver.run_params.value",
            note="those that all answers share; the names of the others as varying",
        ),
        FieldSource(source="generation_settings", column="silver.runs.fingerprint", note="as sampling_digest"),
        FieldSource(
            source="post_sampling_probs", column="silver.runs.fingerprint", note="as logprobs_mode: raw or processed"
        ),
        FieldSource(
            source="sample_id, custom_id, id",
            column="silver.outputs.sample_id",
            note="else a digest of the prompt, so that runs pair",
        ),
        FieldSource(source="request.prompt, else prompt", column="silver.outputs.prompt"),
        FieldSource(source="content", column="silver.outputs.output"),
        FieldSource(source="stop_type", column="silver.outputs.finish_reason", note="eos and word are stop"),
        FieldSource(source="error", column="silver.outputs.error_message", note="status error, or timeout for 504"),
        FieldSource(source="tokens_evaluated", column="silver.outputs.input_token_count"),
        FieldSource(source="tokens_predicted", column="silver.outputs.output_token_count"),
        FieldSource(
            source="timings.prompt_ms + predicted_ms",
            column="silver.outputs.latency_ms",
            note="unless latency_ms is given",
        ),
        FieldSource(source="timings.prompt_ms", column="silver.outputs.time_to_first_token_ms"),
        FieldSource(source="timings.cache_n above 0", column="silver.outputs.tags", note="cached_prompt"),
        FieldSource(source="completion_probabilities, probs", column="silver.output_tokens.logprobs"),
        FieldSource(source="tokens", column="silver.output_tokens.token_ids"),
        FieldSource(
            source="timings of all answers",
            column="silver.run_metrics.value",
            note="input_tokens_per_s, output_tokens_per_s",
        ),
        FieldSource(
            source="llama-bench avg_ts, stddev_ts",
            column="silver.run_metrics.value",
            note="input_, output_ or total_tokens_per_s; the test is the variant: pp512, tg128@d4096",
        ),
        FieldSource(
            source="llama-bench samples_ts", column="silver.run_metrics.repeat_index", note="variant pp512 sample"
        ),
        FieldSource(source="llama-bench avg_ns", column="silver.run_metrics.value", note="wall_time_ms"),
        FieldSource(
            source="model_size, model_n_params",
            column="silver.run_metrics.value",
            note="model_size_bytes, parameter_count",
        ),
        FieldSource(
            source="build_number, build_commit",
            column="silver.runs.engine_version",
            note="b1234-0abc123; the commit is the code_version too",
        ),
        FieldSource(source="cpu_info, gpu_info", column="silver.runs.fingerprint", note="as hardware"),
        FieldSource(source="backends, devices", column="silver.runs.environment"),
        FieldSource(source="every other column of llama-bench", column="silver.run_params.value"),
        FieldSource(
            source="Mean PPL(Q), KLD, Same top p and the like",
            column="silver.run_metrics.value",
            note="perplexity, kl_divergence, same_top_token_ratio, with their errors",
        ),
    ),
    surprises=(
        "With cache_prompt (the default) logits depend on what was asked before: tagged cached_prompt.",
        "The time to the first token is the server's own time for the prompt, without the way there and back.",
        "Tokens that only begin a character have an id and no text: the server reports it with its last token.",
        "With post_sampling_probs probabilities are those after all samplers; never compare them with the others.",
        "The same prompt again is a repeat; the very same answer again counts once.",
        "The answers to several prompts of one request need the request beside them: a bare list on a line is refused.",
        "A piece of a streamed answer is no answer; send `stream: false`.",
        "llama-bench: tests that share build, model and settings are a run. Where settings differ, each has its suite.",
        "Results that are appended to one file night after night are runs each, and keep their ids as it grows.",
        "`-o csv` has no samples; `-o md` and `-o sql` are not read.",
        "Percentages of llama-perplexity are ratios here.",
    ),
)
