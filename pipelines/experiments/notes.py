"""Notes on anything: which thing a word means, and whether it is there.

What belongs here: subjects beyond runs. Writing and reading notes is `pipelines.runs.remarks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lake.errors import UserError
from lake.store import Lake
from lake.tables.remarks import NOTE_SUBJECTS
from pipelines.experiments.decisions import find_decision
from pipelines.experiments.scenarios import find_scenario
from pipelines.runs.remarks import Act, find_run, write_notes


def check_subject_kind(kind: str) -> str:
    """The kind itself; raises `UserError` for one that has no notes."""
    if kind not in _FINDERS:
        raise UserError.unknown("kind of subject", kind, _FINDERS)
    return kind


def note_subject(lake: Lake, subject: str) -> tuple[str, str]:
    """Kind and whole id of what `KIND:ID` means: `pair:81bc/3fa2`, `sample:3fa2/fact-japan`, `decision:7c1e`.

    Raises `UserError` for a kind that has no notes, and for a thing that is not there.
    """
    kind, colon, word = subject.partition(":")
    if kind not in _FINDERS or not colon or not word:
        raise UserError(
            f"{subject!r} names nothing to write on: give KIND:ID with one of {', '.join(NOTE_SUBJECTS)}; "
            "pair:BASELINE/CANDIDATE, sample:RUN/SAMPLE."
        )
    return kind, _FINDERS[kind](lake, word)


def subject_ids(kind: str, subject_id: str) -> list[str]:
    """Ids under which notes on a thing stand: those on a pair, whichever run was named first."""
    if kind != "pair":
        return [subject_id]
    baseline, _, candidate = subject_id.partition("/")
    return [subject_id, f"{candidate}/{baseline}"]


def add_subject_note(lake: Lake, subject: str, text: str, *, act: Act) -> tuple[str, str]:
    """Write a note on one thing; gives its kind and id."""
    kind, subject_id = note_subject(lake, subject)
    write_notes(lake, kind, [subject_id], text, act=act)
    return kind, subject_id


def _run(lake: Lake, word: str) -> str:
    return str(find_run(lake, word)["run_id"])


def _pair(lake: Lake, word: str) -> str:
    baseline, slash, candidate = word.partition("/")
    if not slash:
        raise UserError(f"pair:{word} names one run; write pair:BASELINE/CANDIDATE.")
    return f"{_run(lake, baseline)}/{_run(lake, candidate)}"


def _sample(lake: Lake, word: str) -> str:
    begin, slash, sample = word.partition("/")
    if not slash:
        raise UserError(f"sample:{word} names no sample; write sample:RUN/SAMPLE.")
    run = find_run(lake, begin)
    where = {"run_date": run["run_date"], "run_id": run["run_id"]}
    known = lake.read("silver.outputs", columns=["sample_id"], where=where)["sample_id"].unique().sort().to_list()
    if sample not in known:
        raise UserError.unknown(f"sample of run {run['run_id'][:8]}", sample, known)
    return f"{run['run_id']}/{sample}"


def _by_beginning(table: str, column: str, what: str) -> Callable[[Lake, str], str]:
    def find(lake: Lake, word: str) -> str:
        ids = lake.read(table, columns=[column])[column].unique().sort().to_list()
        found = [name for name in ids if name == word] or [name for name in ids if name.startswith(word)]
        if len(found) != 1:
            raise UserError.not_one(what, word, found, see=f"benchlake {what}s list")
        return str(found[0])

    return find


_FINDERS: Mapping[str, Callable[[Lake, str], str]] = {
    "run": _run,
    "pair": _pair,
    "sample": _sample,
    "example": _by_beginning("silver.examples", "example_id", "example"),
    "databit": _by_beginning("silver.databits", "databit_id", "databit"),
    "scenario": lambda lake, word: str(find_scenario(lake, word)["scenario_id"]),
    "decision": lambda lake, word: str(find_decision(lake, word)["decision_id"]),
}
