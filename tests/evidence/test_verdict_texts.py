from xml.etree import ElementTree as ET

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evidence.policy import load_policy
from pipelines.evidence.policy_text import explain_policy
from pipelines.evidence.verdict_texts import as_junit, as_markdown, headline
from resources.config import DEFAULTS
from tests.evidence.rows import policy


def verdicts(*rows: dict) -> pl.DataFrame:
    full = [
        {
            "verdict": "pass",
            "gate": "parity",
            "severity": "block",
            "suite": "capitals",
            "candidate": "a",
            "baseline": "b",
            "candidate_value": 0.5,
            "baseline_value": None,
            "effect": 0.1,
            "interval_low": -0.05,
            "interval_high": 0.2,
            "margin": 0.1,
            "unit": "score",
            "sample_count": 40,
            "reasons": ["Because."],
            "candidate_run_id": "run-a",
            "baseline_run_id": "run-b",
        }
        | row
        for row in rows
    ]
    return pl.DataFrame(full, schema_overrides={"baseline_value": pl.Float64})


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{}, {"verdict": "fail"}], "2 gates: 1 fail, 1 pass; a blocking gate failed, so the run is not promoted."),
        ([{}, {"verdict": "fail", "severity": "warn"}], "2 gates: 1 fail, 1 pass; every blocking gate passed."),
        (
            [{"verdict": "inconclusive"}],
            "1 gates: 1 inconclusive; no blocking gate failed, but not all could be decided.",
        ),
    ],
)
def test_the_headline_says_what_it_means(rows: list[dict], told: str) -> None:
    assert headline(verdicts(*rows)) == told


def test_nothing_judged_is_no_pass() -> None:
    assert "not a pass" in headline(verdicts({}).clear())
    assert "not a pass" in as_markdown(verdicts({}).clear())


def test_markdown_has_a_row_a_gate_and_the_reasons_of_what_did_not_pass() -> None:
    text = as_markdown(verdicts({}, {"gate": "slow", "verdict": "fail", "reasons": ["It is *slow*."]}))
    rows = [line for line in text.splitlines() if line.startswith("| ") and "gate" not in line]
    assert len(rows) == 2
    assert "It is \\*slow\\*" in text
    assert "Because" not in text


HOSTILE = st.text(max_size=30)


@settings(deadline=None, max_examples=60)
@given(name=HOSTILE, reason=HOSTILE)
def test_hostile_names_stay_text(name: str, reason: str) -> None:
    rows = verdicts({"candidate": name, "verdict": "fail", "reasons": [reason]})
    junit = ET.fromstring(as_junit(rows))
    assert [case.tag for case in junit.iter("testcase")] == ["testcase"]
    assert len(list(junit.iter("failure"))) == 1
    table = [line for line in as_markdown(rows).splitlines() if line.startswith("| ")]
    # One cell more would be a pipe that got through: 8 columns have 9 bars.
    assert [line.replace("\\|", "").count("|") for line in table] == [9, 9]


def test_junit_tells_failures_from_warnings_and_doubts() -> None:
    rows = verdicts({}, {"verdict": "fail"}, {"verdict": "fail", "severity": "warn"}, {"verdict": "incomparable"})
    suite = ET.fromstring(as_junit(rows)).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "1", "1")


def test_the_shipped_policy_explains_itself() -> None:
    told = explain_policy(load_policy(DEFAULTS / "gates.yaml"))
    assert "Runs with backend transformers are compared with the run with backend llama.cpp of the same suite" in told
    assert "The mean score must not be more than 0.1 below the baseline's." in told
    assert "The median latency_ms must not be more than 1.25 times the baseline's." in told
    assert "A failure warns and blocks nothing." in told


def test_every_key_that_changes_a_gate_changes_its_words() -> None:
    base = "version: 1\ncomparisons: [{{name: p, baseline: previous}}]\ngates: [{{name: g, family: {}, margin: {}{}}}]"
    texts = [
        explain_policy(policy(base.format(*words)))
        for words in [
            ("latency_regression", 1.1, ""),
            ("latency_regression", 1.2, ""),
            ("latency_regression", "auto", ""),
            ("latency_regression", 1.1, ", quantile: 0.95"),
            ("latency_regression", 1.1, ", sample_tag: [hard, new]"),
            ("latency_regression", 1.1, ", severity: warn"),
            ("latency_regression", 1.1, ", minimum_n: 7"),
            ("latency_regression", 1.1, ", confidence: 0.9"),
            ("score_parity", 1.1, ""),
            ("score_parity", 1.1, ", is_higher_better: false"),
            ("failure_rate", 1, ""),
        ]
    ]
    assert len(set(texts)) == len(texts)
