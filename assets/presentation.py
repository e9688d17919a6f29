"""Rows as the Dagster UI can show them: Markdown tables and badges.

Dagster renders Markdown and data-URI images and strips HTML. Text that a model or a file wrote is escaped by
`pipelines.evidence.render.escape_markdown`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from pipelines.evidence.render import escape_markdown, side_by_side
from pipelines.plain_texts import shown_number
from pipelines.runs.imports import ImportResult
from pipelines.runs.suite_runs import SuiteRunResult

# Pairs shown under a verdict; the diff asset shows more.
EVIDENCE_PAIRS = 4
CONTINGENCY_ROWS = 60
# Dark enough on white and light enough on black for both themes of the UI.
_COLOURS = {"pass": "#1a7f37", "fail": "#cf222e", "inconclusive": "#9a6700", "incomparable": "#8250df"}


def badge(verdict: str) -> str:
    """A coloured pill as a Markdown image, with the verdict as its text for whoever sees no images."""
    width = 16 + 7 * len(verdict)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img">'
        f'<rect width="{width}" height="20" rx="10" fill="{_COLOURS[verdict]}"/>'
        f'<text x="{width // 2}" y="14" fill="#fff" font-family="sans-serif" font-size="12" '
        f'text-anchor="middle">{verdict}</text></svg>'
    )
    return f"![{verdict}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells must already be escaped."""
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines.extend(f"| {' | '.join(row)} |" for row in rows)
    return "\n".join(lines)


def number(value: float | None, unit: str = "") -> str:
    """Four significant digits with the unit, or a dash for what is not known."""
    return f"{shown_number(value)}{f' {unit}' if unit and value is not None else ''}"


def suite_run_table(results: Sequence[SuiteRunResult]) -> str:
    """What the night asked: one line per backend."""
    return markdown_table(
        ["backend", "samples", "reused", "seconds", "file"],
        (
            [
                escape_markdown(result.backend),
                str(result.sample_count),
                str(result.reused_count),
                f"{result.seconds:.1f}",
                escape_markdown(result.path.name),
            ]
            for result in results
        ),
    )


def batch_table(cells: pl.DataFrame) -> str:
    """A batch cell by cell; rows of `batch_steps.list_cells`."""
    return markdown_table(
        ["suite", "backend", "state", "outputs", "failed", "score", "latency", "run", "why"],
        (
            [
                f"{escape_markdown(row['suite'])} `{row['suite_digest'][:8]}`",
                escape_markdown(row["backend"]),
                row["state"],
                f"{row['answered_count']} of {row['expected_count']}",
                number(row["failed_count"]),
                number(row["mean_score"]),
                number(row["median_latency_ms"], "ms"),
                f"`{row['run_id'][:8]}`",
                escape_markdown(row["error_message"] or ""),
            ]
            for row in cells.iter_rows(named=True)
        ),
    )


def import_summary(result: ImportResult) -> str:
    """What the import found, with its first complaints."""
    counts = f"{result.files} files, {result.runs} runs, {result.samples} samples, **{result.rejects} rejects**"
    lines = [f"{counts}; {result.unchanged_files} files were already imported."]
    lines.extend(f"- {escape_markdown(message)}" for message in result.messages)
    return "\n".join(lines)


def gate_table(verdicts: pl.DataFrame) -> str:
    """Verdicts with observed values, effect, interval and margin; rows of `listing.readable_verdicts`."""
    if verdicts.is_empty():
        return "No comparison was judged for these dates: no run had a baseline under the policy."
    return markdown_table(
        ["verdict", "gate", "candidate", "baseline", "effect", "interval", "margin", "n", "why"],
        (
            [
                badge(row["verdict"]),
                f"{escape_markdown(row['gate'])} ({row['severity']}s)",
                f"{escape_markdown(row['candidate'] or row['candidate_run_id'])}: {number(row['candidate_value'])}",
                f"{escape_markdown(row['baseline'] or row['baseline_run_id'])}: {number(row['baseline_value'])}",
                number(row["effect"], row["unit"]),
                f"{number(row['interval_low'])} to {number(row['interval_high'])}",
                number(row["margin"], row["unit"]),
                str(row["sample_count"]),
                escape_markdown(" ".join(row["reasons"])),
            ]
            for row in verdicts.iter_rows(named=True)
        ),
    )


def verdicts_with_evidence(
    verdicts: pl.DataFrame, pairs: pl.DataFrame, parted: pl.DataFrame | None = None, *, between: str = ""
) -> str:
    """Verdicts, and under them the outputs that differ most, so that nobody has to look for what a number is about.

    `pairs` has the columns of `steps.most_different_pairs`, `parted` those of `list_parted_pairs`: where a shown pair
    is among them, its heading says where the tokens part. `between` is Markdown that stands before the outputs.
    """
    shown = pairs.join(verdicts, on=["candidate_run_id", "baseline_run_id"], how="semi").head(EVIDENCE_PAIRS)
    sections = [gate_table(verdicts), between]
    if shown.height:
        sections += [
            "**Outputs that differ most** (more on the asset gold/output_diffs)",
            side_by_side(_with_places(shown, parted)),
        ]
    return "\n\n".join(section for section in sections if section)


def _with_places(pairs: pl.DataFrame, parted: pl.DataFrame | None) -> pl.DataFrame:
    """The pairs with where their tokens part, as far as that is among `parted`."""
    if parted is None:
        return pairs
    key = ["comparison_id", "sample_id", "repeat_index"]
    places = parted.select(*key, "first_divergence_index", "divergence_kind")
    return pairs.join(places, on=key, how="left", maintain_order="left")


def comparison_table(comparisons: pl.DataFrame) -> str:
    """Pairs of runs; rows of `gold.run_comparisons`."""
    if comparisons.is_empty():
        return "No run of these dates had a baseline under the policy."
    return markdown_table(
        ["pairing", "suite", "candidate", "baseline", "comparable", "pairs", "different", "similarity", "why"],
        (
            [
                escape_markdown(row["pairing"]),
                escape_markdown(row["suite"]),
                f"`{row['candidate_run_id'][:8]}`",
                f"`{row['baseline_run_id'][:8]}`",
                row["comparability"],
                str(row["paired_sample_count"]),
                str(row["changed_count"]),
                number(row["mean_similarity_ratio"]),
                escape_markdown(" ".join(row["reasons"])),
            ]
            for row in comparisons.sort("pairing", "comparison_id").iter_rows(named=True)
        ),
    )


def pairs_by_kind(counts: Mapping[str, int], pairs: pl.DataFrame) -> str:
    """How many pairs there are of each kind, and under it those that tell most; rows of `most_different_pairs`."""
    if not counts:
        return "No outputs could be compared: gold/run_comparisons says which, and why."
    line = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return f"{line} (docs/diffs.md says what these mean).\n\n{side_by_side(pairs)}"


def contingency_table(rows: pl.DataFrame) -> str:
    """Which side is right, slice by slice; rows of `gold.contingencies`."""
    if rows.is_empty():
        return "No scorer of these dates says right or wrong of both sides of a pair."
    order = pl.Enum(["suite", "prompt_group", "tag"])
    ordered = rows.sort(pl.col("slice_kind").cast(order), "comparison_id", "scorer", "slice_value")
    table = markdown_table(
        [
            "candidate",
            "baseline",
            "scorer",
            "slice",
            "both right",
            "only candidate",
            "only baseline",
            "both wrong",
            "n",
        ],
        (
            [
                f"`{row['candidate_run_id'][:8]}`",
                f"`{row['baseline_run_id'][:8]}`",
                escape_markdown(row["scorer"]),
                f"{row['slice_kind'].replace('_', ' ')} {escape_markdown(row['slice_value'])}",
                *(
                    str(row[f"{cell}_count"])
                    for cell in ("both_right", "candidate_only", "baseline_only", "both_wrong", "pair")
                ),
            ]
            for row in ordered.head(CONTINGENCY_ROWS).iter_rows(named=True)
        ),
    )
    more = rows.height - CONTINGENCY_ROWS
    return f"{table}\n\n{more} more slices are in the table gold.contingencies." if more > 0 else table


def contract_table(results: pl.DataFrame) -> str:
    """Expectations with what broke them, the broken ones first; rows of `gold.contract_results`."""
    ordered = results.sort(pl.col("verdict") == "pass", "column", "expectation")
    return markdown_table(
        ["verdict", "column", "expectation", "unexpected rows", "detail"],
        (
            [
                badge(row["verdict"]),
                escape_markdown(row["column"]),
                escape_markdown(row["expectation"].removeprefix("expect_").replace("_", " ")),
                f"{row['unexpected_rows']} of {row['checked_rows']}",
                escape_markdown(row["detail"] or ""),
            ]
            for row in ordered.iter_rows(named=True)
        ),
    )
