"""Probes: samples of a suite asked again with one example before them, for a fair comparison of examples.

What belongs here: which samples are asked with which examples, the prompt, and the uses that come of it. The backend
and the ranking of examples are arguments. One example a call, because then the answer without any example, which the
night's own run has, is what the same call scored without it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from lake.identity import derived_id
from lake.store import Lake
from pipelines.embeddings.texts import text_of_json
from pipelines.examples.digests import input_digest
from pipelines.examples.store import ExampleStore
from pipelines.examples.usages import USAGES, Usage, record_usages
from pipelines.runs.backends import Backend
from pipelines.runs.scorers import ScorerError, score
from pipelines.runs.suites import Sample, Suite

# Examples of a sample that are tried, the likest first.
_TRIED = 20


@dataclass(frozen=True, kw_only=True)
class ProbePlace:
    """Where probes are made: a suite on a backend, whose digest covers name and configuration, and its last run."""

    suite: Suite
    backend: str
    backend_digest: str

    def stratum(self, sample_id: str) -> str:
        """Calls that differ by their example alone."""
        return derived_id("example_probe", self.suite.digest, self.backend_digest, sample_id)

    def night(self, now: dt.datetime) -> str:
        """The consumer that the probes of a date have in common."""
        return derived_id("example_probes", self.suite.digest, self.backend_digest, now.date().isoformat())


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A sample to be asked with an example (a row of silver.examples), and what it scored without."""

    sample: Sample
    example: Mapping[str, Any]
    baseline_score: float


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """Probes that were asked, how many gave a score, and the mean score with and without the example."""

    asked_count: int
    scored_count: int
    mean_outcome_score: float | None
    mean_baseline_score: float | None


def plan_probes(
    lake: Lake, place: ProbePlace, rank: Callable[[str], Sequence[str]], *, count: int, now: dt.datetime
) -> list[Probe]:
    """Probes that were never asked, of the samples that had the fewest so far: `count` in all on a date.

    `rank` gives ids of examples for a prompt, the likest first. A sample's own example is never shown with it. Samples
    without an answer of this backend to this suite are left out. Which of equally rarely asked samples come first
    changes by date.
    """
    baselines = read_baselines(lake, place)
    strata = {sample.id: place.stratum(sample.id) for sample in place.suite.samples if sample.id in baselines}
    columns = ["stratum", "example_id", "databit_version", "consumer_id"]
    asked = lake.read(USAGES, columns=columns, where={"stratum": sorted(strata.values())})
    left = count - asked.filter(pl.col("consumer_id") == place.night(now)).height
    times = dict(asked["stratum"].value_counts().iter_rows())
    order = sorted(
        strata, key=lambda name: (times.get(strata[name], 0), derived_id("turn", now.date().isoformat(), name))
    )
    done = set(asked.drop("consumer_id").iter_rows())
    samples = {sample.id: sample for sample in place.suite.samples}
    probes: list[Probe] = []
    for sample_id in order:
        if len(probes) >= left:
            break
        sample = samples[sample_id]
        for example in _candidates(lake, sample, rank):
            if (strata[sample_id], example["example_id"], example["databit_version"]) not in done:
                probes.append(Probe(sample=sample, example=example, baseline_score=baselines[sample_id]))
                break
    return probes


def read_baselines(lake: Lake, place: ProbePlace) -> dict[str, float]:
    """Mean score of each sample in the newest successful run of the suite on the backend; unscored ones are absent."""
    runs = lake.read(
        "silver.runs",
        columns=["run_id", "run_date", "started_at", "fingerprint"],
        where={"suite": place.suite.name, "backend": place.backend, "status": "success"},
    )
    own = runs.filter(pl.col("fingerprint").struct.field("suite_digest") == place.suite.digest).sort("started_at")
    if own.is_empty():
        return {}
    newest = own.row(-1, named=True)
    outputs = lake.read(
        "silver.outputs",
        columns=["sample_id", "status", "scores"],
        where={"run_date": newest["run_date"], "run_id": newest["run_id"]},
    )
    values = pl.col("scores").list.eval(pl.element().struct.field("value")).list.mean()
    scored = outputs.filter(pl.col("status") != "error").select("sample_id", value=values).drop_nulls()
    return dict(scored.group_by("sample_id").agg(pl.col("value").mean()).iter_rows())


def one_shot_prompt(example: Mapping[str, Any], prompt: str) -> str:
    """A prompt with one example before it."""
    return (
        f"Here is a question with its answer.\n\n{text_of_json(example['inputs'])}\n"
        f"Answer: {text_of_json(example['expected_output'])}\n\nNow answer this one.\n\n{prompt}"
    )


def ask_probes(
    lake: Lake,
    place: ProbePlace,
    probes: Sequence[Probe],
    backend: Backend,
    *,
    now: dt.datetime,
    progress: Callable[[int, int, str], None] | None = None,
) -> ProbeResult:
    """Ask the backend and record the uses; a probe that fails is not recorded and comes again another night."""
    usages: list[Usage] = []
    for done, probe in enumerate(probes, start=1):
        outcome = _ask(place, probe, backend)
        if outcome is not None:
            usages.append(_usage(place, probe, outcome, now))
        if progress is not None:
            progress(done, len(probes), f"examples on {place.backend}")
    if usages:
        record_usages(lake, usages)
    return ProbeResult(
        asked_count=len(probes),
        scored_count=len(usages),
        mean_outcome_score=_mean([usage.outcome_score for usage in usages]),
        mean_baseline_score=_mean([usage.baseline_score for usage in usages]),
    )


def _candidates(lake: Lake, sample: Sample, rank: Callable[[str], Sequence[str]]) -> list[dict[str, Any]]:
    rows = ExampleStore(lake).read(list(rank(sample.prompt))[:_TRIED])
    others = rows.filter(pl.col("input_digest") != input_digest({"prompt": sample.prompt}))
    return others.to_dicts()


def _ask(place: ProbePlace, probe: Probe, backend: Backend) -> float | None:
    sampling = replace(place.suite.parameters, top_k_logprobs=0)
    completion = backend.complete(one_shot_prompt(probe.example, probe.sample.prompt), sampling)
    if completion.status != "ok":
        return None
    values = []
    for use in place.suite.uses_of(probe.sample):
        try:
            values.append(score(use.name, completion.output or "", probe.sample.reference, use.options))
        except ScorerError:
            continue
    return _mean(values)


def _usage(place: ProbePlace, probe: Probe, outcome: float, now: dt.datetime) -> Usage:
    stratum = place.stratum(probe.sample.id)
    example_id, version = probe.example["example_id"], probe.example["databit_version"]
    return Usage(
        example_id=example_id,
        databit_version=version,
        consumer_kind="prompt",
        consumer_id=place.night(now),
        sample_id=probe.sample.id,
        call_id=derived_id("example_probe_call", stratum, example_id, version),
        stratum=stratum,
        outcome_score=outcome,
        baseline_score=probe.baseline_score,
        used_at=now,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
