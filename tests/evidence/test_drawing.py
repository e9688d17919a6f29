"""Pictures of texts that nobody vouches for."""

import json

from pipelines.drawing import draw


def test_texts_that_no_picture_can_hold_are_drawn_all_the_same() -> None:
    words = ["\x1b[31mred", "nul\x00", "half \ud800", "\ufffe", "<b>&\"'", "line\nend"]
    svg = draw(
        json.dumps(
            {
                "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
                "data": {"values": [{"name": word, "value": 1, word: 2} for word in words]},
                "mark": "bar",
                "encoding": {
                    "y": {"field": "name", "type": "nominal"},
                    "x": {"field": "value", "type": "quantitative"},
                },
            }
        )
    )
    assert "\u241b[31mred" in svg
    assert "<b>" not in svg
