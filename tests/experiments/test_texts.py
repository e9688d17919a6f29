"""Comparisons and decisions in words: the sentence first, and hostile text that stays text."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pipelines.experiments.decision_texts import as_madr, check_sentence, file_name_of, safe_markdown
from pipelines.experiments.run_diff import diff_runs
from pipelines.experiments.run_diff_texts import as_markdown, headline, metric_frame, setting_frame
from tests.evidence.rows import output, run
from tests.experiments.test_run_diff import metrics, parameters, rows_of

HOSTILE = "<script>alert(1)</script> | ![x](javascript:alert(1)) `\n# not a heading"
DECISION = {
    "decision_id": "7c1e0d52-0000",
    "revision_index": 2,
    "title": "Ship the 8-bit cache",
    "status": "accepted",
    "problem": "Memory runs **out**.",
    "alternatives": [{"name": "8-bit", "pros": ["small"], "cons": ["slow"], "run_ids": ["run-b"]}],
    "decision": "Use it.",
    "kpi_name": "failed answers",
    "kpi_query": "select 1",
    "kpi_comparison": "<=",
    "kpi_threshold": 0.1,
    "kpi_unit": "ratio",
    "run_ids": ["run-a"],
    "tags": ["compression"],
    "links": ["https://example.org"],
    "author": "ada",
    "superseded_by": None,
    "recorded_at": dt.datetime(2026, 11, 20, tzinfo=dt.UTC),
    "recorded_by": "ada",
    "change_note": None,
}


def compared():
    a, b = run("aaaaaaaa1"), run("bbbbbbbb2", backend="b")
    return diff_runs(
        rows_of(
            a,
            b,
            parameter_rows=[
                *parameters("aaaaaaaa1", lr=("0.1", "number", 0.1)),
                *parameters("bbbbbbbb2", lr=("0.2", "number", 0.2)),
            ],
            metric_rows=metrics(
                *({"run_id": name, "metric": "loss", "value": value, "is_higher_better": False}
                  for name, value in (("aaaaaaaa1", 1.0), ("bbbbbbbb2", 1.5)))
            ),
            outputs=[output(item, index, "x") for item in (a, b) for index in range(3)],
            verdicts=[{"candidate_run_id": "bbbbbbbb2", "gate": "g", "severity": "block", "verdict": "fail"}],
        )
    )  # fmt: skip


def test_the_sentence_says_what_matters() -> None:
    assert headline(compared()) == (
        "1 run against aaaaaaaa a: 1 setting differs; worse: loss. Blocking gates failed: g."
    )


def test_a_metric_that_is_worse_in_one_statistic_and_better_in_another_is_neither() -> None:
    rows = metrics(
        *({"run_id": name, "metric": "latency_ms", "variant": variant, "value": value, "is_higher_better": False}
          for name, variant, value in (("a", "mean", 1.0), ("b", "mean", 2.0), ("a", "p95", 9.0), ("b", "p95", 3.0)))
    )  # fmt: skip
    found = headline(diff_runs(rows_of(run("a"), run("b", backend="b"), metric_rows=rows)))
    assert found == "1 run against a a: 0 settings differ; better in part: latency_ms."


def test_the_summary_shows_what_differs_and_the_expert_everything() -> None:
    found = compared()
    assert metric_frame(found, view="summary").rows() == [("loss", "1", "1", "1.5, +0.5 (+50.0%), worse")]
    assert "latency_ms (mean of outputs)" in metric_frame(found, view="expert")["metric"].to_list()
    assert setting_frame(found, view="summary")["setting"].to_list() == ["lr"]
    assert setting_frame(found, view="expert").height > 1


def test_runs_whose_ids_begin_alike_keep_their_columns() -> None:
    found = diff_runs(rows_of(run("aaaaaaaa-1"), run("aaaaaaaa-2")))
    assert metric_frame(found, view="expert").columns[2:] == ["aaaaaaaa-1 a", "aaaaaaaa-2 a"]


@pytest.mark.parametrize("hostile", [HOSTILE, "|a|b|", "\x1b[31mred"])
def test_hostile_names_stay_text_in_markdown(hostile: str) -> None:
    bad = run("aaaaaaaa1", backend=hostile, tags=[hostile])
    shown = as_markdown(diff_runs(rows_of(bad, run("b", backend=hostile))), view="expert")
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(shown)
    assert "<script" not in html
    assert "<img" not in html
    assert 'javascript:alert(1)"' not in html


def test_a_decision_is_a_madr_document() -> None:
    check = {
        "kpi_name": "failed answers", "comparison": "<=", "threshold": 0.1, "unit": "ratio", "value": 0.5,
        "verdict": "fail", "reason": None, "checked_at": dt.datetime(2026, 11, 21, tzinfo=dt.UTC),
    }  # fmt: skip
    text = as_madr(DECISION, history=[DECISION], check=check)
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Ship the 8\\-bit cache",
        "## Context and Problem Statement",
        "## Considered Options",
        "## Decision Outcome",
        "### Confirmation",
        "## Pros and Cons of the Options",
        "### 8\\-bit",
        "## More Information",
    ]
    assert "Memory runs **out**." in text
    assert check_sentence(check) == "failed answers <= 0.1 ratio: fail with 0.5 ratio"
    assert file_name_of(DECISION) == "2026-11-20-ship-the-8-bit-cache-7c1e0d52.md"


@pytest.mark.parametrize("title", ["../../etc/passwd", "//", "C:\\x", "\x00", "a/b"])
def test_a_title_makes_no_path(title: str) -> None:
    name = file_name_of(DECISION | {"title": title})
    assert not set(name) & set("/\\\0")
    assert not name.startswith(".")


@settings(deadline=None, max_examples=50)
@given(text=st.text(st.sampled_from("<>[]()!jJ:avscript /\n\t#"), max_size=40))
def test_markdown_that_people_write_runs_nothing(text: str) -> None:
    html = MarkdownIt("commonmark", {"html": True}).render(safe_markdown(text + "[a](javascript:b)"))
    assert "javascript:" not in html.replace("[a](javascript:b)", "")
    assert "<script" not in html


def test_empty_frames_have_columns() -> None:
    assert isinstance(metric_frame(diff_runs(rows_of(run("a"))), view="expert"), pl.DataFrame)
    assert "name another" in headline(diff_runs(rows_of(run("a"))))
