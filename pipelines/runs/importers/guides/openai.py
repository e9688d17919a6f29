"""What the docs say about requests and responses of OpenAI-compatible servers."""

from __future__ import annotations

from pipelines.runs.importers.guide import FieldSource, FormatGuide

GUIDE = FormatGuide(
    title="OpenAI-compatible requests and responses",
    reads="Chat, completions and Responses API bodies: pairs, batch files, bare responses, streams",
    versions="The API as vLLM, llama.cpp's server and OpenAI speak it in 2026",
    recognised_by=(
        "A record with `choices` (or `output`) as such a response has them, alone or under `response` beside its "
        "`request`; a line of a batch with `custom_id`; chunks of a stream."
    ),
    how_to="""\
Keep the request beside the response, one pair a line, because a response alone says neither what was asked nor how:

```python
import json, time

def ask(client, sample_id, **request):
    began = time.time()
    response = client.chat.completions.create(**request)
    pair = {
        "sample_id": sample_id,
        "suite": "capitals",
        "backend": "staging",
        "started_at": began,
        "latency_ms": (time.time() - began) * 1000,
        "request": request,
        "response": response.model_dump(),
    }
    with open("pairs.jsonl", "a") as file:
        file.write(json.dumps(pair) + "\\n")
```

```sh
benchlake import pairs.jsonl
```

The bodies may lie in HTTP envelopes (`{"url", "headers", "body"}`, `{"status_code", "body"}`), a body may be text, and
a streamed response may be the list of its chunks or the text of the event stream. Times are read from `latency_ms`,
`latency_s`, `time_to_first_token_ms` and their synonyms with a unit in the name, or from `started_at` and `ended_at`.
`metadata` may carry `git_commit`, `branch`, `pr`.

The files of one batch belong together when their names differ in `input`, `output` and `error` alone:

```sh
benchlake import night_input.jsonl night_output.jsonl night_error.jsonl
curl -s http://127.0.0.1:8000/v1/chat/completions -d @request.json > response.json && benchlake import response.json
```
""",
    fields=(
        FieldSource(source="request.model, else response.model", column="silver.runs.model", note="a run each"),
        FieldSource(source="suite, task, dataset", column="silver.runs.suite", note="of the record or its metadata"),
        FieldSource(source="backend, else the host of url or base_url", column="silver.runs.backend"),
        FieldSource(
            source="system_fingerprint",
            column="silver.runs.engine_version",
            note="llama.cpp's and vLLM's; others are kept in environment",
        ),
        FieldSource(
            source="settings of the request", column="silver.run_params.value", note="those all requests share"
        ),
        FieldSource(source="sampling settings", column="silver.runs.fingerprint", note="as sampling_digest"),
        FieldSource(source="metadata git_commit, branch, pr", column="silver.runs.code_version"),
        FieldSource(
            source="custom_id, sample_id, id",
            column="silver.outputs.sample_id",
            note="else a digest of the prompt, else the place in the file",
        ),
        FieldSource(source="request messages, prompt, input", column="silver.outputs.prompt"),
        FieldSource(source="choices, several as repeats", column="silver.outputs.output", note="a tool call as JSON"),
        FieldSource(source="error, status_code", column="silver.outputs.status"),
        FieldSource(source="choices.finish_reason", column="silver.outputs.finish_reason"),
        FieldSource(source="usage", column="silver.outputs.input_token_count", note="and output_token_count"),
        FieldSource(
            source="latency_ms and synonyms, else llama.cpp's timings",
            column="silver.outputs.latency_ms",
            note="of answered requests alone",
        ),
        FieldSource(
            source="time_to_first_token_ms, else timings.prompt_ms", column="silver.outputs.time_to_first_token_ms"
        ),
        FieldSource(source="choices.logprobs", column="silver.output_tokens.logprobs", note="chat and completions"),
        FieldSource(source="logprobs.content.bytes", column="silver.output_tokens.token_bytes"),
        FieldSource(source="choices.token_ids, ids beside tokens", column="silver.output_tokens.token_ids"),
        FieldSource(source="top_logprobs", column="silver.output_tokens.top_k"),
        FieldSource(source="reference, scores, tags", column="silver.outputs.scores", note="where a record has them"),
    ),
    surprises=(
        "Ids that a server makes up (chatcmpl-..., UUIDs) name no sample: the prompt's digest does, so runs pair.",
        "The same response twice counts once; the same prompt with another response is a repeat.",
        "A plain `latency` may be seconds or milliseconds; it stays in the raw record.",
        "A sample whose settings differ from the run's first is tagged with them; the parameter varying names them.",
        "A stream that ends without a finish reason is cancelled, and what came of it is kept.",
        "The prompt that a completion echoed is left out of its tokens, and of its output where the request is known.",
        "Requests that failed keep no latency: it would be how long failing took.",
        "Reasoning and prompt_logprobs stay in the raw record.",
        "A token that vLLM names by its id (token_id:42) has that id and no bytes.",
        "Raw or processed logprobs is a flag of the server: record it as `logprobs_mode` beside the request.",
    ),
)
