"""A report as PDF, by Typst: one wheel without a browser or system libraries.

The document is data for a template of ours, never Typst source, so that no text in it can be an instruction.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from pipelines.experiments.reports.blocks import Report
from pipelines.plain_texts import printable

_TEMPLATE = Path(__file__).with_name("report.typ")


def as_pdf(report: Report) -> bytes:
    """The whole file. Letters that no font of this machine has are shown as boxes."""
    import typst

    content = orjson.dumps(_plain(report)).decode()
    return bytes(typst.compile(_TEMPLATE.read_bytes(), sys_inputs={"report": content}, format="pdf"))


def _plain(report: Report) -> dict[str, Any]:
    content = asdict(report)
    for section, told in zip(report.sections, content["sections"], strict=True):
        told["blocks"] = [
            {"kind": type(block).__name__, **_visible(fields)}
            for block, fields in zip(section.blocks, told["blocks"], strict=True)
        ]
    for name in ("title", "summary", "provenance", "commands"):
        content[name] = _visible(content[name])
    return content


def _visible(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Texts with control characters shown, as everywhere; an SVG is ours and stays as it is."""
    if isinstance(value, str):
        return "\n".join(map(printable, value.split("\n")))
    if isinstance(value, dict):
        return {name: item if name == "svg" else _visible(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_visible(item) for item in value]
    return value
