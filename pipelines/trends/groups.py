"""Groups of series by what they are about, each with a check of its own."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal

Group = Literal["quality", "failures", "speed", "resources", "other"]

# In this order: the first group one of whose patterns matches a metric's name is its group.
_PATTERNS: dict[Group, tuple[str, ...]] = {
    "failures": ("fail*", "error*", "*_error*", "fallback_count", "timeout*"),
    "resources": ("*_bytes", "cost_*", "*_cost*", "*token_count", "parameter_count", "span_count"),
    "speed": ("*latency*", "time_*", "*_time", "*_time_ms", "*_per_s", "runtime*", "*_ms", "*_seconds", "*throughput*"),
    "quality": (
        "*score*", "*acc*", "*exact_match*", "*f1*", "*pass*", "loss", "*_loss", "perplexity", "*bleu*", "*rouge*",
        "*correct*", "*win_rate*",
    ),
    "other": ("*",),
}  # fmt: skip
GROUPS: tuple[Group, ...] = tuple(_PATTERNS)


def group_of(metric: str) -> Group:
    """The group of a metric, by its name."""
    name = metric.lower()
    return next(group for group, patterns in _PATTERNS.items() if any(fnmatchcase(name, each) for each in patterns))
