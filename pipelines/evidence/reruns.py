"""When a failure waits for a re-run: the rule of `confirm_on_rerun`.

Pure: judgements in, judgements out. Which runs are re-runs is `unchanged_code.py`, judging one run is `gates.py`.

**The rule.** A gate with `confirm_on_rerun` that fails is inconclusive until a re-run decides. Re-runs are judged
against the same baseline, in the order of their start, and the first that fails or passes decides: it fails, and the
gate fails; it passes, and the gate passes. One that is inconclusive itself decides nothing. The numbers stay those of
the candidate; the reasons have the re-run's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

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
    judge_run: JudgeRun,
    why_none: str = "",
) -> list[Judgement]:
    """The judgements with every failure that must be confirmed held against the re-runs.

    `why_none` says why nothing can be a re-run of the candidate, if that is so. Re-runs are judged only as far as a
    failure asks for them.
    """
    looked_at: dict[str, Sequence[Judgement]] = {}

    def of_rerun(run_id: str, place: int) -> Judgement:
        if run_id not in looked_at:
            looked_at[run_id] = judge_run(run_id)
        return looked_at[run_id][place]

    return [
        _confirmed(found, rerun_ids, lambda run_id, place=place: of_rerun(run_id, place), why_none)  # type: ignore[misc]
        if gate.confirm_on_rerun
        else found
        for place, (gate, found) in enumerate(zip(gates, judged, strict=True))
    ]


def _confirmed(
    found: Judgement, rerun_ids: Sequence[str], judgement_of: Callable[[str], Judgement], why_none: str
) -> Judgement:
    if found.verdict != "fail":
        return replace(found, rerun_ids=())
    reasons = found.reasons
    for count, run_id in enumerate(rerun_ids, start=1):
        again = judgement_of(run_id)
        told = f"{run_id[:8]}, of the same code and settings against the same baseline: {again.reasons[0]}"
        if again.verdict == "fail":
            why = f"Confirmed: it failed again in the re-run {told}"
        elif again.verdict == "pass":
            why = f"Not confirmed: it passed in the re-run {told} The first re-run that decides counts."
        else:
            reasons = (*reasons, f"Undecided in the re-run {told}")
            continue
        return replace(found, verdict=again.verdict, reasons=(*reasons, why), rerun_ids=tuple(rerun_ids[:count]))
    why = (
        f"{AWAITS_RERUN}: alone it would fail, and it does once a second run of the same code and settings has "
        f"failed too.{f' {why_none}' if why_none else ''}"
    )
    return replace(found, verdict="inconclusive", reasons=(*reasons, why), rerun_ids=tuple(rerun_ids))
