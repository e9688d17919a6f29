"""What every picture of the project shares: how a specification becomes SVG, and which colour means what.

What does not belong here: any chart; each room draws its own from its own rows.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

# Told apart by everyone, also in grey (Okabe and Ito's palette): the candidate is darker and drawn last.
SIDE_COLOURS = {"baseline": "#e69f00", "candidate": "#0072b2"}
# Better and worse are never told by hue alone: charts add a sign, an arrow or a shape.
WORSE, BETTER, NEUTRAL, ACCENT = "#d55e00", "#009e73", "#7f7f7f", "#0072b2"


# What XML cannot hold. The drawing library does not raise for it: it ends the process.
_UNDRAWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_CONTROL_PICTURES = 0x2400


def draw(specification: str) -> str:
    """A Vega-Lite specification as SVG text; nothing is loaded from anywhere.

    Texts may come from anybody: control characters in them are drawn as their pictures.
    """
    import vl_convert

    return str(vl_convert.vegalite_to_svg(json.dumps(_drawable(json.loads(specification))), allowed_base_urls=[]))


def as_data_uri(svg: str) -> str:
    """An SVG as an image address, the one way in which Dagster's Markdown shows a picture."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def as_markdown_image(svg: str, *, alt: str) -> str:
    """An SVG as a Markdown image; `alt` is our own text, without brackets."""
    return f"![{alt}]({as_data_uri(svg)})"


def _drawable(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, str):
        return _UNDRAWABLE.sub(_as_picture, value)
    if isinstance(value, dict):
        return {_drawable(key): _drawable(item) for key, item in value.items()}
    return [_drawable(item) for item in value] if isinstance(value, list) else value


def _as_picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(_CONTROL_PICTURES + code) if code < ord(" ") else "\ufffd"
