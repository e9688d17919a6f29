"""Differences between two runs on a terminal, as Markdown, and as JSON.

What belongs here: layout. Which pairs are shown is `diff_commands.py`, what differs `pipelines.evidence.run_diffs`.
Outputs are what a model wrote: on a terminal their control characters are shown, not obeyed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pipelines.plain_texts import shown_number
from studio.rendering import printable

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console, RenderableType
    from rich.text import Text

    from pipelines.evidence.run_diffs import RunDifferences
    from pipelines.evidence.segments import Segment

Side = Literal["baseline", "candidate"]
SIDES: tuple[Side, Side] = ("baseline", "candidate")

# Lines that stay, shown on each side of one that does not; and characters of a side, unless all of it is asked for.
CONTEXT_LINES = 1
SIDE_CHARACTERS = 3_000
VALUE_CHARACTERS = 60
# Signs as well as colours: a pipe has no colours, and not everybody sees them.
_MARKS = {
    ("edited", "baseline"): ("[-", "-]", "red"),
    ("edited", "candidate"): ("{+", "+}", "green"),
    ("moved", "baseline"): ("[>", "<]", "cyan"),
    ("moved", "candidate"): ("[>", "<]", "cyan"),
}
_KIND_STYLES = {
    "content": "bold red",
    "empty": "bold red",
    "error": "magenta",
    "wording": "yellow",
    "formatting": "dim",
}


class Line(NamedTuple):
    """A line of both texts, as pieces of them."""

    pieces: tuple[Segment, ...]

    @property
    def is_edited(self) -> bool:
        """Whether the sides differ in this line."""
        return any(piece.is_edit for piece in self.pieces)


def print_differences(
    found: RunDifferences,
    shown: pl.DataFrame,
    *,
    left_out: int,
    against: Literal["baseline", "reference"],
    is_whole: bool,
) -> None:
    """Write the two runs, the counts, and the pairs of `shown` to the terminal."""
    from rich.console import Console

    from pipelines.evidence.run_diffs import against_reference

    console = Console()
    for line in _summary(found):
        console.print(line, markup=False, highlight=False)
    rows = shown if against == "baseline" else against_reference(shown)
    if rows.is_empty() and shown.height:
        console.print("None of these samples has a reference.")
    for row in rows.iter_rows(named=True):
        _print_pair(console, row, is_whole=is_whole)
    if left_out:
        console.print(f"{left_out} more pairs; see them with --limit, or one in full with --sample ID.")


def as_markdown(
    found: RunDifferences, shown: pl.DataFrame, *, left_out: int, against: Literal["baseline", "reference"]
) -> str:
    """The same as Markdown, for a pull request."""
    from pipelines.evidence.render import escape_markdown, side_by_side
    from pipelines.evidence.run_diffs import against_reference

    head = "  \n".join(map(escape_markdown, _summary(found)))
    if found.reasons:
        return head
    rows = shown if against == "baseline" else against_reference(shown)
    more = f"\n\n{left_out} more pairs." if left_out else ""
    return f"{head}\n\n{side_by_side(rows)}{more}"


def as_json(found: RunDifferences, shown: pl.DataFrame) -> str:
    """One object: both runs, why they cannot be compared, kinds counted, contingencies, and the pairs of `shown`."""
    import orjson

    told = {
        **{side: _identity(run) for side, run in (("baseline", found.baseline), ("candidate", found.candidate))},
        "reasons": list(found.reasons),
        "kinds": found.kinds,
        "contingencies": found.contingencies.drop("comparison_id", "input_digest").to_dicts(),
        "pairs": shown.drop("comparison_id").to_dicts(),
    }
    return orjson.dumps(told, default=str).decode()


def _summary(found: RunDifferences) -> Iterator[str]:
    yield from role_lines(found.baseline, found.candidate)
    if found.reasons:
        yield f"These runs cannot be compared. {' '.join(found.reasons)}"
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.kinds.items())
    count = found.pairs.height
    yield f"{count} pair{'' if count == 1 else 's'}: {kinds}." if kinds else "No sample is in both runs."
    for row in found.contingencies.filter(slice_kind="suite").iter_rows(named=True):
        yield (
            f"{printable(row['scorer'])}: {row['both_right_count']} both right, {row['candidate_only_count']} only "
            f"candidate, {row['baseline_only_count']} only baseline, {row['both_wrong_count']} both wrong."
        )


def role_lines(baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> Iterator[str]:
    """Which run is the baseline and which the candidate, a line each, the baseline first."""
    for side, run in (("baseline", baseline), ("candidate", candidate)):
        yield f"{side:9}  " + printable("  ".join(str(fact) for fact in _identity(run).values() if fact is not None))


def _identity(run: Mapping[str, Any]) -> dict[str, Any]:
    return {name: run[name] for name in ("run_id", "suite", "backend", "model", "run_date")}


def _print_pair(console: Console, row: Mapping[str, Any], *, is_whole: bool) -> None:
    from rich.rule import Rule

    console.print(Rule(_title(row), align="left", style="dim"))
    for element in _body(row, is_whole=is_whole):
        console.print(element)


def _title(row: Mapping[str, Any]) -> Text:
    from rich.text import Text

    title = Text(printable(row["sample_id"]), style="bold", end="")
    if row["repeat_index"]:
        title.append(f" repeat {row['repeat_index']}")
    title.append(f"  {row['change_kind']}", style=_KIND_STYLES.get(row["change_kind"], ""))
    if row["similarity_ratio"] is not None:
        title.append(f"  similarity {row['similarity_ratio']:.2f}", style="not bold")
    for flip in row["flips"] or ():
        scores = f"{shown_number(flip['baseline_score'])} to {shown_number(flip['candidate_score'])}"
        style = "green" if flip["flip"] == "gained" else "red"
        title.append(f"  {flip['flip']} by {printable(flip['scorer'])}, {scores}", style=style)
    return title


def _body(row: Mapping[str, Any], *, is_whole: bool) -> Iterator[RenderableType]:
    """The two sides, and of JSON the paths that differ."""
    from rich.table import Table
    from rich.text import Text

    from pipelines.evidence.json_diff import describe, diff_json, parse_container
    from pipelines.evidence.render import head_of
    from pipelines.evidence.segments import readable_segments

    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), show_edge=False)
    for side in SIDES:
        table.add_column(printable(head_of(row, side)), ratio=1, overflow="fold", header_style="dim")
    texts = [row[f"{side}_output"] for side in SIDES]
    if None in texts:
        table.add_row(
            *(
                Text(_shown(_why_absent(row, side) if text is None else text))
                for side, text in zip(SIDES, texts, strict=True)
            )
        )
        yield table
        return
    for cells in _rows(list(lines_of(readable_segments(*texts))), is_whole=is_whole):
        table.add_row(*cells)
    yield table
    values = [parse_container(text) for text in texts]
    if None not in values:
        for change in diff_json(*values):
            yield Text(printable(f"  {describe(change, limit=VALUE_CHARACTERS)}"))


def lines_of(segments: Iterable[Segment]) -> Iterator[Line]:
    """The segments cut behind every line feed that stayed, so that both sides of a line begin together."""
    from pipelines.evidence.diff import split_units

    pieces: list[Segment] = []
    for segment in segments:
        if segment.is_edit:
            pieces.append(segment)
            continue
        for part in split_units(segment.baseline, "line"):
            pieces.append(segment._replace(baseline=part, candidate=part))
            if part.endswith("\n"):
                yield Line(tuple(pieces))
                pieces = []
    if pieces:
        yield Line(tuple(pieces))


def _rows(lines: Sequence[Line], *, is_whole: bool) -> Iterator[Sequence[Text]]:
    """Cells of both sides; lines that stayed are folded away but for those beside an edit."""
    from rich.text import Text

    left = SIDE_CHARACTERS
    for is_shown, group in groupby(enumerate(lines), key=lambda one: is_whole or _is_near_edit(lines, one[0])):
        members = [line for _, line in group]
        if not is_shown:
            folded = Text(f"\u2026 {len(members)} lines alike", style="dim")
            yield folded, folded
            continue
        for line in members:
            cells = [_cell(line, side, is_whole=is_whole) for side in SIDES]
            left -= max(map(len, cells))
            if left < 0 and not is_whole:
                yield [Text("\u2026 the rest with --sample", style="dim")] * 2
                return
            yield cells


def _is_near_edit(lines: Sequence[Line], place: int) -> bool:
    return any(line.is_edited for line in lines[max(place - CONTEXT_LINES, 0) : place + CONTEXT_LINES + 1])


def _cell(line: Line, side: Side, *, is_whole: bool) -> Text:
    """One side of a line, its edits marked."""
    from rich.text import Text

    from pipelines.evidence.segments import around_edits

    cell = Text()
    last = len(line.pieces) - 1
    for place, piece in enumerate(line.pieces):
        text = piece.baseline if side == "baseline" else piece.candidate
        if not text:
            continue
        if piece.is_edit:
            before, after, style = _MARKS[piece.kind, side]
            cell.append(f"{before}{_shown(text)}{after}", style=style)
        else:
            is_cut = line.is_edited and not is_whole
            cell.append(_shown(around_edits(text, is_first=place == 0, is_last=place == last) if is_cut else text))
    cell.rstrip()
    return cell


def _shown(text: str) -> str:
    """`text` with its line ends kept and every other control character written out."""
    return "\n".join(map(printable, text.split("\n")))


def _why_absent(row: Mapping[str, Any], side: Side) -> str:
    return f"(no output: {row[f'{side}_status']}. {row[f'{side}_error_message'] or ''})".replace(". )", ")")
