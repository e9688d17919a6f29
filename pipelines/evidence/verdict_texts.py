"""Verdicts as texts that other programs show: Markdown for a pull request, JUnit XML for a CI system.

Pure: rows of `listing.list_verdicts` in, text out. Names and reasons come from files that others wrote, so they are
escaped. Tables on a terminal are `studio/`, the Dagster UI is `assets/presentation.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

import polars as pl

from pipelines.evidence.render import escape_markdown
from pipelines.plain_texts import shown_number

# Shown first, worst first; also the words of the headline.
VERDICT_ORDER = ("fail", "incomparable", "inconclusive", "pass")
_MARKS = {"fail": "\u274c", "incomparable": "\u26d4", "inconclusive": "\u2754", "pass": "\u2705"}
# What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def headline(verdicts: pl.DataFrame) -> str:
    """One sentence: how many gates came out how, and what it means for promotion."""
    if verdicts.is_empty():
        return "Nothing was judged: no run has a baseline under the policy. That is not a pass."
    counts = dict(verdicts["verdict"].value_counts().iter_rows())
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICT_ORDER if verdict in counts)
    blocking = verdicts.filter(pl.col("severity") == "block")
    if (blocking["verdict"] == "fail").any():
        meaning = "a blocking gate failed, so the run is not promoted"
    elif blocking.height and (blocking["verdict"] == "pass").all():
        meaning = "every blocking gate passed"
    else:
        meaning = "no blocking gate failed, but not all could be decided"
    return f"{verdicts.height} gates: {told}; {meaning}."


def as_markdown(
    verdicts: pl.DataFrame, *, comparison: Mapping[str, Any] | None = None, tokens: Sequence[str] = ()
) -> str:
    """A section for a pull request: headline, table, reasons of what did not pass in a fold.

    `tokens` are sentences about where tokens part (`pair_token_texts.py`).
    """
    parts = ["### Benchlake gates", "", headline(verdicts), ""]
    if comparison is not None:
        parts += [*_comparison_lines(comparison), *(f"- {escape_markdown(line)}" for line in tokens), ""]
    if verdicts.height:
        parts += ["| | gate | candidate | baseline | effect | interval | margin | n |", f"|{'---|' * 8}"]
        parts += [_table_row(row) for row in verdicts.iter_rows(named=True)]
    open_reasons = [row for row in verdicts.iter_rows(named=True) if row["verdict"] != "pass"]
    if open_reasons:
        parts += ["", "<details><summary>Why</summary>", ""]
        parts += [f"- **{escape_markdown(row['gate'])}**: {_sentences(row['reasons'])}" for row in open_reasons]
        parts += ["", "</details>"]
    return "\n".join(parts) + "\n"


def as_junit(verdicts: pl.DataFrame) -> str:
    """JUnit XML: a test case per verdict; failures that block are failures, everything undecided is skipped.

    A warning gate that fails is told in the output of its case, because CI systems know no warnings.
    """
    suite = ET.Element("testsuite", name="benchlake.gates", tests=str(verdicts.height))
    failed = skipped = 0
    for row in verdicts.iter_rows(named=True):
        place = f"{row['suite']}.{row['candidate']}-vs-{row['baseline']}"
        case = ET.SubElement(suite, "testcase", name=_xml(row["gate"]), classname=_xml(place))
        reasons = _xml(" ".join(row["reasons"]))
        if row["verdict"] == "fail" and row["severity"] == "block":
            failed += 1
            ET.SubElement(case, "failure", message=reasons, type="gate").text = reasons
        elif row["verdict"] in {"inconclusive", "incomparable"}:
            skipped += 1
            ET.SubElement(case, "skipped", message=f"{row['verdict']}: {reasons}")
        else:
            ET.SubElement(case, "system-out").text = f"{row['verdict']}: {reasons}"
    suite.set("failures", str(failed))
    suite.set("skipped", str(skipped))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _comparison_lines(comparison: Mapping[str, Any]) -> Sequence[str]:
    sides = [escape_markdown(comparison[f"{side}_run_id"][:8]) for side in ("baseline", "candidate")]
    lines = [
        (
            f"Baseline {sides[0]}, candidate {sides[1]}: {comparison['comparability']}; "
            f"{comparison['changed_count'] or 0} of {comparison['paired_sample_count']} outputs differ."
        )
    ]
    lines.extend(f"- {escape_markdown(reason)}" for reason in comparison["reasons"])
    return lines


def _table_row(row: Mapping[str, Any]) -> str:
    cells = [
        f"{_MARKS[row['verdict']]} {row['verdict']}",
        f"{escape_markdown(row['gate'])} ({row['severity']}s)",
        f"{escape_markdown(row['candidate'] or row['candidate_run_id'])}: {shown_number(row['candidate_value'])}",
        f"{escape_markdown(row['baseline'] or row['baseline_run_id'])}: {shown_number(row['baseline_value'])}",
        f"{shown_number(row['effect'])} {row['unit']}",
        f"{shown_number(row['interval_low'])} to {shown_number(row['interval_high'])}",
        shown_number(row["margin"]),
        str(row["sample_count"]),
    ]
    return f"| {' | '.join(cells)} |"


def _sentences(reasons: Sequence[str]) -> str:
    return escape_markdown(" ".join(reasons))


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
