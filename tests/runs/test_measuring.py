"""Clocks and what stands in for an accelerator; the real one is torch's, which is not loaded for it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import benchlake
from lake.errors import UserError
from pipelines.runs.measuring import Stopwatch


class Device:
    """What measuring uses of torch.cuda: a stream on which time passes, and memory with one peak."""

    def __init__(self) -> None:
        self.stream_ms = 0.0
        self.allocated = self.peak = 100
        self.waited = 0

    def is_available(self) -> bool:
        return True

    def synchronize(self) -> None:
        self.waited += 1

    def Event(self, *, enable_timing: bool) -> Any:  # noqa: N802 - torch's name
        assert enable_timing
        event = SimpleNamespace(at=None, synchronize=self.synchronize)
        event.record = lambda: setattr(event, "at", self.stream_ms)
        event.elapsed_time = lambda other: other.at - event.at
        return event

    def reset_peak_memory_stats(self) -> None:
        self.peak = self.allocated

    def max_memory_allocated(self) -> int:
        return self.peak

    def work(self, *, ms: float, peak: int) -> None:
        self.stream_ms += ms
        self.peak = max(self.peak, peak)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=device))
    return device


@pytest.fixture
def without_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False)))


@pytest.mark.usefixtures("without_accelerator")
def test_sleeping_takes_time_but_no_processor() -> None:
    watch = Stopwatch.start()
    time.sleep(0.05)
    watch.stop()
    assert watch.wall_time_ms >= 50
    assert 0 <= watch.cpu_time_ms < watch.wall_time_ms
    assert (watch.gpu_time_ms, watch.peak_memory_bytes) == (None, None)


@pytest.mark.usefixtures("without_accelerator")
def test_times_are_known_only_after_the_end() -> None:
    watch = Stopwatch.start()
    with pytest.raises(UserError, match="after the `with` block"):
        _ = watch.wall_time_ms


def test_nested_stretches_take_the_peaks_that_they_span(device: Device) -> None:
    # peak      before 900 | outer: 300 ... inner: 500 ... outer again: 200
    device.peak = 900
    outer = Stopwatch.start()
    device.work(ms=1, peak=300)
    inner = Stopwatch.start()
    device.work(ms=2, peak=500)
    inner.stop()
    device.work(ms=4, peak=200)
    outer.stop()
    assert (inner.gpu_time_ms, inner.peak_memory_bytes) == (2, 500)
    assert (outer.gpu_time_ms, outer.peak_memory_bytes) == (7, 500)
    assert device.waited == 4  # at both ends of each


def test_a_peak_before_a_nested_stretch_is_not_its_own(device: Device) -> None:
    outer = Stopwatch.start()
    device.work(ms=1, peak=800)
    inner = Stopwatch.start()
    device.work(ms=1, peak=150)
    inner.stop()
    outer.stop()
    assert (inner.peak_memory_bytes, outer.peak_memory_bytes) == (150, 800)


def test_a_measured_block_becomes_metrics_with_units(device: Device, tmp_path: Path) -> None:
    lake = benchlake.open_lake(tmp_path)
    with lake.start_run(suite="s", backend="b", model="m") as run:
        with run.measure("prefill", step=3):
            device.work(ms=12.5, peak=2_048)
        with pytest.raises(ValueError, match="broke"), run.measure("decode"):
            raise ValueError("broke")
    metrics = {row["metric"]: row for row in lake.read("silver.run_metrics", where={"variant": "prefill"}).to_dicts()}
    assert sorted(metrics) == ["cpu_time_ms", "gpu_time_ms", "peak_memory_bytes", "wall_time_ms"]
    assert {row["step"] for row in metrics.values()} == {3}
    assert (metrics["gpu_time_ms"]["value"], metrics["gpu_time_ms"]["unit"]) == (12.5, "ms")
    assert (metrics["peak_memory_bytes"]["value"], metrics["peak_memory_bytes"]["unit"]) == (2_048, "bytes")
    # What broke has a span, and no time that could be taken for the work's.
    assert lake.read("silver.run_metrics", where={"variant": "decode"}).is_empty()
    spans = dict(lake.read("silver.spans").select("name", "status").iter_rows())
    assert spans == {"prefill": "ok", "decode": "error"}


@pytest.mark.parametrize("torch", [None, SimpleNamespace(), SimpleNamespace(cuda=SimpleNamespace())])
def test_no_torch_or_half_a_torch_is_no_accelerator(
    torch: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if torch is None:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "torch", torch)
    watch = Stopwatch.start()
    watch.stop()
    assert watch.gpu_time_ms is None
    assert ("torch" in sys.modules) == (torch is not None)
