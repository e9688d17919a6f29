"""Reports: the sentence first, whole in each form, and hostile text that stays text."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lake.store import Lake
from pipelines.evidence.steps import compare_runs, count_contingencies, diff_outputs, judge_gates
from pipelines.experiments.links import link_decision, link_pair, link_run, link_sample, link_scenario, link_series
from pipelines.experiments.reports.blocks import (
    SIDE_CHARACTERS,
    Code,
    Link,
    Paragraph,
    Picture,
    Report,
    Section,
    SideBySide,
    Span,
    shortened,
    table_of,
)
from pipelines.experiments.reports.contents import comparison_report, night_report
from pipelines.experiments.reports.files import render, write_report
from pipelines.experiments.reports.html import as_html
from pipelines.experiments.reports.markdown import as_markdown
from pipelines.experiments.reports.pdf import as_pdf
from tests.evidence.rows import START, output, output_rows, policy, run, run_rows

HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(1)> #import "x" $y$ | **b** \x1b[31m \u202e `c`'
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'


def report(text: str) -> Report:
    pair = SideBySide(
        title=text,
        heads=(text, text),
        sides=((Span(text=text, kind="kept"), Span(text=text, kind="removed")), (Span(text=text, kind="token"),)),
    )
    blocks = (
        Paragraph(text=text),
        table_of(pl.DataFrame({text or "x": [text], "verdict": ["fail"], "n": [1.5]}), tone_column="verdict"),
        Picture(svg=SVG, alt=text),
        pair,
        Code(text=text),
        Link(text=text, address=f"javascript:{text}"),
    )
    return Report(
        title=text,
        summary=text,
        sections=(
            Section(title=text, anchor="first", blocks=blocks),
            Section(title="More", anchor="more", blocks=(Paragraph(text="for experts"),), is_expert=True),
        ),
        provenance=((text, text),),
        commands=(text,),
    )


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def is_harmless(page: str) -> bool:
    tags = Tags()
    tags.feed(page)
    return all(
        tag not in {"script", "iframe", "object", "embed", "form"}
        and not any(name.startswith("on") for name in attributes)
        and not (attributes.get("href") or "#").lower().startswith(("javascript:", "data:"))
        and (attributes.get("src") or "data:image/").startswith("data:image/")
        for tag, attributes in tags.found
    )


def test_html_needs_nothing_else_and_runs_nothing() -> None:
    page = as_html(report(HOSTILE))
    assert is_harmless(page)
    assert "default-src 'none'" in page
    assert html.escape("<script>alert(1)</script>") in page
    assert re.findall(r"https?://(?!www\.w3\.org)", page) == []
    assert "\x1b" not in page
    assert "\u202e" not in page


@settings(deadline=None, max_examples=60)
@given(text=st.text(st.sampled_from("<>\"'&/=! \n\tscriptonlaedjv:()#`[]{}%\u202e\x00"), max_size=40))
def test_no_text_is_markup_in_html_or_markdown(text: str) -> None:
    made = report(text)
    assert is_harmless(as_html(made))
    shown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(as_markdown(made))
    # Our own anchors are the only HTML.
    assert is_harmless(re.sub(r'<a id="[a-z]+"></a>', "", shown))


@pytest.mark.parametrize("text", [HOSTILE, "", "plain", "]]#[", "\\", "日本語", "a\nb"])
def test_a_pdf_is_made_of_any_text(text: str) -> None:
    assert as_pdf(report(text)).startswith(b"%PDF-")


def test_only_experts_are_shown_everything(tmp_path) -> None:
    made = report("x")
    assert b"for experts" not in render(made, "html")
    assert b"for experts" in render(made, "html", view="expert")
    paths = write_report(made, tmp_path / "out", stem="r", forms=["html", "markdown", "pdf"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["r.html", "r.md", "r.pdf"]
    assert [path.suffix for path in paths] == [".html", ".md", ".pdf"]


def test_long_outputs_are_cut_with_a_sign() -> None:
    spans = shortened(
        [Span(text="a" * 1_500, kind="kept"), Span(text="b" * 1_500, kind="added"), Span(text="c", kind="kept")]
    )
    assert sum(len(span.text) for span in spans) == SIDE_CHARACTERS + 2
    assert spans[-1].text.endswith("…")


@pytest.fixture
def lake(tmp_path) -> Lake:
    lake = Lake.open(tmp_path / "lake")
    a, b = run("aaaa-run", backend="a"), run("bbbb-run", backend="b")
    lake.upsert("silver.runs", run_rows(a, b))
    outputs = [output(b, index, f"It is {index}.") for index in range(8)]
    outputs += [output(a, index, f"It is {index}." if index else HOSTILE, latency_ms=150.0) for index in range(8)]
    lake.upsert("silver.outputs", output_rows(outputs))
    return lake


def test_a_night_tells_what_failed_first_and_where_it_comes_from(lake) -> None:
    date = START.date()
    diff_outputs(lake, policy(), [date])
    count_contingencies(lake, policy(), [date])
    compare_runs(lake, policy(), [date])
    judge_gates(lake, policy(), [date])
    made = night_report(lake, policy(), date, now=START, version="1", commands=["benchlake gate"])
    assert made.summary.startswith("1 gate failed (latency), 0 blocking. 2 runs, 1 of 8 pairs of outputs differ.")
    anchors = [section.anchor for section in made.sections]
    assert anchors[:3] == ["gates", "runs", "outputs"]
    assert "latency" in anchors
    assert dict(made.provenance)["policy"] == policy().digest
    assert "silver.runs 1" in dict(made.provenance)["table versions"]
    assert is_harmless(as_html(made))


def test_an_empty_night_is_no_pass(tmp_path) -> None:
    made = night_report(Lake.open(tmp_path), policy(), START.date(), now=START, version="1")
    assert made.summary.startswith("Nothing was judged")
    assert as_pdf(made).startswith(b"%PDF-")


def test_two_runs_are_judged_and_more_are_laid_side_by_side(lake) -> None:
    two = comparison_report(lake, policy(), ["bbbb-run", "aaaa-run"], now=START, version="1")
    assert [section.anchor for section in two.sections][:2] == ["gates", "latency"]
    assert dict(two.provenance)["run 1"].startswith("bbbb-run")
    lake.upsert("silver.runs", run_rows(run("cccc-run")))
    three = comparison_report(lake, policy(), ["bbbb-run", "aaaa-run", "cccc-run"], now=START, version="1")
    assert "gates" not in [section.anchor for section in three.sections]
    assert as_markdown(three).startswith("# Comparison of 3 runs")


@pytest.mark.parametrize("hostile", ["x'; drop table y; --", "a b", "$(rm -rf /)", "../../x", "#"])
def test_links_quote_what_they_hold(hostile: str) -> None:
    import shlex

    import duckdb

    for link in (
        link_run(hostile, START.date()),
        link_pair(hostile, hostile, START.date()),
        link_sample(hostile, hostile, START.date()),
    ):
        # Whatever it holds stays within one word of the shell.
        assert hostile.replace("'", "''") in " ".join(shlex.split(link.command)).replace("''", "'").replace("'", "''")
        assert len(duckdb.connect().extract_statements(link.sql)) == 1
        assert link.page.startswith("http://127.0.0.1:3000/assets/")


def test_links_stay_the_same() -> None:
    assert link_run("r", START.date()).page == (
        "http://127.0.0.1:3000/assets/gold/run_comparisons?view=partitions&partition=2026-11-20"
    )
    assert link_series("s").anchor == "series-s"
    assert link_decision("d").command == "benchlake decisions show d"
    assert link_scenario("c").sql == "select * from silver.scenarios where scenario_id = 'c'"


def test_a_pair_is_diffed_with_its_baseline_first() -> None:
    assert link_pair("candidate", "baseline", START.date()).command == "benchlake diff baseline candidate"
