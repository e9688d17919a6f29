"""Tables of the experiment explorer: scenarios, decisions and whether what they promised still holds."""

from __future__ import annotations

import dataframely as dy

from lake.contracts import TableContract, count, measure, timestamp, vocabulary

DECISION_STATUSES = ("proposed", "accepted", "superseded", "reverted")
KPI_COMPARISONS = ("<", "<=", ">", ">=")
REPORT_KINDS = ("night",)
MOVEMENT_KINDS = ("run_added", "run_removed", "metric", "setting", "verdict")
KPI_VERDICTS = ("pass", "fail", "inconclusive")


class Scenarios(dy.Schema):
    """A named comparison as it was saved: what to compare, and the table versions it was computed from."""

    scenario_id = dy.String(primary_key=True, description="Stable id, derived from the name.")
    version_index = dy.Int64(primary_key=True, min=1, description="Version of the scenario, from 1.")
    name = dy.String(description="Name of the scenario.")
    description = dy.String(nullable=True, description="What question it answers.")
    schema_version = dy.Int32(min=1, description="Version of the schema that content keeps.")
    content = dy.String(description="The scenario as canonical JSON text (docs/schemas).")
    content_digest = dy.String(regex="^[0-9a-f]{64}$", description="SHA-256 of content.")
    run_ids = dy.List(dy.String(), description="Runs that it meant when it was saved, baseline first.")
    pinned_versions = dy.List(
        dy.Struct({"table": dy.String(), "version": dy.Int64()}),
        description="Delta versions it was computed from; maintenance keeps them.",
    )
    result_digest = dy.String(
        regex="^[0-9a-f]{64}$", description="SHA-256 of the result as JSON; a replay gives the same bytes."
    )
    created_at = timestamp("When this version was saved.", nullable=False)
    created_by = dy.String(description="Who saved it.")
    change_note = dy.String(nullable=True, description="What is different from the version before, in words.")
    is_deleted = dy.Bool(description="Whether it was put away: no longer listed or run in the night.")


class ScenarioResults(dy.Schema):
    """A scenario computed again on the data of a moment, and what moved since it was saved."""

    scenario_id = dy.String(primary_key=True, description="Scenario it is about.")
    input_digest = dy.String(
        primary_key=True,
        regex="^[0-9a-f]{64}$",
        description="SHA-256 of the saved version and of the runs' contents: the same is not computed twice.",
    )
    version_index = dy.Int64(min=1, description="Version of the scenario.")
    name = dy.String(description="Name of the scenario.")
    run_ids = dy.List(dy.String(), description="Runs that it means now, baseline first.")
    headline = dy.String(description="What the comparison says, in a sentence.")
    movement_count = count("How many things are not as they were when it was saved.", nullable=False)
    movements = dy.List(
        dy.Struct(
            {
                "kind": vocabulary(*MOVEMENT_KINDS, description="What moved."),
                "run_id": dy.String(),
                "name": dy.String(),
                "before": dy.String(nullable=True),
                "after": dy.String(nullable=True),
            }
        ),
        description="What moved, at most 1,000: from when it was saved to now.",
    )
    result = dy.String(description="The whole comparison as canonical JSON text.")
    computed_at = timestamp("When it was computed.", nullable=False)


class Decisions(dy.Schema):
    """What was decided, from which alternatives, by which measure; each change is a revision that stays."""

    decision_id = dy.String(primary_key=True, description="Stable id of the decision.")
    revision_index = dy.Int64(primary_key=True, min=1, description="Revision of the entry, from 1.")
    title = dy.String(min_length=1, description="The decision in one line.")
    status = vocabulary(*DECISION_STATUSES, description="Where the decision stands.")
    problem = dy.String(description="What had to be decided, and why; Markdown.")
    alternatives = dy.List(
        dy.Struct(
            {
                "name": dy.String(),
                "pros": dy.List(dy.String()),
                "cons": dy.List(dy.String()),
                "run_ids": dy.List(dy.String()),
            }
        ),
        description="What was considered, with what speaks for and against it and the runs that show it.",
    )
    decision = dy.String(description="What was decided, and why; Markdown.")
    kpi_name = dy.String(nullable=True, description="The measure that the decision promises to keep.")
    kpi_query = dy.String(nullable=True, description="SQL over the lake that gives one number.")
    kpi_comparison = vocabulary(
        *KPI_COMPARISONS, nullable=True, description="How the number has to stand to the threshold."
    )
    kpi_threshold = measure("as in kpi_unit", "What the number is compared with.")
    kpi_unit = dy.String(nullable=True, description="Unit of number and threshold.")
    run_ids = dy.List(dy.String(), description="Runs that the decision rests on.")
    tags = dy.List(dy.String(), description="Labels such as compression or optimizer, sorted.")
    links = dy.List(dy.String(), description="Addresses of more about it.")
    author = dy.String(description="Who decided.")
    superseded_by = dy.String(nullable=True, description="Id of the decision that took its place.")
    input_versions = dy.List(
        dy.Struct({"table": dy.String(), "version": dy.Int64()}),
        description="Delta versions of the tables that stood behind it when it was written; maintenance keeps them.",
    )
    recorded_at = timestamp("When this revision was written.", nullable=False)
    recorded_by = dy.String(description="Who wrote this revision.")
    change_note = dy.String(nullable=True, description="Why it was revised.")


class DecisionChecks(dy.Schema):
    """Whether a decision's KPI still holds on the data of a moment."""

    decision_id = dy.String(primary_key=True, description="Decision it is about.")
    input_digest = dy.String(
        primary_key=True,
        regex="^[0-9a-f]{64}$",
        description="SHA-256 of the KPI and of the versions of the tables it reads: the same is not asked twice.",
    )
    revision_index = count("Revision of the decision whose KPI it is.", nullable=False)
    title = dy.String(description="The decision in one line.")
    kpi_name = dy.String(description="The measure.")
    value = measure("as in unit", "What the query gave; null where it gave no number.")
    comparison = vocabulary(*KPI_COMPARISONS, description="How the number has to stand to the threshold.")
    threshold = measure("as in unit", "What the number is compared with.", nullable=False)
    unit = dy.String(nullable=True, description="Unit of value and threshold.")
    verdict = vocabulary(
        *KPI_VERDICTS, description="Whether the promise holds; inconclusive where nothing was measured."
    )
    reason = dy.String(nullable=True, description="Why it is inconclusive.")
    input_versions = dy.List(
        dy.Struct({"table": dy.String(), "version": dy.Int64()}),
        description="Delta versions of the tables that the query read.",
    )
    checked_at = timestamp("When it was asked.", nullable=False)


class Reports(dy.Schema):
    """A report that the night wrote, and where it is."""

    report_kind = vocabulary(*REPORT_KINDS, primary_key=True, description="What the report is about.")
    subject_id = dy.String(primary_key=True, description="Which one: the date of a night.")
    run_date = dy.Date(description="UTC date that it is about.")
    title = dy.String(description="Its title.")
    summary = dy.String(description="Its first sentence.")
    files = dy.List(
        dy.Struct({"name": dy.String(), "sha256": dy.String(), "size_bytes": dy.Int64()}),
        description="The files, their digests and sizes, by their paths in the state folder.",
    )
    made_at = timestamp("When it was written.", nullable=False)


TABLES = (
    TableContract(
        name="scenarios",
        layer="silver",
        grain="One row per version of a scenario.",
        schema=Scenarios,
        sort_by=("scenario_id", "version_index"),
    ),
    TableContract(
        name="scenario_results",
        layer="gold",
        grain="One row per scenario and state of the data on which it was computed.",
        schema=ScenarioResults,
        sort_by=("computed_at", "scenario_id"),
    ),
    TableContract(
        name="decisions",
        layer="silver",
        grain="One row per revision of a decision.",
        schema=Decisions,
        sort_by=("decision_id", "revision_index"),
    ),
    TableContract(
        name="decision_checks",
        layer="gold",
        grain="One row per decision and state of the data on which its KPI was asked.",
        schema=DecisionChecks,
        sort_by=("checked_at", "decision_id"),
    ),
    TableContract(
        name="reports",
        layer="gold",
        grain="One row per report that a night wrote.",
        schema=Reports,
        sort_by=("run_date",),
    ),
)
