"""Pictures of effects: drawn when there is something to draw, and hostile text stays text."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import polars as pl
import pytest

from pipelines.examples.charts import MAX_SHOWN, effectiveness_chart, effects_chart
from pipelines.examples.effectiveness import effect_over_time, estimate_lifts, shrink
from tests.examples.planted import plant_uses


@pytest.fixture(scope="module")
def uses() -> pl.DataFrame:
    return plant_uses(np.random.default_rng(2), uses_each=60, examples_each=12).usages


def texts_of(svg: str) -> str:
    return " ".join(ET.fromstring(svg).itertext())


def test_an_effect_over_time_is_a_picture(uses) -> None:
    svg = effectiveness_chart(effect_over_time(uses, "good-000", prior_scale=0.1), title="Is <b>it</b> & good?")
    assert "Is <b>it</b> & good?" in texts_of(svg)
    assert "lift of the score" in texts_of(svg)


def test_a_history_without_estimates_cannot_be_drawn(uses) -> None:
    with pytest.raises(ValueError, match="no estimate"):
        effectiveness_chart(effect_over_time(uses.head(3), "good-000", prior_scale=0.1), title="x")


def test_the_examples_with_the_largest_effects_are_shown(uses) -> None:
    effects = shrink(estimate_lifts(uses), prior_scale=0.1).with_columns(label=pl.lit("a ]( label"))
    shown = texts_of(effects_chart(effects, title="Effects"))
    assert shown.count("a ]( label") == min(MAX_SHOWN, effects.height)
    with pytest.raises(ValueError, match="No example"):
        effects_chart(effects.head(0), title="Effects")
