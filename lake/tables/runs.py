"""Tables of the runs room: files as received, runs, outputs, tokens, metrics, parameters, spans."""

from __future__ import annotations

import dataframely as dy

from lake.contracts import TableContract, count, measure, timestamp, vocabulary

RUN_STATUSES = ("success", "error", "cancelled", "started")
OUTPUT_STATUSES = ("ok", "assert_fail", "error", "timeout", "cancelled")
PARAMETER_TYPES = ("number", "text", "boolean", "json", "null")
SPAN_STATUSES = ("ok", "error")
DEVICES = ("cpu", "gpu")
SPAN_KINDS = (
    "step", "phase", "request", "operator", "runtime", "kernel", "copy", "communication", "other",
)  # fmt: skip


class RunFiles(dy.Schema):
    """The mark that a file's rows are all in the lake."""

    file_sha256 = dy.String(
        primary_key=True,
        regex="^[0-9a-f]{64}$",
        description="SHA-256 of the file's bytes; of names and contents where a folder is read as one.",
    )
    importer_version = dy.Int32(primary_key=True, min=1, description="Version of the importer that read it.")
    source_kind = dy.String(description="Format as detected, for instance benchlake, lm_eval, inspect.")
    uri = dy.String(description="Where the file was read from.")
    size_bytes = dy.Int64(min=0, description="Size of the file.", metadata={"unit": "bytes"})
    run_ids = dy.List(dy.String(), description="Runs that the file contributed to.")
    record_count = count("Records that landed.", nullable=False)
    reject_count = count("Records that were refused.", nullable=False)
    imported_at = timestamp("When the import of this file was finished.", nullable=False)


class RawRecords(dy.Schema):
    """Every record as it was received, so that no unknown key is ever lost."""

    file_sha256 = dy.String(primary_key=True, regex="^[0-9a-f]{64}$", description="File it came from.")
    member = dy.String(primary_key=True, description="Member of an archive, or empty.")
    record_index = dy.Int64(primary_key=True, min=0, description="Line or record number in file or member, from 0.")
    run_id = dy.String(nullable=True, description="Run it belongs to.")
    sample_id = dy.String(nullable=True, description="Sample it describes; null for headers.")
    raw = dy.Binary(description="The record's own bytes, compressed with zstd.", metadata={"unit": "zstd bytes"})


class Runs(dy.Schema):
    """What was run, with what, where, and from which code."""

    run_id = dy.String(primary_key=True, description="Stable id: from the source, else derived from content.")
    run_date = dy.Date(description="UTC date on which the run started; the partition of all evidence about it.")
    source_kind = dy.String(description="Format it was imported from.")
    source_run_id = dy.String(nullable=True, description="Id that the source uses for it.")
    file_sha256 = dy.String(description="File that holds the run's header.")
    content_digest = dy.String(description="Digest of every file that contributed and of the importer's version.")
    suite = dy.String(description="Prompt suite or task.")
    backend = dy.String(description="Name of the configured thing that answered.")
    model = dy.String(description="Model as the source names it.")
    engine = dy.String(nullable=True, description="Inference software, for instance llama.cpp, transformers, vllm.")
    engine_version = dy.String(nullable=True, description="Version of the inference software.")
    parameters = dy.String(nullable=True, description="Sampling and model parameters, as canonical JSON text.")
    environment = dy.String(nullable=True, description="Hardware, operating system, packages, as canonical JSON text.")
    fingerprint = dy.Struct(
        {
            "suite_digest": dy.String(nullable=True),
            "prompt_digest": dy.String(nullable=True),
            "chat_template_digest": dy.String(nullable=True),
            "tokenizer": dy.String(nullable=True),
            "sampling_digest": dy.String(nullable=True),
            "logprobs_mode": dy.String(nullable=True),
            "concurrency": dy.Int64(nullable=True),
            "hardware": dy.String(nullable=True),
        },
        description="What must agree before two runs may be compared; a null field is unknown, not equal.",
    )
    code_version = dy.Struct(
        {
            "commit": dy.String(nullable=True),
            "branch": dy.String(nullable=True),
            "pull_request": dy.String(nullable=True),
            "is_dirty": dy.Bool(nullable=True),
            "repository_url": dy.String(nullable=True),
        },
        description="The code that produced the run.",
    )
    tags = dy.List(dy.String(), description="Labels for filtering, sorted.")
    started_at = timestamp("When the run started.", nullable=False)
    ended_at = timestamp("When the run ended; null while unknown.")
    status = vocabulary(*RUN_STATUSES, description="How the run ended.")
    error_message = dy.String(nullable=True, description="Why the run as a whole failed.")
    expected_sample_count = count("Samples that the header promises; compare with the outputs that landed.")


class Outputs(dy.Schema):
    """What a model answered to one prompt, how it scored and how long it took."""

    run_id = dy.String(primary_key=True, description="Run it belongs to.")
    sample_id = dy.String(primary_key=True, description="Sample within the suite; pairs are made by it.")
    repeat_index = dy.Int32(primary_key=True, min=0, description="Repeat of the same sample, from 0.")
    run_date = dy.Date(description="UTC date of the run.")
    prompt_digest = dy.String(nullable=True, description="SHA-256 of the prompt as sent.")
    prompt = dy.String(nullable=True, description="Prompt as sent, before the chat template.")
    output = dy.String(nullable=True, description="What the model answered; null when nothing came back.")
    output_digest = dy.String(nullable=True, description="SHA-256 of the output.")
    reference = dy.String(nullable=True, description="Expected answer.")
    status = vocabulary(*OUTPUT_STATUSES, description="What became of the sample; an error is not a score of 0.")
    finish_reason = dy.String(nullable=True, description="Why generation stopped: stop, length, or the source's word.")
    input_token_count = count("Tokens in the prompt.")
    output_token_count = count("Tokens generated.")
    latency_ms = measure("ms", "From request to last token.", min=0)
    time_to_first_token_ms = measure("ms", "From request to first token.", min=0)
    scores = dy.List(
        dy.Struct({"scorer": dy.String(), "value": dy.Float64()}),
        description="One value per scorer, higher is better unless the scorer says otherwise; empty when unscored.",
    )
    tags = dy.List(dy.String(), description="Labels of the sample, for slices.")
    error_message = dy.String(nullable=True, description="Why the sample failed.")
    started_at = timestamp("When the request was sent.")


class OutputTokens(dy.Schema):
    """The tokens of an output with their log-probabilities: one list a field, all of one length."""

    run_id = dy.String(primary_key=True, description="Run it belongs to.")
    sample_id = dy.String(primary_key=True, description="Sample within the suite.")
    repeat_index = dy.Int32(primary_key=True, min=0, description="Repeat of the same sample, from 0.")
    run_date = dy.Date(description="UTC date of the run.")
    tokens = dy.List(dy.String(), description="Generated tokens in order, as text.")
    token_ids = dy.List(dy.Int64(nullable=True), description="Their ids in the tokenizer; null where unknown.")
    token_bytes = dy.List(
        dy.Binary(nullable=True),
        description="What each adds to the output, which may be part of a character; null where unknown.",
    )
    logprobs = dy.List(
        dy.Float64(nullable=True),
        description="Their natural-log probabilities; null where the engine gives none.",
        metadata={"unit": "nats"},
    )
    top_k = dy.List(
        dy.List(
            dy.Struct({"token_id": dy.Int64(nullable=True), "token": dy.String(), "logprob": dy.Float64()}),
            nullable=True,
        ),
        description="The most likely tokens at each place with their natural-log probabilities; null where unknown.",
    )


class RunMetrics(dy.Schema):
    """Numbers about a run as a whole, or about one step of it."""

    run_id = dy.String(primary_key=True, description="Run it belongs to.")
    metric = dy.String(primary_key=True, description="Name of the metric; docs/metrics.md lists those we normalise.")
    variant = dy.String(
        primary_key=True,
        description="What tells values of one metric apart: filter, scorer, statistic (mean, p99), operator; or empty.",
    )
    step = dy.Int64(primary_key=True, description="Step for metrics logged over time, else 0.")
    repeat_index = dy.Int64(
        primary_key=True, min=0, description="Measurement of the same metric and step again, from 0; else 0."
    )
    run_date = dy.Date(description="UTC date of the run.")
    value = measure("as in the column unit", "Value of the metric.", nullable=False)
    unit = dy.String(description="Unit of the value: ms, bytes, tokens/s, ratio; 1 for a plain number.")
    standard_error = measure("as in the column unit", "Standard error as the source reports it.", min=0)
    standard_deviation = measure("as in the column unit", "Spread of what the value sums up, if known.", min=0)
    sample_count = count("How many measurements the value sums up.")
    is_higher_better = dy.Bool(nullable=True, description="Direction of improvement; null when unknown.")
    recorded_at = timestamp("When it was logged.")


class RunParams(dy.Schema):
    """What a run was made with: hyperparameters, sampling and model settings, one a row."""

    run_id = dy.String(primary_key=True, description="Run it belongs to.")
    parameter = dy.String(primary_key=True, description="Name; members of an object are joined with dots.")
    run_date = dy.Date(description="UTC date of the run.")
    value = dy.String(nullable=True, description="The value as text; lists and empty objects as JSON.")
    value_type = vocabulary(*PARAMETER_TYPES, description="What the source wrote.")
    number = measure("as in the column unit", "The value as a number, also of a numeric text; true is 1.")
    unit = dy.String(nullable=True, description="Unit of the number, where the source or the name says it.")


class Spans(dy.Schema):
    """What a run spent its time on: one interval of a trace or a transcript."""

    run_id = dy.String(primary_key=True, description="Run it belongs to.")
    span_index = dy.Int64(primary_key=True, min=0, description="Place of the span in its source, from 0.")
    run_date = dy.Date(description="UTC date of the run.")
    span_id = dy.String(nullable=True, description="Id that the source uses for it.")
    parent_span_id = dy.String(nullable=True, description="Id of the span that encloses it, as the source says.")
    trace_id = dy.String(nullable=True, description="Trace it belongs to, as the source names it.")
    sample_id = dy.String(nullable=True, description="Sample whose output it is about; joins silver.outputs.")
    name = dy.String(description="Operator, kernel, operation: what is compared between runs.")
    category = dy.String(nullable=True, description="Kind of span as the source names it, for instance cpu_op, kernel.")
    process = dy.String(nullable=True, description="Process or service it ran in.")
    thread = dy.String(nullable=True, description="Thread, stream or lane it ran in.")
    start_ns = dy.Int64(description="Start, from the beginning of the trace's own clock.", metadata={"unit": "ns"})
    duration_ns = dy.Int64(min=0, description="From its start to its end.", metadata={"unit": "ns"})
    started_at = timestamp("Start as wall-clock time, where the source knows it.")
    status = vocabulary(*SPAN_STATUSES, description="Whether the span itself reports a failure.")
    attributes = dy.String(nullable=True, description="Everything else the source says of it, as canonical JSON text.")
    lane = dy.String(
        nullable=True,
        description="Row of the timeline that it stands in: process and thread, and a number where spans overlap that "
        "do not enclose each other.",
    )
    device = vocabulary(*DEVICES, nullable=True, description="What was busy with it.")
    span_kind = vocabulary(*SPAN_KINDS, nullable=True, description="What it is, in one word for all sources.")
    step = dy.Int64(nullable=True, description="Iteration it belongs to, by the number that the source gives it.")
    phase = dy.String(nullable=True, description="Innermost phase around it on its lane; its own name if it is one.")
    depth = dy.Int32(nullable=True, min=0, description="Spans around it on its lane.")
    parent_span_index = dy.Int64(nullable=True, min=0, description="The nearest of them: its span_index.")
    self_ns = dy.Int64(
        nullable=True, min=0, description="Time in it and in no span that it encloses.", metadata={"unit": "ns"}
    )


TABLES = (
    TableContract(
        name="run_files",
        layer="bronze",
        grain="One row per imported file and importer version.",
        schema=RunFiles,
    ),
    TableContract(
        name="raw_records",
        layer="bronze",
        grain="One row per record of an imported file, as received.",
        schema=RawRecords,
        sort_by=("file_sha256", "member", "record_index"),
    ),
    TableContract(
        name="runs",
        layer="silver",
        grain="One row per run of a suite on a backend.",
        schema=Runs,
        sort_by=("run_date", "suite", "run_id"),
    ),
    TableContract(
        name="outputs",
        layer="silver",
        grain="One row per run, sample and repeat.",
        schema=Outputs,
        partition_by=("run_date",),
        sort_by=("run_id", "sample_id", "repeat_index"),
    ),
    TableContract(
        name="output_tokens",
        layer="silver",
        grain="One row per run, sample and repeat whose tokens are known.",
        schema=OutputTokens,
        aligned_lists=("tokens", "token_ids", "token_bytes", "logprobs", "top_k"),
        partition_by=("run_date",),
        sort_by=("run_id", "sample_id", "repeat_index"),
    ),
    TableContract(
        name="run_metrics",
        layer="silver",
        grain="One row per run, metric, variant, step and repeat.",
        schema=RunMetrics,
        sort_by=("run_id", "metric", "variant", "step"),
    ),
    TableContract(
        name="run_params",
        layer="silver",
        grain="One row per run and parameter.",
        schema=RunParams,
        sort_by=("run_id", "parameter"),
    ),
    TableContract(
        name="spans",
        layer="silver",
        grain="One row per run and span.",
        schema=Spans,
        partition_by=("run_date",),
        sort_by=("run_id", "span_index"),
    ),
)
