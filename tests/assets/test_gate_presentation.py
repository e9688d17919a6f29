"""What stands under a gate in the Dagster UI."""

from __future__ import annotations

import dagster as dg
import polars as pl
import pytest

from assets.gate_presentation import SHOWN_CHARTS, code_links, draw_latencies, gate_check, read_beside
from lake.store import Lake
from pipelines.evidence.listing import list_verdicts
from pipelines.evidence.steps import judge_what_is_new
from tests.evidence.rows import START, code_version, output, output_rows, policy, run, run_rows

RULES = policy(
    """
version: 1
comparisons: [{name: across, candidate: {backend: a}, baseline: {backend: b}}]
gates:
  - {name: parity, family: score_parity, margin: 0.1, minimum_n: 5}
  - {name: latency, family: latency_regression, margin: 1.1, minimum_n: 5, severity: warn}
  - {name: first_token, family: latency_regression, metric: time_to_first_token_ms, margin: 1.1, severity: warn}
"""
)
PICTURE = "](data:image/svg+xml;base64,"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A candidate that is slow and wrong about a third; it has no time to first token."""
    lake = Lake.open(tmp_path_factory.mktemp("judged") / "lake")
    candidate, baseline = run("a1"), run("b1", "b")
    lake.upsert("silver.runs", run_rows(candidate, baseline))
    wrong = {"scores": [{"scorer": "exact_match", "value": 0.0}]}
    rows = [output(baseline, index, f"the answer {index}") for index in range(30)]
    rows += [
        output(candidate, index, f"the answer {index % 20}", latency_ms=400.0 + index, **(wrong if index >= 20 else {}))
        for index in range(30)
    ]
    lake.upsert("silver.outputs", output_rows(rows))
    judge_what_is_new(lake, RULES)
    return lake


def shown(lake: Lake, name: str) -> dg.AssetCheckResult:
    verdicts = list_verdicts(lake, dates=[START.date()])
    beside = read_beside(lake, RULES, verdicts, [START.date()])
    (gate,) = (gate for gate in RULES.gates if gate.name == name)
    return gate_check(gate, verdicts, beside, dg.AssetKey(["gold", "gate_results"]))


def test_a_latency_gate_shows_how_long_both_runs_took(lake) -> None:
    found = shown(lake, "latency")
    markdown = found.metadata["verdicts"].value
    assert f"![latency of both runs{PICTURE}" in markdown
    assert "![fail](" in markdown
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.WARN
    assert found.metadata["effect"].value == pytest.approx(4.145)
    assert found.metadata["read on in gold.run_comparisons"].value == dg.AssetKey(["gold", "run_comparisons"])


def test_a_gate_on_what_nobody_timed_has_no_picture(lake) -> None:
    markdown = shown(lake, "first_token").metadata["verdicts"].value
    assert "inconclusive" in markdown
    assert "of both runs" not in markdown


def test_a_score_gate_shows_who_was_right_and_what_was_answered(lake) -> None:
    found = shown(lake, "parity")
    markdown = found.metadata["verdicts"].value
    assert "**Right and wrong**" in markdown
    assert "| exact\\_match | suite capitals | 20 | 0 | 10 | 0 | 30 |" in markdown
    assert "**Outputs that differ most**" in markdown
    assert "of both runs" not in markdown
    assert {"read on in gold.contingencies", "read on in gold.output_diffs"} <= found.metadata.keys()


def test_few_pictures_are_drawn_and_none_of_nothing(lake) -> None:
    row = lake.read("gold.run_comparisons")
    many = pl.concat([row.with_columns(comparison_id=pl.lit(f"c{place}")) for place in range(SHOWN_CHARTS + 2)])
    assert list(draw_latencies(lake, many)) == [f"c{place}" for place in range(SHOWN_CHARTS)]
    assert draw_latencies(lake, many.clear()) == {}


def comparison_of(candidate: dict, baseline: dict) -> str:
    runs = run_rows(*(run(name, code_version=version) for name, version in (("c", candidate), ("b", baseline))))
    comparison = {"pairing": "p", "comparison_id": "x", "candidate_run_id": "c", "baseline_run_id": "b"}
    return code_links(pl.DataFrame([comparison]), runs)


@pytest.mark.parametrize(
    "url", ["https://forge.example/a/b.git", "git@forge.example:a/b.git", "ssh://git@forge.example/a/b"]
)
def test_code_is_linked_where_a_run_says_which_it_was(url) -> None:
    versions = [code_version(commit) | {"repository_url": url} for commit in ("c" * 40, "b" * 40)]
    assert comparison_of(*versions) == (
        f"- `c` [cccccccc](https://forge.example/a/b/commit/{'c' * 40}) against "
        f"`b` [bbbbbbbb](https://forge.example/a/b/commit/{'b' * 40}): "
        f"[what lies between](https://forge.example/a/b/compare/{'b' * 40}...{'c' * 40})"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"repository_url": None},
        {"repository_url": "javascript:alert(1)"},
        {"repository_url": "https://forge.example/a) [x](javascript:1"},
        {"repository_url": "https://forge.example/a/b", "commit": "](x)"},
    ],
)
def test_what_is_no_plain_address_is_no_link(changes) -> None:
    assert comparison_of(code_version("c" * 40) | changes, code_version("b" * 40) | changes) == ""
