from xml.etree import ElementTree as ET

import numpy as np
import polars as pl
import pytest

from pipelines.evidence.charts import latency_chart

NUMBERS = np.random.default_rng(1)


def latencies(count: int, *, name: str = "llama.cpp") -> pl.DataFrame:
    return pl.concat(
        pl.DataFrame({"side": side, "name": label, "latency_ms": NUMBERS.lognormal(mean, 0.4, count)})
        for side, label, mean in (("baseline", name, 6.0), ("candidate", "transformers", 6.5))
    )


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_both_runs_and_the_axes_are_named() -> None:
    shown = texts(latency_chart(latencies(40), title="starter"))
    assert {"starter", "llama.cpp", "transformers", "answered by then"} <= set(shown)


def test_hostile_names_are_text() -> None:
    svg = latency_chart(latencies(5, name="<script>alert(1)</script>"), title="</svg><script>")
    assert "<script" not in svg
    assert any("<script>" in text for text in texts(svg))


def test_many_answers_make_no_larger_picture() -> None:
    few, many = (len(latency_chart(latencies(count), title="t")) for count in (400, 20_000))
    assert many < 1.5 * few


def test_without_latencies_there_is_no_picture() -> None:
    rows = latencies(3).with_columns(latency_ms=pl.lit(None, dtype=pl.Float64))
    with pytest.raises(ValueError, match="no latencies"):
        latency_chart(rows, title="t")
