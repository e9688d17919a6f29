"""Addresses of things in the lake that stay the same: pages of the Dagster UI, commands, and queries.

What belongs here: pure text from ids. An address of the UI leads to the asset that holds the evidence, at the run date
where it has dates; the command and the query lead to the thing itself.
"""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

Kind = Literal["run", "pair", "sample", "series", "decision", "scenario", "night"]
UI_URL = "http://127.0.0.1:3000"
_ASSETS: Mapping[Kind, str] = {
    "run": "gold/run_comparisons",
    "pair": "gold/output_diffs",
    "sample": "gold/output_diffs",
    "series": "gold/trend_series",
    "decision": "gold/decision_checks",
    "scenario": "gold/scenario_results",
    "night": "gold/gate_results",
}
_DATED = frozenset({"run", "pair", "sample", "night"})


@dataclass(frozen=True, kw_only=True)
class DeepLink:
    """Where to look: `page` in the Dagster UI, `command` on a terminal, `sql` in any engine, `anchor` in a report."""

    kind: Kind
    page: str
    command: str
    sql: str
    anchor: str


def link_run(run_id: str, run_date: dt.date, *, ui_url: str = UI_URL) -> DeepLink:
    """A run with everything that was compared with it."""
    return DeepLink(
        kind="run",
        page=_page("run", ui_url, run_date),
        command=f"benchlake explore {_word(run_id)}",
        sql=_query("silver.outputs", run_id=run_id),
        anchor=f"run-{run_id}",
    )


def link_pair(candidate: str, baseline: str, run_date: dt.date, *, ui_url: str = UI_URL) -> DeepLink:
    """Two runs beside each other."""
    return DeepLink(
        kind="pair",
        page=_page("pair", ui_url, run_date),
        command=f"benchlake diff {_word(baseline)} {_word(candidate)}",
        sql=_query("gold.output_diffs", candidate_run_id=candidate, baseline_run_id=baseline),
        anchor=f"pair-{candidate}-{baseline}",
    )


def link_sample(run_id: str, sample_id: str, run_date: dt.date, *, ui_url: str = UI_URL) -> DeepLink:
    """One sample of a run."""
    return DeepLink(
        kind="sample",
        page=_page("sample", ui_url, run_date),
        command=f"benchlake sql {_word(_query('silver.outputs', run_id=run_id, sample_id=sample_id))}",
        sql=_query("silver.outputs", run_id=run_id, sample_id=sample_id),
        anchor=f"sample-{run_id}-{quote(sample_id, safe='')}",
    )


def link_series(series_id: str, *, ui_url: str = UI_URL) -> DeepLink:
    """The course of a metric."""
    return DeepLink(
        kind="series",
        page=_page("series", ui_url),
        command=f"benchlake report series {series_id}",
        sql=_query("gold.trend_series", series_id=series_id),
        anchor=f"series-{series_id}",
    )


def link_decision(decision_id: str, *, ui_url: str = UI_URL) -> DeepLink:
    """A decision with its history and its promise."""
    return DeepLink(
        kind="decision",
        page=_page("decision", ui_url),
        command=f"benchlake decisions show {decision_id}",
        sql=_query("silver.decisions", decision_id=decision_id),
        anchor=f"decision-{decision_id}",
    )


def link_scenario(scenario_id: str, *, ui_url: str = UI_URL) -> DeepLink:
    """A scenario as it was saved."""
    return DeepLink(
        kind="scenario",
        page=_page("scenario", ui_url),
        command=f"benchlake scenarios show {scenario_id}",
        sql=_query("silver.scenarios", scenario_id=scenario_id),
        anchor=f"scenario-{scenario_id}",
    )


def link_night(run_date: dt.date, *, ui_url: str = UI_URL) -> DeepLink:
    """Everything about the runs of a date."""
    return DeepLink(
        kind="night",
        page=_page("night", ui_url, run_date),
        command=f"benchlake report night --date {run_date}",
        sql=_query("gold.gate_results", run_date=run_date.isoformat()),
        anchor=f"night-{run_date}",
    )


def _page(kind: Kind, ui_url: str, run_date: dt.date | None = None) -> str:
    view = f"partitions&partition={run_date}" if kind in _DATED and run_date else "overview"
    return f"{ui_url.rstrip('/')}/assets/{_ASSETS[kind]}?view={view}"


def _query(table: str, **values: str) -> str:
    """The rows of a table in which columns have these values; texts stay texts, whatever is in them."""
    return " ".join(["select * from", table, "where", " and ".join(f"{k} = {_text(v)}" for k, v in values.items())])


def _text(value: str) -> str:
    """A text as a literal of SQL."""
    return "'" + value.replace("'", "''") + "'"


def _word(value: str) -> str:
    """A text as one word of a shell."""
    return shlex.quote(value)
