"""What the docs say about Chrome and PyTorch traces."""

from __future__ import annotations

from pipelines.runs.importers.guide import FieldSource, FormatGuide

GUIDE = FormatGuide(
    title="Chrome trace events and PyTorch profiler traces",
    reads="Traces in the trace-event format, also `.pt.trace.json.gz` of the PyTorch profiler; every interval a span",
    versions="PyTorch of 2022 (CUDA) and 2.13 (CPU); the trace-event format of Chrome and Perfetto",
    recognised_by=(
        "An object with the array `traceEvents`, or an array whose first element has a phase `ph` and a time, process "
        "or arguments. Plain or gzip."
    ),
    how_to="""\
Record with PyTorch and import the file:

```python
import torch

with torch.profiler.profile() as profiler:
    profiler.add_metadata("git_commit", "0123abc")
    model(batch)
profiler.export_chrome_trace("decode.pt.trace.json.gz")
```

```sh
benchlake import decode.pt.trace.json.gz
benchlake sql "select name, count(*) as calls, sum(duration_ns) / 1e6 as ms
  from silver.spans where category = 'kernel' group by name order by ms desc limit 10"
```

One file is one run, whose suite is the file name that the profiler wrote into the trace, without the numbers in it
(`decode`). Metadata such as `git_commit`, `git_branch` and `pull_request` becomes the run's code version. A trace may
be gigabytes long; it is read in pieces.
""",
    fields=(
        FieldSource(source="complete events (ph X)", column="silver.spans"),
        FieldSource(
            source="begin and end (B, E) of one thread", column="silver.spans", note="the begin gives the place"
        ),
        FieldSource(
            source="async begin and end (b, e; S, F)",
            column="silver.spans",
            note="paired by category, scope and id; the id is the span_id",
        ),
        FieldSource(source="name", column="silver.spans.name"),
        FieldSource(source="cat", column="silver.spans.category"),
        FieldSource(source="pid, tid", column="silver.spans.process", note="as text; tid is thread"),
        FieldSource(
            source="ts", column="silver.spans.start_ns", note="microseconds in the file, exact nanoseconds here"
        ),
        FieldSource(source="dur", column="silver.spans.duration_ns", note="as ts"),
        FieldSource(
            source="baseTimeNanoseconds + ts",
            column="silver.spans.started_at",
            note="or ts alone where it counts from 1970",
        ),
        FieldSource(source="args and unknown members", column="silver.spans.attributes"),
        FieldSource(source="place in traceEvents", column="silver.spans.span_index"),
        FieldSource(
            source="ts, dur, pid, tid",
            column="silver.spans.self_ns",
            note="also depth, parent_span_index and lane: calls of one thread enclose each other",
        ),
        FieldSource(
            source="ProfilerStep#N, args.correlation",
            column="silver.spans.step",
            note="on the CPU by time, on the GPU by the call that launched it",
        ),
        FieldSource(source="traceName", column="silver.runs.suite", note="else trace"),
        FieldSource(
            source="categories of the events", column="silver.runs.backend", note="cuda, rocm, xpu, mtia or cpu"
        ),
        FieldSource(source="trace_id", column="silver.runs.source_run_id"),
        FieldSource(
            source="deviceProperties", column="silver.runs.fingerprint", note="as hardware; in whole in environment"
        ),
        FieldSource(
            source="process_name, thread_name, labels, sort_index (ph M)",
            column="silver.runs.environment",
            note="under processes, by pid and tid",
        ),
        FieldSource(
            source="distributedInfo, record_shapes, with_stack, profile_memory", column="silver.run_params.value"
        ),
        FieldSource(source="git_commit, git_branch, pull_request", column="silver.runs.code_version"),
        FieldSource(
            source="first start to last end", column="silver.run_metrics.value", note="wall_time_ms, variant trace"
        ),
        FieldSource(
            source="kernel, gpu_memcpy, gpu_memset", column="silver.run_metrics.value", note="gpu_time_ms by category"
        ),
        FieldSource(source="number of spans", column="silver.run_metrics.value", note="span_count, also by category"),
    ),
    surprises=(
        "Durations of CPU spans enclose each other, so no sum of them is a metric; sums of kernels are gpu_time_ms.",
        "Instants, counters and flows are no spans: they are counted and stay in the raw records.",
        "Raw records hold a stretch of about 1 MiB of events each; record_index is the number of the first.",
        "The number of an event that was refused is in the reject's record_index.",
        "A begin without an end, or an end without a begin, is refused by its place; after 100 they are counted.",
        "Microseconds since 1970 with decimals, as some PyTorch versions write, fit no float; they are exact here.",
        "PyTorch does not escape quotes in names of `record_function`; they are mended and noted (name: quotes).",
        "A bare array may lack its closing bracket.",
        "A trace that ends in the middle gives what was whole, a reject truncated, and a run of status started.",
        "Arguments beyond 65,536 characters stay in the raw record alone.",
        "Ranks of one job are runs of their own, with distributed.rank as parameter and the trace_id they share.",
    ),
)
