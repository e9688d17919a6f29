"""Which run dates have evidence that is missing, outdated or orphaned, found by following the change feed of runs.

The cursor of consumer `evidence:<versions of the rules>:<policy digest>[:<digest of designated baselines>]` on
`silver.runs` says up to which version all evidence is known to stand. It moves only over what was looked at, so a
killed night is found again; and a release that computes something new finds what older ones left. A run whose tokens
were scored counts as changed: another cursor of the same consumer follows `silver.token_scorings`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence

import polars as pl

from lake.errors import UserError
from lake.store import Lake
from lake.tables import contract_of
from pipelines.evidence.designations import designations_digest
from pipelines.evidence.gates import GATE_VERSION
from pipelines.evidence.pairing import EVIDENCE_VERSIONS, RUN_COLUMNS
from pipelines.evidence.policy import Policy
from pipelines.evidence.reading import (
    COMPARISONS,
    CONTINGENCIES,
    DIFFS,
    DIVERGENCES,
    GATES,
    PROMOTED,
    RUNS,
    SCORINGS,
    differing_rows,
    read_all_designations,
    read_plan,
    read_promotable,
    read_supports,
)
from pipelines.evidence.slices import dates_slice
from pipelines.evidence.unchanged_code import CodeHistory
from pipelines.evidence.verdicts import expected_verdicts

CURSORS = "silver.cursors"
_CONSUMER = "evidence:"
_NEVER = -1
# A month of dates is looked at about as fast as one.
_FEW_DATES = 31


def stale_run_dates(
    lake: Lake, policy: Policy, *, since: int = _NEVER, first_date: dt.date = dt.date.min
) -> list[dt.date]:
    """Run dates, ascending, whose evidence is not what runs and policy ask for.

    Looks at the dates that changes of `silver.runs` after version `since`, or after the cursor if that is later, can
    have touched. When all evidence stands, the cursor moves up and the next call begins there, so the cost follows
    what is new. An edited policy has no cursor yet: everything is looked at once. Dates before `first_date` are left
    out: nobody will work them off, so waiting for them would keep the cursor where it is.
    """
    version = lake.version(RUNS)
    cursor = lake.cursor(_consumer(lake, policy), RUNS)
    seen = max(since, cursor)
    scorings = lake.version(SCORINGS)
    if seen >= version and scorings <= lake.cursor(_consumer(lake, policy), SCORINGS):
        return []
    touched = [date for date in _touched_dates(lake, policy, since=seen, version=version) if date >= first_date]
    stale = _dates_out_of_step(lake, policy, touched, version=version)
    if not stale and seen == cursor:
        _move_cursor(lake, policy, version, scorings=scorings)
    return stale


def settle(lake: Lake, policy: Policy, run_dates: Collection[dt.date]) -> None:
    """Move the cursor up, if all evidence stands, after `run_dates` were worked off.

    A night that adds one run and judges it leaves nothing for the next one to look at again. When far more dates are
    waiting than were worked off, looking at all of them after each would cost more than the work: then not.
    """
    version = lake.version(RUNS)
    cursor = lake.cursor(_consumer(lake, policy), RUNS)
    scorings = lake.version(SCORINGS)
    if cursor >= version and scorings <= lake.cursor(_consumer(lake, policy), SCORINGS):
        return
    touched = _touched_dates(lake, policy, since=cursor, version=version)
    if len(touched) > max(2 * len(run_dates), _FEW_DATES):
        return
    if not _dates_out_of_step(lake, policy, touched, version=version):
        _move_cursor(lake, policy, version, scorings=scorings)


def _touched_dates(lake: Lake, policy: Policy, *, since: int, version: int) -> list[dt.date]:
    """Dates of changed runs, old and new, and every later date of their suites, where they may be a baseline now.

    A changed run may also be the re-run that an earlier one of the same code waits for: then that one's date too.
    """
    scored = _scored_runs(lake, policy, version=version)
    changed = pl.concat([_changed_runs(lake, since=since, version=version), scored])
    first = changed.group_by("suite").agg(pl.col("run_date").min().alias("first_date"))
    suites = first["suite"].sort().to_list()
    columns = RUN_COLUMNS if policy.asks_reruns else ["suite", "run_date"]
    runs = lake.read(RUNS, columns=columns, where={"suite": suites}, at=version)
    known = runs.select("suite", "run_date").unique()
    later = known.join(first, on="suite").filter(pl.col("run_date") >= pl.col("first_date"))
    repeated = _repeated_dates(runs, changed) if policy.asks_reruns else ()
    return sorted({*changed["run_date"], *later["run_date"], *repeated})


def _repeated_dates(runs: pl.DataFrame, changed: pl.DataFrame) -> set[dt.date]:
    history = CodeHistory(runs.to_dicts())
    return {run["run_date"] for row in changed.to_dicts() for run in history.repeated_by(row)}


def _scored_runs(lake: Lake, policy: Policy, *, version: int) -> pl.DataFrame:
    """Runs whose tokens were scored since anybody looked."""
    since, newest = lake.cursor(_consumer(lake, policy), SCORINGS), lake.version(SCORINGS)
    if since >= newest:
        run_ids: list[str] = []
    else:
        try:
            rows = lake.changes(SCORINGS, since, until=newest) if since > _NEVER else lake.read(SCORINGS)
        except UserError:
            rows = lake.read(SCORINGS)
        run_ids = rows["run_id"].unique().sort().to_list()
    return lake.read(RUNS, columns=RUN_COLUMNS, where={"run_id": run_ids}, at=version)


def _changed_runs(lake: Lake, *, since: int, version: int) -> pl.DataFrame:
    if since >= version:
        return contract_of(RUNS).empty().select(RUN_COLUMNS)
    if since > _NEVER:
        try:
            return lake.changes(RUNS, since, until=version).select(RUN_COLUMNS)
        except UserError:
            # Maintenance has removed what the feed would need; the table itself says more than enough.
            pass
    return lake.read(RUNS, columns=RUN_COLUMNS, at=version)


def _dates_out_of_step(lake: Lake, policy: Policy, dates: Sequence[dt.date], *, version: int) -> list[dt.date]:
    where = dates_slice(dates)
    plan, _ = read_plan(lake, policy, dates, version=version)
    supports = read_supports(lake, policy, plan, version=version)
    mark = ["comparison_id", "run_date", "input_digest"]
    marks = lake.read(COMPARISONS, columns=mark, where=where)
    told = pl.concat(
        lake.read(table, columns=mark[:2], where=where).unique() for table in (DIFFS, CONTINGENCIES, DIVERGENCES)
    )
    verdicts = lake.read(GATES, columns=[*mark, "gate"], where=where)
    promoted = lake.read(PROMOTED, where=where)
    promotable, _ = read_promotable(lake, policy, dates)
    differences = [
        differing_rows(plan.select(mark), marks),
        # A comparison may well have no diffs, but diffs without a comparison are orphans.
        told.join(plan, on=mark[:2], how="anti"),
        differing_rows(expected_verdicts(plan, policy, supports), verdicts),
        differing_rows(promotable.select("run_id", "policy_digest", "run_date"), promoted),
    ]
    return sorted({date for rows in differences for date in rows["run_date"]})


def _move_cursor(lake: Lake, policy: Policy, version: int, *, scorings: int) -> None:
    """Move the cursors, and drop those of other policies: one that stands still would keep old versions for ever."""
    seen = {RUNS: version, SCORINGS: scorings}
    lake.move_cursor(_consumer(lake, policy), {table: at for table, at in seen.items() if at > _NEVER})
    others = lake.read(CURSORS, columns=["consumer", "table"]).filter(
        pl.col("consumer").str.starts_with(_CONSUMER) & (pl.col("consumer") != _consumer(lake, policy))
    )
    if others.height:
        lake.remove(CURSORS, others)


def _consumer(lake: Lake, policy: Policy) -> str:
    """What decides on the evidence besides the runs; with any of it changed, everything is looked at again."""
    designations = read_all_designations(lake, policy)
    suffix = f":{designations_digest(designations)[:16]}" if designations else ""
    versions = ".".join(map(str, (*EVIDENCE_VERSIONS, GATE_VERSION)))
    return f"{_CONSUMER}{versions}:{policy.digest}{suffix}"
