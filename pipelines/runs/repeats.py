"""How often something was measured at a step, in memory that does not grow with the number of steps.

What belongs here: counting. Steps nearly always go up by the same stride, so that a curve of a million points is one
stretch; what is kept beside it is only the steps that came more than once.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class _Stretch:
    first: int
    last: int
    stride: int = 0

    def holds(self, step: int) -> bool:
        if not self.first <= step <= self.last:
            return False
        return step == self.first if self.stride == 0 else (step - self.first) % self.stride == 0

    def takes(self, step: int) -> bool:
        """Whether the stretch could be made longer by `step`, and does so."""
        stride = step - self.last
        if stride <= 0 or self.stride not in (0, stride):
            return False
        self.stride, self.last = stride, step
        return True


@dataclass
class StepCounts:
    """Counts of one series; call `take` once a measurement."""

    _stretches: list[_Stretch] = field(default_factory=list)
    _singles: set[int] = field(default_factory=set)
    _repeats: dict[int, int] = field(default_factory=dict)
    _highest: int | None = None

    def take(self, step: int) -> int:
        """How many measurements of the step came before this one."""
        if self._highest is None or step > self._highest:
            self._highest = step
        elif step in self._singles or any(stretch.holds(step) for stretch in self._stretches):
            self._repeats[step] = self._repeats.get(step, 0) + 1
            return self._repeats[step]
        if not self._stretches or not self._stretches[-1].takes(step):
            self._open(step)
        return 0

    def _open(self, step: int) -> None:
        """Begin a stretch; short ones are put among the singles, so that there are never many to look through."""
        if self._stretches and self._stretches[-1].last - self._stretches[-1].first <= _SHORT * max(
            1, self._stretches[-1].stride
        ):
            short = self._stretches.pop()
            self._singles.update(range(short.first, short.last + 1, max(1, short.stride)))
        self._stretches.append(_Stretch(step, step))


# A stretch of up to this many strides is cheaper as a few numbers.
_SHORT = 16
