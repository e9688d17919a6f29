"""What a stretch of a user's own code takes: time on the clock, on the processor, on the accelerator, and memory there.

What belongs here: reading clocks. Nothing is loaded for it: the accelerator is asked only where the program that is
measured has loaded torch itself. Where the numbers go is `run_log.py`.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Self

from lake.errors import UserError

_NS_PER_MS = 1_000_000


@dataclass(kw_only=True)
class Stopwatch:
    """One measured stretch. Processor time is that of all threads of this process.

    `gpu_time_ms` and `peak_memory_bytes` are None without a torch that is loaded and has an accelerator with events
    (CUDA, ROCm, XPU). They are about the current device and its current stream: from the stretch's first piece of
    work to its last, idle gaps included, and the most memory that torch had allocated at once. For the latter torch's
    own peak statistics are reset.
    """

    started_ns: int
    _cpu_ns: int
    _accelerator: _AcceleratorWatch | None
    _ended_ns: int | None = None
    _cpu_time_ms: float | None = None
    gpu_time_ms: float | None = None
    peak_memory_bytes: int | None = None

    @classmethod
    def start(cls) -> Self:
        """Begin to measure; work that the accelerator has before it is waited for, so that it does not count."""
        accelerator = _AcceleratorWatch.start()
        return cls(started_ns=time.perf_counter_ns(), _cpu_ns=time.process_time_ns(), _accelerator=accelerator)

    def stop(self) -> None:
        """End the stretch, with what it gave the accelerator to do."""
        if self._accelerator is not None:
            self.gpu_time_ms, self.peak_memory_bytes = self._accelerator.stop()
        self._cpu_time_ms = (time.process_time_ns() - self._cpu_ns) / _NS_PER_MS
        self._ended_ns = time.perf_counter_ns()

    @property
    def duration_ns(self) -> int:
        """Time that passed; raises `UserError` before the end."""
        if self._ended_ns is None:
            raise UserError("The stretch is still being measured; read its times after the `with` block.")
        return self._ended_ns - self.started_ns

    @property
    def wall_time_ms(self) -> float:
        """Time that passed; raises `UserError` before the end."""
        return self.duration_ns / _NS_PER_MS

    @property
    def cpu_time_ms(self) -> float:
        """Processor time of this process, all threads; raises `UserError` before the end."""
        _ = self.duration_ns
        assert self._cpu_time_ms is not None
        return self._cpu_time_ms


@dataclass(kw_only=True, eq=False)
class _AcceleratorWatch:
    """Two events on the current stream, and the highest memory between them."""

    device: Any
    begun: Any
    peak_bytes: int = 0

    @classmethod
    def start(cls) -> Self | None:
        device = _loaded_accelerator()
        if device is None:
            return None
        device.synchronize()
        begun = device.Event(enable_timing=True)
        begun.record()
        watch = cls(device=device, begun=begun)
        _PEAKS.begin(watch)
        return watch

    def stop(self) -> tuple[float, int]:
        ended = self.device.Event(enable_timing=True)
        ended.record()
        ended.synchronize()
        _PEAKS.end(self)
        return float(self.begun.elapsed_time(ended)), self.peak_bytes


@dataclass
class _Peaks:
    """Torch keeps one peak; stretches overlap and nest. Each takes the highest of the parts that it spans."""

    _watches: list[_AcceleratorWatch] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def begin(self, watch: _AcceleratorWatch) -> None:
        with self._lock:
            self._note(watch.device)
            watch.device.reset_peak_memory_stats()
            self._watches.append(watch)

    def end(self, watch: _AcceleratorWatch) -> None:
        with self._lock:
            self._note(watch.device)
            self._watches.remove(watch)

    def _note(self, device: Any) -> None:  # noqa: ANN401 - a module of torch
        peak = int(device.max_memory_allocated()) if self._watches else 0
        for watch in self._watches:
            watch.peak_bytes = max(watch.peak_bytes, peak)


_PEAKS = _Peaks()


def _loaded_accelerator() -> Any:  # noqa: ANN401 - a module of torch, or None
    """`torch.cuda` (also ROCm) or `torch.xpu`, if the program has loaded torch and has such a device."""
    torch = sys.modules.get("torch")
    for name in ("cuda", "xpu"):
        device = getattr(torch, name, None)
        # Half-imported torch has no is_available yet.
        if device is not None and getattr(device, "is_available", lambda: False)():
            return device
    return None
