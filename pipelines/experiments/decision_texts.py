"""Decisions as Markdown in the form of MADR 4 (Markdown Any Decision Records), whether or not their KPI still holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from pipelines.evidence.render import escape_markdown
from pipelines.experiments.run_diff_texts import markdown_table

# People write Markdown; markup that a browser would obey is text here.
_MARKUP = re.compile(r"[<>]")
_LINK = re.compile(r"\]\(\s*(?!https?:|mailto:|#|\.{0,2}/)[^)]*\)", re.IGNORECASE)


def safe_markdown(text: str) -> str:
    """Markdown as somebody wrote it, without HTML and without links that could run something."""
    plain = _MARKUP.sub(lambda found: "&lt;" if found[0] == "<" else "&gt;", text)
    return _LINK.sub("](#)", plain)


def as_madr(
    row: Mapping[str, Any], *, history: Sequence[Mapping[str, Any]] = (), check: Mapping[str, Any] | None = None
) -> str:
    """One decision (a row of silver.decisions) as a MADR document; `history` are its revisions, oldest first."""
    return "\n".join(_parts(row, history, check)).rstrip() + "\n"


def file_name_of(row: Mapping[str, Any]) -> str:
    """A file name that sorts by date and tells the decision: `2026-11-20-ship-the-8-bit-cache-7c1e0d52.md`."""
    words = "-".join(re.findall(r"[a-z0-9]+", row["title"].lower()))[:60].strip("-")
    parts = (f"{row['recorded_at']:%Y-%m-%d}", words, row["decision_id"][:8])
    return "-".join(part for part in parts if part) + ".md"


def kpi_sentence(row: Mapping[str, Any]) -> str:
    """What the decision promises, in words: `failed answers <= 0.1 ratio`."""
    unit = f" {row['kpi_unit']}" if row["kpi_unit"] else ""
    return f"{row['kpi_name']} {row['kpi_comparison']} {row['kpi_threshold']:g}{unit}"


def check_sentence(check: Mapping[str, Any]) -> str:
    """What a check found, in words."""
    unit = f" {check['unit']}" if check["unit"] else ""
    promise = f"{check['kpi_name']} {check['comparison']} {check['threshold']:g}{unit}"
    if check["value"] is None:
        return f"{promise}: inconclusive. {check['reason']}"
    return f"{promise}: {check['verdict']} with {check['value']:.6g}{unit}"


def check_table(checks: pl.DataFrame) -> str:
    """Newest checks as a Markdown table, broken promises first."""
    rows = [
        {
            "decision": check["title"],
            "id": check["decision_id"][:8],
            "verdict": check["verdict"],
            "found": check_sentence(check),
            "asked": f"{check['checked_at']:%Y-%m-%d %H:%M}",
        }
        for check in checks.iter_rows(named=True)
    ]
    return markdown_table(pl.DataFrame(rows)) if rows else "No accepted decision has a KPI."


def _parts(
    row: Mapping[str, Any], history: Sequence[Mapping[str, Any]], check: Mapping[str, Any] | None
) -> Iterator[str]:
    yield "---"
    yield f"status: {row['status']}"
    yield f"date: {row['recorded_at']:%Y-%m-%d}"
    yield f"decision-makers: {_scalar(row['author'])}"
    if row["tags"]:
        yield f"tags: [{', '.join(_scalar(tag) for tag in row['tags'])}]"
    yield "---"
    yield f"\n# {escape_markdown(row['title'])}\n"
    yield f"Decision `{row['decision_id']}`, revision {row['revision_index']}.\n"
    yield "## Context and Problem Statement\n"
    yield safe_markdown(row["problem"])
    if row["alternatives"]:
        yield "\n## Considered Options\n"
        yield "\n".join(f"* {escape_markdown(item['name'])}" for item in row["alternatives"])
    yield "\n## Decision Outcome\n"
    yield safe_markdown(row["decision"])
    if row["superseded_by"]:
        yield f"\nSuperseded by decision `{escape_markdown(row['superseded_by'])}`."
    if row["kpi_name"]:
        yield "\n### Confirmation\n"
        yield f"{escape_markdown(kpi_sentence(row))}\n"
        yield f"```sql\n{row['kpi_query'].replace('```', '` ` `')}\n```"
        if check is not None:
            yield f"\nAsked {check['checked_at']:%Y-%m-%d %H:%M} UTC: {escape_markdown(check_sentence(check))}"
    if any(item["pros"] or item["cons"] or item["run_ids"] for item in row["alternatives"]):
        yield "\n## Pros and Cons of the Options"
        yield from _options(row)
    yield from _more(row, history)


def _options(row: Mapping[str, Any]) -> Iterator[str]:
    for item in row["alternatives"]:
        yield f"\n### {escape_markdown(item['name'])}\n"
        lines = [
            *(f"* Good, because {escape_markdown(text)}" for text in item["pros"]),
            *(f"* Bad, because {escape_markdown(text)}" for text in item["cons"]),
            *(f"* Run `{escape_markdown(run_id)}`" for run_id in item["run_ids"]),
        ]
        yield "\n".join(lines)


def _more(row: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    lines = [
        *(f"* Run `{escape_markdown(run_id)}`" for run_id in row["run_ids"]),
        *(f"* {safe_markdown(link)}" for link in row["links"]),
        *(
            f"* Revision {past['revision_index']}, {past['recorded_at']:%Y-%m-%d}: {past['status']}, by "
            + escape_markdown(f"{past['recorded_by']}: {past['change_note'] or 'no reason given'}")
            for past in history
        ),
    ]
    if lines:
        yield "\n## More Information\n"
        yield "\n".join(lines)


def _scalar(text: str) -> str:
    """A text as YAML that cannot be taken for anything else: a JSON string is one."""
    import orjson

    return orjson.dumps(text).decode()
