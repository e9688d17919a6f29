"""Tables of prompt suites: their versions, their prompts, and the batches in which they were asked."""

from __future__ import annotations

import dataframely as dy

from lake.contracts import TableContract, count, timestamp, vocabulary

BATCH_STATES = ("planned", "running", "finished", "failed", "cancelled")


class Suites(dy.Schema):
    """A version of a prompt suite; what decides its identity is its content."""

    suite = dy.String(primary_key=True, description="Name of the suite.")
    suite_digest = dy.String(
        primary_key=True, regex="^[0-9a-f]{64}$", description="SHA-256 of its content; joins silver.runs.fingerprint."
    )
    version_index = count(
        "Place among the versions of the suite, from 1, in the order they were saved.", nullable=False
    )
    version = dy.String(description="The version as its author calls it.")
    prompt_digest = dy.String(description="SHA-256 of ids and prompts: equal where outputs can be paired.")
    sampling_digest = dy.String(description="SHA-256 of the sampling parameters.")
    description = dy.String(nullable=True, description="What the suite is for.")
    content = dy.String(
        description="The whole suite as YAML, as its author wrote it, from which it can be asked again."
    )
    is_redacted = dy.Bool(
        description="Whether a secret was taken out of content and prompts: then it can be read, not asked from here."
    )
    prompt_count = count("Prompts in this version.", nullable=False)
    created_at = timestamp("When it was saved.", nullable=False)
    created_by = dy.String(description="Who saved it.")
    change_note = dy.String(nullable=True, description="What is different from the version before, in words.")
    is_archived = dy.Bool(description="Whether it is put away: still readable, no longer listed or asked by name.")
    archived_at = timestamp("When it was archived.")
    archived_by = dy.String(nullable=True, description="Who archived it.")
    archive_reason = dy.String(nullable=True, description="Why it was archived.")
    restored_at = timestamp("When it was taken out of the archive last.")
    restored_by = dy.String(nullable=True, description="Who took it out of the archive.")
    restore_reason = dy.String(nullable=True, description="Why it was taken out of the archive.")


class Prompts(dy.Schema):
    """A saved prompt as one version of a suite holds it."""

    suite_digest = dy.String(primary_key=True, regex="^[0-9a-f]{64}$", description="Version of the suite.")
    sample_id = dy.String(primary_key=True, description="Sample within the suite.")
    suite = dy.String(description="Name of the suite.")
    sample_index = count("Place in the suite, from 0.", nullable=False)
    prompt_digest = dy.String(
        regex="^[0-9a-f]{64}$",
        description="SHA-256 of the prompt, its id across suites and versions; joins silver.outputs.",
    )
    prompt = dy.String(description="Prompt as sent, before the chat template.")
    reference = dy.String(nullable=True, description="Expected answer.")
    scorers = dy.String(description="Scorers with their options, as canonical JSON text.")
    tags = dy.List(dy.String(), description="Labels of the sample, for slices.")


class BatchRuns(dy.Schema):
    """One cell of a suite by backend matrix that was launched as a batch."""

    batch_id = dy.String(primary_key=True, description="Batch it belongs to; derived from its name.")
    run_id = dy.String(primary_key=True, description="Run that answers this cell; joins silver.runs once imported.")
    batch = dy.String(description="Name of the batch, by which it is resumed.")
    suite = dy.String(description="Name of the suite.")
    suite_digest = dy.String(description="Version of the suite.")
    backend = dy.String(description="Backend that answers.")
    backend_digest = dy.String(
        regex="^[0-9a-f]{64}$", description="SHA-256 of the backend's name, configuration and engine packages."
    )
    commit = dy.String(nullable=True, description="Commit of the code when the cell was planned.")
    repeat_count = count("How often each sample is asked.", nullable=False)
    tags = dy.List(dy.String(), description="Labels that its runs get, sorted.")
    state = vocabulary(*BATCH_STATES, description="How far the cell is.")
    expected_count = count("Outputs that the cell will have.", nullable=False)
    answered_count = count("Outputs that stand on disk.", nullable=False)
    requested_at = timestamp("When the batch was launched first.", nullable=False)
    requested_by = dy.String(description="Who launched it.")
    started_at = timestamp("When the cell was begun last.")
    ended_at = timestamp("When it ended; null while unknown.")
    error_message = dy.String(nullable=True, description="Why it failed.")


TABLES = (
    TableContract(
        name="suites",
        layer="silver",
        grain="One row per version of a prompt suite.",
        schema=Suites,
        sort_by=("suite", "version_index"),
    ),
    TableContract(
        name="prompts",
        layer="silver",
        grain="One row per suite version and sample.",
        schema=Prompts,
        sort_by=("suite", "suite_digest", "sample_index"),
    ),
    TableContract(
        name="batch_runs",
        layer="silver",
        grain="One row per batch and run.",
        schema=BatchRuns,
        sort_by=("requested_at", "batch_id", "run_id"),
    ),
)
