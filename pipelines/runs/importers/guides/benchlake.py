"""What the docs say about Benchlake's own run file; the field tables are made from its declaration."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.runs.importers.guide import FieldSource, FormatGuide
from pipelines.runs.run_format import LINES, PARTS
from pipelines.runs.run_schema import describe_fields

_HEADINGS = {
    "run": "First line: the run",
    "output": "Then, in any order: outputs",
    "metric": "metrics",
    "param": "parameters",
    "span": "spans",
    "end": "Last line: the end",
}


_INTRODUCTION = """\
One JSON object a line, in UTF-8. A field that is not needed may be left out or be null where you do not know it. Other
keys are allowed and kept in the raw record. The same as a JSON Schema (draft 2020-12), for one line:
[benchlake-run-1.schema.json](../schemas/benchlake-run-1.schema.json), or `benchlake schema run`.
"""


def _reference() -> str:
    """The field tables of every line and of the objects in them."""
    parts = [_INTRODUCTION]
    for kind, model in LINES.items():
        heading = _HEADINGS[kind]
        parts.append(f'### {heading[0].upper()}{heading[1:]}, `"type": "{kind}"`\n')
        parts.extend(_table(model))
    for name, model in PARTS.items():
        parts.append(f"### Inside `{name}`\n")
        parts.extend(_table(model))
    return "\n".join(parts)


def _table(model: type) -> Iterator[str]:
    yield "| field | allowed | unit | needed | meaning |"
    yield "|---|---|---|---|---|"
    for field in describe_fields(model):
        needed = "yes" if field.is_needed else ""
        yield f"| `{field.name}` | {field.allowed} | {field.unit} | {needed} | {field.description} |"
    yield ""


GUIDE = FormatGuide(
    title="Benchlake run file",
    reads="JSON lines, one run a file: outputs, metrics, parameters, spans",
    versions="schema_version 1",
    recognised_by="A JSON line whose `type` is run, output, metric, param, span or end, with what that type needs.",
    how_to="""\
**From Python.** Nothing else is needed to bring in runs of your own program:

```python
import benchlake

lake = benchlake.open_lake()
with lake.start_run(suite="support", backend="my-model", model="my-model-v2", parameters={"temperature": 0}) as run:
    run.log_output("q1", prompt="2 + 2?", output="4", reference="4", scores={"exact_match": 1.0}, latency_ms=812)
    run.log_metric("loss", 0.31, step=10)
```

Leaving the block ends the run (`error` with the exception's message if it raised, `cancelled` for Ctrl-C) and imports
it; then `lake.sql("select ...")` and `benchlake runs` see it.

| call | what it logs |
|---|---|
| `run.log_output(sample_id, ...)` | what came back for a sample: texts, scores, times, tokens, status |
| `run.log_metric(name, value, step=...)` | a number; unit and direction of [known names](../metrics.md) are known |
| `run.log_params({...}, units={...})` | settings that were not known at the start |
| `run.log_model(size_bytes=..., parameter_count=...)` | how large the model is |
| `with run.measure("prefill"):` | wall_time_ms and cpu_time_ms of the block, and a span |
| `run.count_fallback("flash_attention -> math")` | fallback_count, summed up and written at the end |
| `run.log_span(name, start_ns=..., duration_ns=...)` | an interval of a trace |

Where the program has loaded torch and it has an accelerator, `measure` also gives gpu_time_ms and peak_memory_bytes.
runtime_ms is written at the end. Commit, branch, pull request, dirty flag and repository URL are read from git and the
CI system's variables; `code_version={"commit": ...}` says otherwise. A wrong type is refused at the call with what is
allowed, and so is a number that is not finite.

Each line reaches the operating system before the call returns. The file stands in the landing folder from the start;
while its process lives no import of that folder reads it, and if the process is killed the next import takes in what
is there, with status `started`. Give a `run_id` of your own to go on with a killed run: `run.has_output("q1")` tells
what is logged already. A run that has ended goes on with `resume=True` only, and always with the suite, backend, model
and commit that it began with.

**From anything else.** Write the file below, one object a line, and import it:

```sh
printf '%s\\n' \\
  '{"type": "run", "suite": "support", "backend": "my-model", "model": "my-model-v2"}' \\
  '{"type": "output", "sample_id": "q1", "prompt": "2 + 2?", "output": "4", "scores": {"exact_match": 1}}' \\
  '{"type": "end", "status": "success"}' > run.jsonl
benchlake import run.jsonl
```
""",
    fields=(
        FieldSource(source="run: run_id", column="silver.runs.run_id", note="else derived from the content"),
        FieldSource(source="run: suite, backend, model", column="silver.runs.suite", note="and so on by name"),
        FieldSource(source="run: started_at", column="silver.runs.started_at", note="else the file's own time"),
        FieldSource(source="run: parameters; param lines", column="silver.run_params.parameter"),
        FieldSource(source="run: fingerprint", column="silver.runs.fingerprint"),
        FieldSource(source="run: code_version", column="silver.runs.code_version"),
        FieldSource(source="run: tags", column="silver.runs.tags"),
        FieldSource(source="output lines", column="silver.outputs", note="columns have the names of the fields"),
        FieldSource(source="output: tokens", column="silver.output_tokens"),
        FieldSource(
            source="output: phases",
            column="silver.spans",
            note="one span for the request, which lasts as long as the latency, and one for each phase in it",
        ),
        FieldSource(source="metric lines", column="silver.run_metrics"),
        FieldSource(source="span lines", column="silver.spans", note="span_index counts them as they stand"),
        FieldSource(source="end: status, ended_at, error_message", column="silver.runs.status"),
    ),
    surprises=(
        "A file without an end is a run that is going on or was killed: status `started`.",
        "A copy that was cut off does not undo a run that has ended by another file.",
        (
            "A field of another type than the table below says lands as far as it can be read, and is named in "
            "bronze.rejects all the same."
        ),
        (
            "Of two lines with the same identity (sample and repeat; metric, variant, step and repeat; parameter; "
            "span_id) the first counts and the second is a reject."
        ),
        "Fallbacks are summed up in memory until the end, so a killed process loses their counts, and theirs alone.",
    ),
    reference=_reference(),
)
