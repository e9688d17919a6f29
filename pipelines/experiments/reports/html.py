"""A report as one HTML file that needs nothing else: no script, no font, no address outside itself.

Jinja2 with autoescape for the frame and every text; pictures are images with their data inside, so that even an SVG
could not run anything; a content security policy forbids the rest.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pipelines.drawing import as_data_uri
from pipelines.experiments.reports.blocks import Block, Report
from pipelines.plain_texts import printable

if TYPE_CHECKING:
    from jinja2 import Template

_SAFE_ADDRESSES = ("http://127.0.0.1", "http://localhost", "https://", "#", "./")


def as_html(report: Report) -> str:
    """The whole file."""
    return _template().render(report=report)


def _kind(block: Block) -> str:
    return type(block).__name__


def _shown(text: str) -> str:
    """Text with invisible characters made visible, but for the line ends that layout keeps."""
    return "\n".join(map(printable, text.split("\n")))


def _address(text: str) -> str:
    """An address that leads somewhere harmless; anything else leads nowhere."""
    return text if text.startswith(_SAFE_ADDRESSES) else "#"


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipelines.experiments.reports", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"kind": _kind, "shown": _shown, "address": _address, "data_uri": as_data_uri}
    return environment.get_template("report.html.jinja")
