"""Lineage as text: a tree for the terminal, Mermaid for Markdown, DOT for Graphviz. Pure.

Labels come from anybody's data, so each form gets them escaped its own way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipelines.databits.lineage import Parents
from pipelines.databits.lineage_drawing import Mark
from pipelines.databits.lineage_graph import LineageGraph, Node
from pipelines.databits.units import DatabitKey

_CONTROL_END = 0x20


def as_tree(graph: LineageGraph) -> str:
    """What the version stems from, and what stems from it, a line each; what was shown already is not unfolded."""
    children = _children(graph.parents)
    lines = [f"made from{'' if graph.parents.get(graph.focus) else ': nothing'}"]
    lines += _branches(graph, graph.focus, graph.parents, set(), "")
    lines += ["", f"{_line(graph.node(graph.focus))}   <- this one", ""]
    lines += [f"from it were made{'' if children.get(graph.focus) else ': nothing'}"]
    lines += _branches(graph, graph.focus, children, set(), "")
    if graph.hidden_count:
        lines += ["", f"{graph.hidden_count} more that are further away are not shown."]
    if graph.parents:
        lines += ["", f"Look at one:  benchlake databits show {graph.nodes[-1].name}"]
    return "\n".join(lines)


def _branches(
    graph: LineageGraph, node: DatabitKey, below: Parents, seen: set[DatabitKey], indent: str
) -> Iterator[str]:
    own = list(below.get(node, ()))
    for place, key in enumerate(own):
        is_last = place == len(own) - 1
        was_seen = key in seen
        seen.add(key)
        yield f"{indent}{'`-- ' if is_last else '|-- '}{_line(graph.node(key))}{' (above)' if was_seen else ''}"
        if not was_seen:
            yield from _branches(graph, key, below, seen, f"{indent}{'    ' if is_last else '|   '}")


def _line(node: Node) -> str:
    facts = [fact for fact in (node.role, node.license, "RETRACTED" if node.is_retracted else "") if fact]
    return f"{node.name}  {node.label}  [{', '.join(facts)}]"


def _children(parents: Parents) -> dict[DatabitKey, list[DatabitKey]]:
    children: dict[DatabitKey, list[DatabitKey]] = {}
    for child, own in parents.items():
        for parent in own:
            children.setdefault(parent, []).append(child)
    return children


def as_mermaid(graph: LineageGraph, *, marks: Mapping[DatabitKey, Mark] | None = None) -> str:
    """A Mermaid flowchart, ancestors on top; the version itself is drawn thick, retracted ones dashed.

    With `marks` versions have their colour, and their words in the place of the licence.
    """
    names = {node.key: f"n{place}" for place, node in enumerate(graph.nodes)}
    lines = ["flowchart TD"]
    for node in graph.nodes:
        own = _label_lines(node)
        if marks is not None:
            own = [*own[:2], marks[node.key].text if node.key in marks else "no value"]
        label = "<br/>".join(map(_mermaid_text, own))
        lines.append(f'  {names[node.key]}["{label}"]')
    lines += [f"  {names[parent]} --> {names[child]}" for child, own in graph.parents.items() for parent in own]
    lines.append(f"  style {names[graph.focus]} stroke-width:3px")
    lines += [f"  style {names[node.key]} stroke-dasharray:4 3" for node in graph.nodes if node.is_retracted]
    lines += [
        f"  style {names[key]} fill:{mark.colour}{_opacity(mark)},stroke:{mark.colour}"
        for key, mark in (marks or {}).items()
    ]
    return "\n".join(lines)


def _opacity(mark: Mark) -> str:
    """How strong a mark is as the last two digits of a colour."""
    return f"{round(255 * (0.08 + 0.42 * min(mark.strength, 1.0))):02x}"


def _mermaid_text(text: str) -> str:
    """Every sign that Mermaid or HTML could take for its own as a numeric entity."""
    return "".join(sign if sign.isalnum() or sign in " .,@-_" else f"#{ord(sign)};" for sign in text)


def as_dot(graph: LineageGraph) -> str:
    """A Graphviz digraph, ancestors on top."""
    names = {node.key: f"n{place}" for place, node in enumerate(graph.nodes)}
    lines = ["digraph lineage {", "  node [shape=box, fontname=sans];"]
    for node in graph.nodes:
        label = "\\n".join(map(_dot_text, _label_lines(node)))
        style = ", penwidth=3" if node.key == graph.focus else ""
        style += ", style=dashed" if node.is_retracted else ""
        lines.append(f'  {names[node.key]} [label="{label}"{style}];')
    lines += [f"  {names[parent]} -> {names[child]};" for child, own in graph.parents.items() for parent in own]
    return "\n".join([*lines, "}"])


def _dot_text(text: str) -> str:
    plain = "".join(sign if ord(sign) >= _CONTROL_END else " " for sign in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"')


def _label_lines(node: Node) -> list[str]:
    return [node.name, node.label, ", ".join(filter(None, (node.role, node.license)))]
