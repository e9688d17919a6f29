"""Lineage as a picture: versions in layers, ancestors on top, as SVG. Pure.

A layered drawing in three steps (after Sugiyama, Tagawa and Toda 1981): each version one layer below its lowest parent,
the order within layers by the mean place of neighbours over a few sweeps, boxes of one size with curves between them.
Small enough to write by hand, and the only graph that the project draws; Vega has no such layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from pipelines.databits.lineage import Parents, in_order
from pipelines.databits.lineage_graph import LineageGraph, Node
from pipelines.databits.units import DatabitKey
from pipelines.drawing import ACCENT, NEUTRAL, WORSE

BOX_WIDTH, BOX_HEIGHT = 216, 62
GAP_ACROSS, GAP_DOWN, MARGIN = 20, 46, 16
SWEEPS = 6
_LINE_HEIGHT = 17
# Wide letters in 12 px sans: what is longer is cut, since SVG does not wrap.
_LINE_CHARACTERS = 32
_STATUS_COLOURS = {"clear": ACCENT, "unknown": NEUTRAL, "unrecognised": WORSE, "incompatible": WORSE}


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How a version is drawn by something else than its licence: a colour, how strong it is (0 to 1), and its words."""

    colour: str
    strength: float
    text: str


def draw_lineage(graph: LineageGraph, *, marks: Mapping[DatabitKey, Mark] | None = None) -> str:
    """SVG of the versions around `graph.focus`; its box is filled, a retracted one dashed, a licence in doubt red.

    With `marks` boxes are filled by these instead, and their words stand where the licence does; a version without one
    is empty.
    """
    layers = ordered_layers([node.key for node in graph.nodes], graph.parents)
    width = max(len(layer) for layer in layers) * (BOX_WIDTH + GAP_ACROSS) - GAP_ACROSS + 2 * MARGIN
    height = len(layers) * (BOX_HEIGHT + GAP_DOWN) - GAP_DOWN + 2 * MARGIN
    places = {
        key: (_left_of(layer, width) + place * (BOX_WIDTH + GAP_ACROSS), MARGIN + depth * (BOX_HEIGHT + GAP_DOWN))
        for depth, layer in enumerate(layers)
        for place, key in enumerate(layer)
    }
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *(_curve(places[parent], places[child]) for child, own in graph.parents.items() for parent in own),
        *(_box(node, places[node.key], is_focus=node.key == graph.focus, marks=marks) for node in graph.nodes),
        "</svg>",
    ]
    return "\n".join(parts)


def ordered_layers(keys: Sequence[DatabitKey], parents: Parents) -> list[list[DatabitKey]]:
    """Keys by layer, top first: each one layer below the lowest of its parents, in an order with few crossings."""
    depths: dict[DatabitKey, int] = {}
    for key in in_order(keys, parents):
        depths[key] = 1 + max((depths[parent] for parent in parents.get(key, ()) if parent in depths), default=-1)
    layers: list[list[DatabitKey]] = [[] for _ in range(max(depths.values(), default=0) + 1)]
    for key, depth in depths.items():
        layers[depth].append(key)
    neighbours = _neighbours(parents)
    for sweep in range(SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            _settle(layer, layers, neighbours)
    return layers


def _settle(
    layer: list[DatabitKey], layers: Sequence[Sequence[DatabitKey]], neighbours: Mapping[DatabitKey, set[DatabitKey]]
) -> None:
    """Order a layer by the mean place of each version's neighbours, as shares of their layer's width."""
    places = {key: (place + 0.5) / len(row) for row in layers for place, key in enumerate(row)}

    def mean_place(key: DatabitKey) -> float:
        beside = [places[other] for other in neighbours.get(key, ()) if other in places]
        return sum(beside) / len(beside) if beside else places[key]

    layer.sort(key=mean_place)


def _neighbours(parents: Parents) -> dict[DatabitKey, set[DatabitKey]]:
    found: dict[DatabitKey, set[DatabitKey]] = {}
    for child, own in parents.items():
        for parent in own:
            found.setdefault(child, set()).add(parent)
            found.setdefault(parent, set()).add(child)
    return found


def _left_of(layer: Sequence[DatabitKey], width: int) -> int:
    return (width - len(layer) * (BOX_WIDTH + GAP_ACROSS) + GAP_ACROSS) // 2


def _curve(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1 = start[0] + BOX_WIDTH // 2, start[1] + BOX_HEIGHT
    x2, y2 = end[0] + BOX_WIDTH // 2, end[1]
    bend = (y2 - y1) // 2
    line = f'<path d="M{x1} {y1} C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2 - 6}" fill="none" stroke="{NEUTRAL}"/>'
    return f'{line}<path d="M{x2 - 4} {y2 - 7} L{x2} {y2} L{x2 + 4} {y2 - 7} Z" fill="{NEUTRAL}"/>'


def _box(node: Node, place: tuple[int, int], *, is_focus: bool, marks: Mapping[DatabitKey, Mark] | None) -> str:
    x, y = place
    dashes = ' stroke-dasharray="5 3"' if node.is_retracted else ""
    colour, filling, words = _license_look(node, is_focus=is_focus) if marks is None else _marked_look(node, marks)
    state = "retracted" if node.is_retracted else node.role
    # An id that fills the box leaves no room beside it.
    has_room = len(node.name) + len(state) + 2 <= _LINE_CHARACTERS
    first, last = (f"{node.name}  {state}", words) if has_room else (node.name, f"{state}  {words}")
    lines = ((first, "bold"), (node.label, "normal"), (last, "normal"))
    frame = f'x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" stroke="{colour}"{dashes}'
    inside = f'stroke-width="{3 if is_focus else 1.5}" {filling}'
    # A reader of the picture sees the whole id, which may be longer than the box, where the pointer rests.
    title = f"<title>{_plain(f'{node.key.databit_id}@{node.key.version}: {node.label}')}</title>"
    return "".join([f"<g>{title}<rect {frame} {inside}/>", *_texts(lines, x + 10, y + 18), "</g>"])


def _license_look(node: Node, *, is_focus: bool) -> tuple[str, str, str]:
    colour = _STATUS_COLOURS.get(node.license_status, NEUTRAL)
    sign = "!" if colour == WORSE else ""
    filling = f'fill="{"#e8f2fa" if is_focus else "#ffffff"}"'
    return colour, filling, f"{sign} {node.license} ({node.license_status})".strip()


def _marked_look(node: Node, marks: Mapping[DatabitKey, Mark]) -> tuple[str, str, str]:
    mark = marks.get(node.key)
    if mark is None:
        return NEUTRAL, 'fill="#ffffff"', "no value"
    # Never so strong that the words on it cannot be read.
    return mark.colour, f'fill="{mark.colour}" fill-opacity="{0.08 + 0.42 * min(mark.strength, 1.0):.2f}"', mark.text


def _texts(lines: Iterable[tuple[str, str]], x: int, y: int) -> list[str]:
    return [
        f'<text x="{x}" y="{y + place * _LINE_HEIGHT}" font-weight="{weight}" fill="#222222">{_fitting(text)}</text>'
        for place, (text, weight) in enumerate(lines)
    ]


def _fitting(text: str) -> str:
    """As much of a text as fits a box, escaped."""
    return _plain(text if len(text) <= _LINE_CHARACTERS else f"{text[: _LINE_CHARACTERS - 3]}...")


def _plain(text: str) -> str:
    """A text escaped, without characters that XML does not allow."""
    return escape("".join(sign if sign.isprintable() else " " for sign in text))
