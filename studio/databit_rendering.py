"""Versions of DataBits, their differences and their lineage, as people see them on a terminal and programs in JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pipelines.plain_texts import shown_number
from studio.rendering import printable

if TYPE_CHECKING:
    import polars as pl

    from lake.store import Lake
    from pipelines.databits.lineage_graph import LineageGraph
    from pipelines.databits.version_diff import VersionDiff

CONTENT_LINES = 40


def write_json(value: object) -> None:
    """One JSON value on standard output; instants as ISO 8601."""
    import orjson

    # Whole numbers beyond 64 bits are content too, which the fast writer refuses.
    try:
        text = orjson.dumps(value, default=str).decode()
    except TypeError:
        import json

        text = json.dumps(value, default=str)
    sys.stdout.write(f"{text}\n")


def print_version(row: Mapping[str, Any]) -> None:
    """A version for people: a fact a line, then its content."""
    sys.stdout.write("\n".join(_facts(row)) + "\n\n")
    lines = _content_lines(row["content"])
    sys.stdout.write("\n".join(lines[:CONTENT_LINES]) + "\n")
    if len(lines) > CONTENT_LINES:
        sys.stdout.write(f"... {len(lines) - CONTENT_LINES} more lines; --json shows all\n")


def _facts(row: Mapping[str, Any]) -> Iterator[str]:
    attribution, license_ = row["attribution"], row["license"]
    state = ", RETRACTED" if row["is_deleted"] else ""
    yield f"{row['databit_id']} version {row['version']} of {row['newest_version']}{state}"
    yield f"written    {row['created_at']:%Y-%m-%d %H:%M} UTC by {printable(row['created_by'])}"
    if row["change_note"]:
        yield f"note       {printable(row['change_note'])}"
    yield f"creator    {printable(attribution['creator'] or 'unknown')}"
    if attribution["source"]:
        yield f"source     {printable(attribution['source'])}"
    for parent in attribution["derived_from"]:
        yield f"made from  {parent['databit_id']}@{parent['version']}"
    yield f"licence    {printable(attribution['license'] or 'not stated')}{_effective(license_)}"
    for finding in license_["findings"] if license_ else ():
        yield f"           {printable(finding)}"
    if row["search_keys"]:
        yield f"keys       {printable(', '.join(row['search_keys']))}"
    for score in row["quality_scores"]:
        yield f"score      {printable(score['scorer'])} {shown_number(score['value'])} (came with it)"
    for score in row["scores"]:
        value = shown_number(score["value"])
        detail = f" ({printable(score['detail'])})" if score["detail"] else ""
        yield f"score      {score['scorer']} {value}{detail}"
    if row["duplicate_of"]:
        other = row["duplicate_of"]
        yield f"repeats    {other['canonical_id']}@{other['canonical_version']} ({other['duplicate_kind']})"


def _effective(license_: Mapping[str, Any] | None) -> str:
    if license_ is None:
        return " (not judged yet: benchlake databits lineage ID)"
    origin = f", from {license_['inherited_from']}" if license_["inherited_from"] else ""
    return f"; in effect {license_['effective_license'] or 'unknown'} ({license_['status']}{origin})"


def _content_lines(content: object) -> list[str]:
    import json

    text = content if isinstance(content, str) else json.dumps(content, indent=2, ensure_ascii=False)
    return [printable(line) for line in text.split("\n")]


def print_version_diff(found: VersionDiff, before: str, after: str) -> None:
    """What differs, member by member, then the content: paths of JSON, or words with the edits marked."""
    if found.is_empty:
        sys.stdout.write(f"{before} and {after} say the same.\n")
        return
    sys.stdout.write(f"{before} -> {after}\n")
    for change in found.members:
        sys.stdout.write(f"  {change.member}: {printable(change.before)} -> {printable(change.after)}\n")
    for line in found.content_lines():
        sys.stdout.write(f"  {printable(line)}\n")
    if any(segment.is_edit for segment in found.segments):
        _print_segments(found)


def _print_segments(found: VersionDiff) -> None:
    from rich.console import Console
    from rich.text import Text

    text = Text("  ")
    for segment in found.segments:
        if not segment.is_edit:
            text.append(_shown(segment.baseline))
            continue
        # Marked in signs too: colour alone tells nothing in a pipe.
        if segment.baseline:
            text.append(f"[-{_shown(segment.baseline)}-]", style="red")
        if segment.candidate:
            text.append(f"{{+{_shown(segment.candidate)}+}}", style="green")
    Console().print(text, soft_wrap=True)


def _shown(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


def version_diff_json(found: VersionDiff) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "is_same": found.is_empty,
        "members": [change._asdict() for change in found.members],
        "json_changes": found.content_lines(),
        "segments": [segment._asdict() for segment in found.segments],
    }


def draw(graph: LineageGraph, form: Literal["tree", "mermaid", "dot", "svg"]) -> str:
    """A lineage in the form that was asked for; on a terminal control characters are shown, not obeyed."""
    from pipelines.databits.lineage_drawing import draw_lineage
    from pipelines.databits.lineage_texts import as_dot, as_mermaid, as_tree

    if form == "svg":
        return draw_lineage(graph)
    text = {"tree": as_tree, "mermaid": as_mermaid, "dot": as_dot}[form](graph)
    return "\n".join(map(printable, text.split("\n")))


def print_items(lake: Lake, items: pl.DataFrame) -> None:
    """Items of the queue whole: why, what stands, what is proposed, what the assistant says."""
    from pipelines.databits.reading import read_versions
    from pipelines.databits.units import parse_content

    own = items.filter(items["subject_kind"] == "databit")
    rows = read_versions(lake, own["subject_id"].to_list(), columns=["databit_id", "version", "content"])
    contents = {(databit_id, version): content for databit_id, version, content in rows.iter_rows()}
    for item in items.iter_rows(named=True):
        sys.stdout.write(f"{item['item_id']}  {item['rule']}, until {item['claim_expires_at']:%H:%M} UTC\n")
        sys.stdout.write(f"  {printable(item['reason'])}\n")
        if item["assistant_label"]:
            sure = f"{item['assistant_confidence']:.0%}"
            sys.stdout.write(f"  {printable(item['assistant_model'])} would {item['assistant_label']} it ({sure})\n")
        for title, content in (
            ("stands", contents.get((item["subject_id"], item["subject_version"]))),
            ("proposed", item["proposed_content"]),
        ):
            if content is not None:
                lines = _content_lines(parse_content(content))
                sys.stdout.write(f"  {title}:\n" + "".join(f"    {line}\n" for line in lines[:CONTENT_LINES]))
        sys.stdout.write("\n")
    sys.stdout.write("Decide:  benchlake databits curation accept|edit|reject ITEM\n")
