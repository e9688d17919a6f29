from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.runs.metric_names import METRIC_NAMES
from pipelines.runs.repeats import StepCounts
from pipelines.runs.tracked_metrics import MetricNaming, read_metric_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("loss", ("loss", "", "nats", 1.0)),
        ("val/loss", ("loss", "val", "nats", 1.0)),
        ("Validation Loss", ("loss", "val", "nats", 1.0)),
        ("eval_loss", ("loss", "eval", "nats", 1.0)),
        ("train/ppl", ("perplexity", "train", "1", 1.0)),
        ("latency_ms", ("latency_ms", "", "ms", 1.0)),
        ("p99 latency (s)", ("latency_ms", "p99", "ms", 1e3)),
        ("latency_p99_us", ("latency_ms", "p99", "ms", 1e-3)),
        ("p99.9 TTFT [ms]", ("time_to_first_token_ms", "p99.9", "ms", 1.0)),
        ("mean.latency.min (ms)", ("latency_ms", "mean,min", "ms", 1.0)),
        ("peak_memory_mb", ("peak_memory_bytes", "", "bytes", 1e6)),
        ("peak memory (MiB)", ("peak_memory_bytes", "", "bytes", 1024.0**2)),
        ("output_tokens_per_s", ("output_tokens_per_s", "", "tokens/s", 1.0)),
        ("accuracy (%)", ("accuracy", "", "ratio", 0.01)),
        ("cost (USD)", ("cost_usd", "", "USD", 1.0)),
        # Not known, or not in that unit: the name as it is, with the unit that it says.
        ("latency", ("latency", "", "1", 1.0)),
        ("p99 [s]", ("p99", "", "s", 1.0)),
        ("build_time_s", ("build_time_s", "", "s", 1.0)),
        ("loss (ms)", ("loss", "", "ms", 1.0)),
        ("throughput (widgets)", ("throughput (widgets)", "", "1", 1.0)),
        ("p99", ("p99", "", "1", 1.0)),
        ("", ("", "", "1", 1.0)),
        ("(" * 5_000, ("(" * 5_000, "", "1", 1.0)),
    ],
)
def test_names_that_people_give(name: str, expected: tuple[str, str, str, float]) -> None:
    found = read_metric_name(name)
    assert (found.metric, found.variant, found.unit, found.scale) == expected


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_the_catalogues_own_names_mean_themselves(name: str) -> None:
    metric, found = METRIC_NAMES[name], read_metric_name(name)
    assert (found.metric, found.variant, found.scale) == (name, "", 1.0)
    assert (found.unit, found.is_higher_better) == (metric.unit, metric.is_higher_better)


def test_a_unit_beside_the_name_counts() -> None:
    assert read_metric_name("latency", unit="s")[:4] == ("latency_ms", "", "ms", 1e3)
    assert read_metric_name("throughput", unit="widgets")[:4] == ("throughput", "", "widgets", 1.0)


def test_two_names_that_mean_the_same_do_not_become_one() -> None:
    naming = MetricNaming()
    assert naming.name("val/loss")[:2] == ("loss", "val")
    assert naming.name("validation_loss")[:2] == ("validation_loss", "")
    assert naming.name("val/loss")[:2] == ("loss", "val")


STEPS = st.one_of(
    st.lists(st.integers(-20, 20), max_size=60),
    st.builds(
        lambda first, stride, again: [first + stride * place for place in range(40)] + again,
        st.integers(-5, 5),
        st.integers(1, 7),
        st.lists(st.integers(-10, 300), max_size=30),
    ),
    # Two writers of one curve, side by side.
    st.builds(lambda stride: [place for at in range(0, 90, stride) for place in (at, at + 1000)], st.integers(1, 5)),
)


@settings(deadline=None, max_examples=200)
@given(steps=STEPS)
def test_steps_are_counted_as_by_a_plain_counter(steps: list[int]) -> None:
    counts, oracle = StepCounts(), Counter[int]()
    for step in steps:
        assert counts.take(step) == oracle[step]
        oracle[step] += 1


def test_a_long_curve_is_one_stretch() -> None:
    counts = StepCounts()
    assert [counts.take(step) for step in range(0, 1_000_000, 10)] == [0] * 100_000
    assert len(counts._stretches) == 1
    assert not counts._singles
