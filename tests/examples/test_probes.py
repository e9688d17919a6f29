"""Probes: which samples are asked with which example, and the uses that come of it."""

from __future__ import annotations

import datetime as dt

import pytest

from pipelines.examples.drafts import ExampleDraft
from pipelines.examples.effect_steps import EFFECTS, update_effects
from pipelines.examples.importing import ensure_examples
from pipelines.examples.probes import ProbePlace, ask_probes, one_shot_prompt, plan_probes
from pipelines.examples.usages import USAGES, read_usages
from pipelines.runs.backends import Completion
from pipelines.runs.suites import parse_suite
from tests.evidence.rows import FINGERPRINT, START, output, output_rows, run, run_rows
from tests.examples.rows import AUTHOR, NOW

SUITE = parse_suite(
    """\
name: sums
version: "1"
scorers: [contains]
samples:
  - {id: two, prompt: "1+1?", reference: "2"}
  - {id: four, prompt: "2+2?", reference: "4"}
  - {id: six, prompt: "3+3?", reference: "6"}
""",
    source="test",
)
PLACE = ProbePlace(suite=SUITE, backend="a", backend_digest="0" * 64)
IDS = ["own-two", "other-1", "other-2"]


class Copier:
    """Answers with the prompt, so that it is right when the example in it holds the reference; fails on demand."""

    max_concurrency = 1

    def __init__(self, *, failing: str = "nothing") -> None:
        self.failing = failing
        self.asked: list[str] = []

    def complete(self, prompt: str, sampling) -> Completion:
        self.asked.append(prompt)
        assert sampling.top_k_logprobs == 0
        if self.failing in prompt:
            return Completion.failed("no", latency_ms=1.0)
        return Completion(status="ok", output=prompt)


def rank(_: str) -> list[str]:
    return IDS


@pytest.fixture
def asked(lake):
    """A lake with three examples and a run that answered two of three samples, one of them right."""
    ensure_examples(
        lake,
        [
            ExampleDraft(example_id="own-two", inputs={"prompt": "1+1?"}, expected_output="2"),
            ExampleDraft(example_id="other-1", inputs={"prompt": "1+3?"}, expected_output="it is 4"),
            ExampleDraft(example_id="other-2", inputs={"prompt": "5+5?"}, expected_output="10"),
        ],
        now=NOW,
        author=AUTHOR,
    )
    done = run("run-1", suite="sums", fingerprint=FINGERPRINT | {"suite_digest": SUITE.digest}, started_at=START)
    lake.upsert("silver.runs", run_rows(done))
    scores = {"two": [{"scorer": "contains", "value": 1.0}], "four": [{"scorer": "contains", "value": 0.0}], "six": []}
    lake.upsert(
        "silver.outputs",
        output_rows([output(done, 0, "x", sample_id=name, scores=own) for name, own in scores.items()]),
    )
    return lake


def plan(lake, *, count: int = 9, now: dt.datetime = NOW):
    return plan_probes(lake, PLACE, rank, count=count, now=now)


def test_a_sample_is_never_shown_its_own_example_and_needs_a_score_without(asked) -> None:
    planned = {probe.sample.id: (probe.example["example_id"], probe.baseline_score) for probe in plan(asked)}
    assert planned == {"two": ("other-1", 1.0), "four": ("own-two", 0.0)}


def test_uses_have_what_the_same_call_scored_without_the_example(asked) -> None:
    backend = Copier()
    result = ask_probes(asked, PLACE, plan(asked), backend, now=NOW)
    # The prompts repeat the example: "own-two" does not hold 4; the prompt 1+1? with "it is 4" does not hold 2.
    assert (result.asked_count, result.scored_count, result.mean_baseline_score) == (2, 2, 0.5)
    rows = read_usages(asked)
    assert set(rows["consumer_kind"]) == {"prompt"}
    assert rows["stratum"].n_unique() == rows["call_id"].n_unique() == 2
    assert dict(rows.select("sample_id", "baseline_score").iter_rows()) == {"two": 1.0, "four": 0.0}
    assert update_effects(asked, now=NOW).example_count == 2
    assert set(asked.read(EFFECTS)["effect_kind"]) == {"too_few_uses"}


def test_another_night_asks_what_was_not_asked_until_nothing_is_left(asked) -> None:
    seen = set()
    for night in range(3):
        probes = plan(asked, count=2, now=NOW + dt.timedelta(days=night))
        ask_probes(asked, PLACE, probes, Copier(), now=NOW + dt.timedelta(days=night))
        seen |= {(probe.sample.id, probe.example["example_id"]) for probe in probes}
    assert seen == {
        ("two", "other-1"),
        ("two", "other-2"),
        ("four", "own-two"),
        ("four", "other-1"),
        ("four", "other-2"),
    }
    assert plan(asked) == []


def test_samples_that_had_the_fewest_come_first(asked) -> None:
    first = plan(asked, count=1)
    ask_probes(asked, PLACE, first, Copier(), now=NOW)
    assert plan(asked, count=1, now=NOW + dt.timedelta(days=1))[0].sample.id != first[0].sample.id


def test_the_same_night_again_asks_nothing(asked) -> None:
    ask_probes(asked, PLACE, plan(asked, count=2), Copier(), now=NOW)
    assert plan(asked, count=2, now=NOW + dt.timedelta(hours=3)) == []


def test_a_probe_that_failed_is_asked_again(asked) -> None:
    result = ask_probes(asked, PLACE, plan(asked), Copier(failing="2+2?"), now=NOW)
    assert (result.asked_count, result.scored_count) == (2, 1)
    assert {probe.sample.id: probe.example["example_id"] for probe in plan(asked)}["four"] == "own-two"


def test_nothing_is_asked_of_a_suite_that_has_no_run(lake) -> None:
    assert plan(lake) == []
    result = ask_probes(lake, PLACE, [], Copier(), now=NOW)
    assert (result.asked_count, result.mean_outcome_score, lake.row_count(USAGES)) == (0, None, 0)


def test_the_prompt_shows_the_example_first() -> None:
    prompt = one_shot_prompt({"inputs": '{"prompt":"1+1?"}', "expected_output": "2"}, "2+2?")
    assert prompt.index("1+1?") < prompt.index("Answer: 2") < prompt.index("2+2?")
