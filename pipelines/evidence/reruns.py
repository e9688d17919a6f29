"""When a failure waits for a re-run: the rule of `confirm_on_rerun`.

Pure: judgements in, judgements out. Which runs are re-runs is `unchanged_code.py`, judging one run is `gates.py`.

**The rule.** A gate with `confirm_on_rerun` that fails is inconclusive until another run of the same code and settings
decides. Such runs are judged against the same baseline. If the last one before the candidate failed too, the gate
fails; that it passed decides nothing, since it is no answer to this failure. Else the re-runs are looked at in the
order of their start, and the first that fails or passes decides: it fails, and the gate fails; it passes, and the gate
passes. One that is inconclusive itself decides nothing. The numbers stay those of the candidate; the reasons have the
re-run's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from pipelines.evidence.gates import Judgement
from pipelines.evidence.policy import Gate

AWAITS_RERUN = "It awaits a re-run"

JudgeRun = Callable[[str], Sequence[Judgement]]
"""The judgements of all gates, in their order, on a run by its id, against the same baseline."""


def confirm_failures(
    gates: Sequence[Gate],
    judged: Sequence[Judgement],
    *,
    rerun_ids: Sequence[str],
    earlier_id: str | None = None,
    judge_run: JudgeRun,
    why_none: str = "",
) -> list[Judgement]:
    """The judgements with every failure that must be confirmed held against the re-runs.

    `earlier_id` is the last run of the same code before the candidate. `why_none` says why nothing can be a re-run of
    the candidate, if that is so. Other runs are judged only as far as a failure asks for them.
    """
    looked_at: dict[str, Sequence[Judgement]] = {}

    def judged_again(run_id: str, place: int) -> Judgement:
        if run_id not in looked_at:
            looked_at[run_id] = judge_run(run_id)
        return looked_at[run_id][place]

    result = []
    for place, (gate, found) in enumerate(zip(gates, judged, strict=True)):
        if not gate.confirm_on_rerun:
            result.append(found)
        elif found.verdict != "fail":
            result.append(replace(found, rerun_ids=()))
        else:
            again = partial(judged_again, place=place)
            result.append(_confirmed(found, again, earlier_id=earlier_id, rerun_ids=rerun_ids, why_none=why_none))
    return result


def _confirmed(
    found: Judgement,
    again: Callable[[str], Judgement],
    *,
    earlier_id: str | None,
    rerun_ids: Sequence[str],
    why_none: str,
) -> Judgement:
    """A failure as the other runs leave it; `again` gives the judgement on a run."""
    used: list[str] = []
    reasons = list(found.reasons)
    if earlier_id is not None:
        used.append(earlier_id)
        before = again(earlier_id)
        if before.verdict == "fail":
            why = f"Confirmed: it had failed before in the run {_told(earlier_id, before)}"
            return replace(found, reasons=(*reasons, why), rerun_ids=tuple(used))
    for run_id in rerun_ids:
        used.append(run_id)
        after = again(run_id)
        told = _told(run_id, after)
        if after.verdict == "fail":
            return replace(
                found, reasons=(*reasons, f"Confirmed: it failed again in the re-run {told}"), rerun_ids=tuple(used)
            )
        if after.verdict == "pass":
            why = f"Not confirmed: it passed in the re-run {told} The first re-run that decides counts."
            return replace(found, verdict="pass", reasons=(*reasons, why), rerun_ids=tuple(used))
        reasons.append(f"Undecided in the re-run {told}")
    reasons.append(
        f"{AWAITS_RERUN}: alone it would fail, and it does once a second run of the same code and settings has "
        f"failed too.{f' {why_none}' if why_none else ''}"
    )
    return replace(found, verdict="inconclusive", reasons=tuple(reasons), rerun_ids=tuple(used))


def _told(run_id: str, judgement: Judgement) -> str:
    return f"{run_id[:8]}, of the same code and settings against the same baseline: {judgement.reasons[0]}"
