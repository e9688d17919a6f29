"""Runs of unchanged code: which runs repeat another, and between which runs nothing but noise can differ.

Pure: rows of `silver.runs` in, run ids out. What gates make of them is `reruns.py` and `noise_floor.py`.

Two runs are of the same code and settings when they name the same commit of a clean working tree and agree in suite,
backend, model, engine, its version, format and every field of the fingerprint. A run that names no commit, or was made
from a changed working tree, is of the same code as no other: nobody knows what it ran.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lake.identity import json_digest
from pipelines.evidence.policy import AUTO, Gate, RunFilter

# The first re-run that decides counts, and a verdict must not change for ever.
MAX_RERUNS = 3
# So many runs before the candidate tell the noise of its kind; older ones tell of another machine.
MAX_HISTORY_RUNS = 12

Run = Mapping[str, Any]
Key = tuple[object, ...]
Chain = tuple[str, ...]
"""Ids of runs of one code, in the order of their start."""

_KIND = ("suite", "backend", "model", "source_kind")
_ENGINE = ("engine", "engine_version")


@dataclass(frozen=True, kw_only=True)
class Support:
    """The runs beside candidate and baseline that verdicts about them may rest on.

    `rerun_ids` are re-runs of the candidate in the order of their start, `earlier_id` is the last run of its code
    before it. `chains` are runs of unchanged code of the candidate's kind, and of the baseline's kind if that is
    another, from before the candidate. `run_dates` and `contents` (digests) are those of all these runs.
    """

    rerun_ids: tuple[str, ...] = ()
    earlier_id: str | None = None
    chains: tuple[tuple[Chain, ...], ...] = ()
    run_dates: Mapping[str, dt.date] = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)

    def digest_of(self, gate: Gate) -> str:
        """Digest of the runs that the gate may look at; empty when there is none."""
        chains = self.chains if gate.margin == AUTO else ()
        earlier = () if self.earlier_id is None else (self.earlier_id,)
        reruns = (*earlier, *self.rerun_ids) if gate.confirm_on_rerun else ()
        if not chains and not reruns:
            return ""
        looked_at = [*reruns, *(run_id for kind in chains for chain in kind for run_id in chain)]
        return json_digest([reruns, chains, [self.contents[run_id] for run_id in looked_at]])


NO_SUPPORT = Support()


class CodeHistory:
    """Runs by what they ran: looks up re-runs, and runs of unchanged code.

    `runs` are rows of `silver.runs`. Only a run that ended in `success` repeats or tells anything. Runs that
    `unchanged` admits count as runs of one code, whatever commit they name.
    """

    def __init__(self, runs: Iterable[Run], *, unchanged: RunFilter | None = None) -> None:
        self._runs = {run["run_id"]: run for run in runs}
        self._by_code: dict[Key, list[Run]] = {}
        self._by_kind: dict[Key, list[tuple[Key, Run]]] = {}
        for run in sorted(self._runs.values(), key=_start):
            if run["status"] != "success":
                continue
            code = code_of(run)
            if code is not None:
                self._by_code.setdefault(code, []).append(run)
            lineage = code
            if unchanged is not None and unchanged.admits(run):
                lineage = (*_settings_of(run), "unchanged")
            if lineage is not None:
                self._by_kind.setdefault(_kind_of(run), []).append((lineage, run))

    def support_of(self, candidate_id: str, baseline_id: str) -> Support:
        """What verdicts about two runs may rest on besides; nothing for a run that is gone."""
        if not {candidate_id, baseline_id} <= self._runs.keys():
            return NO_SUPPORT
        candidate, baseline = self._runs[candidate_id], self._runs[baseline_id]
        reruns = tuple(run["run_id"] for run in self.reruns_of(candidate) if run["run_id"] != baseline_id)
        earlier = self._earlier(candidate, baseline_id)
        kinds = dict.fromkeys((_kind_of(candidate), _kind_of(baseline)))
        chains = tuple(tuple(self._chains(kind, before=candidate["started_at"])) for kind in kinds)
        used = {*reruns, *earlier, *(run_id for kind in chains for chain in kind for run_id in chain)}
        return Support(
            rerun_ids=reruns,
            earlier_id=earlier[0] if earlier else None,
            chains=tuple(kind for kind in chains if kind),
            run_dates={run_id: self._runs[run_id]["run_date"] for run_id in used},
            contents={run_id: self._runs[run_id]["content_digest"] for run_id in used},
        )

    def reruns_of(self, run: Run) -> list[Run]:
        """The first runs after this one of the same code and settings; a copy of it is none."""
        code = code_of(run)
        same = self._by_code.get(code, []) if code is not None else []
        later = same[bisect_right(same, run["started_at"], key=_started_at) :]
        return [other for other in later if other["content_digest"] != run["content_digest"]][:MAX_RERUNS]

    def _earlier(self, run: Run, baseline_id: str) -> list[str]:
        """The last run of the same code and settings before this one, unless it is the baseline or a copy; or none."""
        code = code_of(run)
        same = self._by_code.get(code, []) if code is not None else []
        before = same[: bisect_left(same, run["started_at"], key=_started_at)][-1:]
        return [
            other["run_id"]
            for other in before
            if other["run_id"] != baseline_id and other["content_digest"] != run["content_digest"]
        ]

    def repeated_by(self, run: Run) -> list[Run]:
        """The runs that this one may be a re-run of, by `reruns_of`: all that it can settle."""
        code = code_of(run)
        same = self._by_code.get(code, []) if code is not None else []
        # One more than count: the run itself may be gone since.
        return same[: bisect_left(same, run["started_at"], key=_started_at)][-(MAX_RERUNS + 1) :]

    def _chains(self, kind: Key, *, before: dt.datetime) -> Iterator[Chain]:
        """Of the latest runs of a kind those of one code each, where there are at least two."""
        known = self._by_kind.get(kind, [])
        latest = known[: bisect_left(known, before, key=lambda each: each[1]["started_at"])][-MAX_HISTORY_RUNS:]
        by_code: dict[Key, list[str]] = {}
        for code, run in latest:
            by_code.setdefault(code, []).append(run["run_id"])
        yield from (tuple(ids) for ids in by_code.values() if len(ids) > 1)


def code_of(run: Run) -> Key | None:
    """What two runs of the same code and settings have in common; None when nobody knows what the run ran."""
    version = run["code_version"] or {}
    if not version.get("commit") or version.get("is_dirty"):
        return None
    return (*_settings_of(run), version.get("repository_url"), version["commit"])


def why_no_rerun(run: Run) -> str:
    """Why nothing can be a re-run of this run; empty when it only has to be done."""
    version = run["code_version"] or {}
    if not version.get("commit"):
        return "The run names no commit, so no run can be told to be of the same code."
    if version.get("is_dirty"):
        return "The run was made from a changed working tree, so no run can be told to be of the same code."
    return ""


def _kind_of(run: Run) -> Key:
    fingerprint = run["fingerprint"] or {}
    return (*(run[name] for name in _KIND), *(f"{name}={fingerprint[name]}" for name in sorted(fingerprint)))


def _settings_of(run: Run) -> Key:
    return (*_kind_of(run), *(run[name] for name in _ENGINE))


def _start(run: Run) -> tuple[dt.datetime, str]:
    return run["started_at"], run["run_id"]


def _started_at(run: Run) -> dt.datetime:
    started_at: dt.datetime = run["started_at"]
    return started_at
