"""What people say about runs: tags, notes, baselines. Every act is a row that stays, so that history is kept."""

from __future__ import annotations

import dataframely as dy

from lake.contracts import TableContract, timestamp, vocabulary

TAG_ACTIONS = ("add", "remove")
NOTE_SUBJECTS = ("run", "pair", "sample", "example", "databit", "scenario", "decision")


class TagEvents(dy.Schema):
    """That somebody tagged or untagged a run."""

    event_id = dy.String(primary_key=True, description="Stable id of the act.")
    run_id = dy.String(description="Run that was tagged.")
    tag = dy.String(min_length=1, description="The label.")
    action = vocabulary(*TAG_ACTIONS, description="Whether the tag was put on or taken off.")
    changed_at = timestamp("When it was done.", nullable=False)
    changed_by = dy.String(description="Who did it.")
    reason = dy.String(nullable=True, description="Why it was done.")


class Notes(dy.Schema):
    """What somebody wrote about something in the lake."""

    note_id = dy.String(primary_key=True, description="Stable id of the note.")
    subject_kind = vocabulary(*NOTE_SUBJECTS, description="What the note is about.")
    subject_id = dy.String(
        description="Id of it: a run_id; baseline/candidate of a pair; run_id/sample_id of a sample; and so on."
    )
    text = dy.String(min_length=1, description="The note, Markdown.")
    author = dy.String(description="Who wrote it.")
    noted_at = timestamp("When it was done.", nullable=False)


class Baselines(dy.Schema):
    """That somebody made a run the yardstick for runs like it, or withdrew the yardstick."""

    designation_id = dy.String(primary_key=True, description="Stable id of the act.")
    selector_digest = dy.String(description="SHA-256 of the selector; the latest act per selector and date counts.")
    selector = dy.String(
        description="Which candidates it is for: a JSON object of suite, model, backend, branch or other run columns."
    )
    run_id = dy.String(nullable=True, description="The baseline run; null when the designation is withdrawn.")
    effective_date = dy.Date(description="First run date whose candidates are compared with it.")
    designated_at = timestamp("When it was done.", nullable=False)
    designated_by = dy.String(description="Who did it.")
    reason = dy.String(nullable=True, description="Why it was done.")


TABLES = (
    TableContract(
        name="tag_events",
        layer="silver",
        grain="One row per act of tagging or untagging a run.",
        schema=TagEvents,
        sort_by=("changed_at", "run_id"),
        is_append_only=True,
    ),
    TableContract(
        name="notes",
        layer="silver",
        grain="One row per note.",
        schema=Notes,
        sort_by=("noted_at", "subject_id"),
        is_append_only=True,
    ),
    TableContract(
        name="baselines",
        layer="silver",
        grain="One row per act of designating or withdrawing a baseline.",
        schema=Baselines,
        sort_by=("designated_at",),
        is_append_only=True,
    ),
)
