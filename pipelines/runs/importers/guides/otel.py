"""What the docs say about OpenTelemetry."""

from __future__ import annotations

from pipelines.runs.importers.guide import FieldSource, FormatGuide

GUIDE = FormatGuide(
    title="OpenTelemetry",
    reads="Traces in OTLP's JSON with what they say of models, and the logs and metrics beside them",
    versions=(
        "the GenAI conventions of 2026 and their older names; opentelemetry-instrumentation-genai-openai 1.3 and "
        "opentelemetry-instrumentation-openai 0.62, written by opentelemetry-exporter-otlp-json-file 0.66"
    ),
    recognised_by="An object with `resourceSpans`, `resourceLogs` or `resourceMetrics`: one a line, or one a file.",
    how_to="""\
Let the collector, or the SDK itself, write OTLP as JSON lines. Names that differ in the word for the signal alone are
read together: `app-traces.jsonl`, `app-logs.jsonl`, `app-metrics.jsonl`.

```yaml
# OpenTelemetry Collector
exporters:
  file/traces: {path: app-traces.jsonl}
  file/logs: {path: app-logs.jsonl}
```

```python
from opentelemetry import trace
from opentelemetry.exporter.otlp.json.file import FileSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(FileSpanExporter("app-traces.jsonl")))
trace.set_tracer_provider(provider)
```

```sh
export OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY  # without it there are no prompts and outputs
export OTEL_RESOURCE_ATTRIBUTES="vcs.ref.head.revision=$(git rev-parse HEAD),deployment.environment.name=nightly"
benchlake import app-traces.jsonl
```

A run is one service and the model that it asked. Give a test's spans an attribute `sample_id` where the same sample may
be asked in other words another night; else outputs of two nights pair by their prompts.
""",
    fields=(
        FieldSource(source="service.name, gen_ai.request.model", column="silver.runs", note="a run each"),
        FieldSource(
            source="gen_ai.workflow.name, gen_ai.agent.name", column="silver.runs.suite", note="else service.name"
        ),
        FieldSource(source="gen_ai.provider.name, gen_ai.system", column="silver.runs.backend"),
        FieldSource(source="gen_ai.request.model, else gen_ai.response.model", column="silver.runs.model"),
        FieldSource(
            source="vcs.ref.head.revision, vcs.ref.head.name, vcs.change.id, vcs.repository.url.full",
            column="silver.runs.code_version",
            note="a service.version that is a commit counts too",
        ),
        FieldSource(source="deployment.environment.name", column="silver.runs.tags"),
        FieldSource(source="other attributes of the resource", column="silver.runs.environment"),
        FieldSource(
            source="gen_ai.request.*",
            column="silver.run_params.value",
            note="those that all requests share; the names of the others as varying",
        ),
        FieldSource(source="gen_ai.request.*", column="silver.runs.fingerprint", note="as sampling_digest"),
        FieldSource(source="every span", column="silver.spans", note="exact nanoseconds from the first span's start"),
        FieldSource(source="gen_ai.operation.name, else the kind", column="silver.spans.category"),
        FieldSource(source="service.name", column="silver.spans.process"),
        FieldSource(
            source="attributes, events, status.message",
            column="silver.spans.attributes",
            note="without the messages, which are in silver.outputs",
        ),
        FieldSource(
            source="spans of chat, text_completion, generate_content", column="silver.outputs", note="one an answer"
        ),
        FieldSource(
            source="sample_id, sample.id, test.case.name",
            column="silver.outputs.sample_id",
            note="else a digest of the prompt, else the span's id",
        ),
        FieldSource(
            source="gen_ai.system_instructions, gen_ai.input.messages",
            column="silver.outputs.prompt",
            note="or gen_ai.prompt, gen_ai.prompt.N.content, message events, logs",
        ),
        FieldSource(
            source="gen_ai.output.messages",
            column="silver.outputs.output",
            note="or gen_ai.completion, gen_ai.choice; a call of a tool as JSON",
        ),
        FieldSource(source="gen_ai.response.finish_reasons", column="silver.outputs.finish_reason"),
        FieldSource(
            source="gen_ai.usage.input_tokens, prompt_tokens",
            column="silver.outputs.input_token_count",
            note="and output_token_count",
        ),
        FieldSource(source="endTimeUnixNano - startTimeUnixNano", column="silver.outputs.latency_ms"),
        FieldSource(
            source="gen_ai.response.time_to_first_chunk",
            column="silver.outputs.time_to_first_token_ms",
            note="seconds in the source; else the first event of a chunk",
        ),
        FieldSource(
            source="status, error.type, exception.message",
            column="silver.outputs.status",
            note="error, timeout or cancelled, with error_message",
        ),
        FieldSource(source="event gen_ai.evaluation.result", column="silver.outputs.scores"),
        FieldSource(
            source="metrics gen_ai.client.operation.duration, time_to_first_chunk; gen_ai.server.*",
            column="silver.run_metrics.value",
            note="latency_ms, time_to_first_token_ms, time_per_output_token_ms: mean, min, max",
        ),
        FieldSource(
            source="metric gen_ai.client.token.usage",
            column="silver.run_metrics.value",
            note="input_token_count, output_token_count",
        ),
    ),
    surprises=(
        "Traces that have nothing to do with models land as spans of a run whose backend and model are unknown.",
        "Spans without a model belong to their service's one model; where it asked several, to a run of their own.",
        "Instrumentations keep prompts and outputs only when told to; without them outputs have latencies alone.",
        "Two instrumentations on one client (a framework's and the client's own) give two outputs for one request.",
        "A failed request has no latency: it would be how long failing took.",
        "An evaluation finds its output by the id of the response, of its span, or of its span's parent.",
        "An operation that was logged but whose span was not kept is an output without latency.",
        "The same span twice, as retries of an exporter give, counts once.",
        "Embeddings, tools and agents are spans, not outputs.",
        "Means of metrics are over the process's life; min and max of totals are what the last export says.",
        "An evaluation without a number (a label alone) stays in the raw record.",
        "Spans in one object over many lines are read one by one, so such a file may be large.",
    ),
)
