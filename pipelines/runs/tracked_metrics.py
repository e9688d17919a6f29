"""From the free names that people give their metrics to the normalised ones: `val/loss`, `p99 latency (s)`, `ttft_ms`.

What belongs here: reading a name that somebody chose, for trackers and tables whose metrics may be called anything.
The normalised names are `metric_names.py`; formats with fixed fields name their metrics themselves.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from pipelines.runs.metric_names import METRIC_NAMES

# Unit as written -> unit of the catalogue and what to multiply by.
_UNITS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("ns", "nanoseconds"), ("ms", 1e-6)),
    **dict.fromkeys(("us", "\u00b5s", "\u03bcs", "microseconds"), ("ms", 1e-3)),
    **dict.fromkeys(("ms", "msec", "millis", "milliseconds"), ("ms", 1.0)),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), ("ms", 1e3)),
    **dict.fromkeys(("min", "minutes"), ("ms", 6e4)),
    **dict.fromkeys(("h", "hours"), ("ms", 3.6e6)),
    **dict.fromkeys(("b", "byte", "bytes"), ("bytes", 1.0)),
    **{f"{prefix}b": ("bytes", 1000.0**power) for power, prefix in enumerate("kmgt", start=1)},
    **{f"{prefix}ib": ("bytes", 1024.0**power) for power, prefix in enumerate("kmgt", start=1)},
    "megabytes": ("bytes", 1e6),
    **dict.fromkeys(("tokens/s", "tok/s", "t/s", "tps"), ("tokens/s", 1.0)),
    **dict.fromkeys(("requests/s", "req/s", "rps"), ("requests/s", 1.0)),
    **dict.fromkeys(("%", "percent", "pct", "percentage"), ("ratio", 0.01)),
    **{unit: (unit, 1.0) for unit in ("ratio", "nats", "requests", "tokens")},
    "usd": ("USD", 1.0),
}
_BRACKETED = re.compile(r"^(?P<name>.*?\S)\s*[(\[]\s*(?P<unit>[^()\[\]]+?)\s*[)\]]$")
# Endings of one letter and "min" say too little after an underscore; those that count something else are left alone.
_ENDINGS = tuple(unit for unit in _UNITS if unit.isalpha() and unit not in {"b", "h", "min", "ratio", "requests"})
_ENDING = re.compile(rf"(?<!per)_(?P<unit>{'|'.join(sorted(_ENDINGS, key=len, reverse=True))})$", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s./:\-]+")
_ALIASES = {
    "ttft": "time_to_first_token",
    "tpot": "time_per_output_token",
    "itl": "inter_token_latency",
    "ppl": "perplexity",
}
# Words around a metric's name that tell values of one metric apart, as they are written in the variant.
_WORDS = {
    **{word: word for word in ("mean", "median", "min", "max", "train", "val", "test", "dev")},
    "avg": "mean",
    "average": "mean",
    "training": "train",
    "eval": "eval",
    "evaluation": "eval",
    "valid": "val",
    "validation": "val",
}
# Beyond this a name is no name.
_LONGEST_NAME = 250
_PERCENTILE = re.compile(r"^p(\d{1,2}(?:_\d+)?)$")


class TrackedMetric(NamedTuple):
    """What a name means: values are multiplied by `scale` to be in `unit`."""

    metric: str
    variant: str
    unit: str
    scale: float
    is_higher_better: bool | None


class MetricNaming:
    """Names of one run's metrics, so that no two of them end as one: of two that mean the same the first counts."""

    def __init__(self) -> None:
        self._sources: dict[tuple[str, str], str] = {}

    def name(self, source: str, *, unit: str | None = None) -> TrackedMetric:
        """The normalised metric, or the name as it is where another of the run means the same."""
        found = read_metric_name(source, unit=unit)
        if self._sources.setdefault((found.metric, found.variant), source) == source:
            return found
        self._sources.setdefault((source, ""), source)
        return TrackedMetric(source, "", unit or "1", 1.0, None)


@lru_cache(maxsize=4096)
def read_metric_name(name: str, *, unit: str | None = None) -> TrackedMetric:
    """The normalised metric that a name says, else the name as it is with the unit as it was written.

    `unit` is what the source says beside the name. Nothing is guessed: a time without a unit stays as it is.
    """
    if len(name) > _LONGEST_NAME:
        return TrackedMetric(name, "", unit or "1", 1.0, None)
    bare, stated = _split_unit(name.strip(), unit)
    found = _known(_SEPARATORS.sub("_", bare).strip("_").lower(), stated)
    if found is not None:
        return found
    # An ending such as _ms belongs to a name that is not known, a bracket does not.
    is_bracketed = unit is None and stated is not None and name.rstrip().endswith((")", "]"))
    return TrackedMetric(bare if is_bracketed else name.strip(), "", stated or "1", 1.0, None)


def _split_unit(name: str, unit: str | None) -> tuple[str, str | None]:
    if unit:
        return _ENDING.sub("", name), unit.strip()
    for match in (_BRACKETED.match(name), _ENDING.search(name)):
        if match is not None and match["unit"].lower() in _UNITS:
            return (match["name"] if "name" in match.groupdict() else name[: match.start()]), match["unit"]
    return name, None


def _known(base: str, stated: str | None) -> TrackedMetric | None:
    """The catalogue's metric, with the words around its name as variant."""
    words, variants = base.split("_"), list[str]()
    while words:
        metric = _fitting("_".join(words), stated)
        if metric is not None:
            return metric._replace(variant=",".join(variants))
        taken = _take_word(words)
        if taken is None:
            return None
        variants.append(taken)
    return None


def _take_word(words: list[str]) -> str | None:
    """A telling word off the front or the end; p99.9 has become two."""
    for length, places in ((2, (0, len(words) - 2)), (1, (0, len(words) - 1))):
        for start in places if len(words) > length else ():
            word = "_".join(words[start : start + length])
            percentile = _PERCENTILE.match(word)
            if word in _WORDS or percentile is not None:
                del words[start : start + length]
                return _WORDS.get(word) or word.replace("_", ".")
    return None


def _fitting(name: str, stated: str | None) -> TrackedMetric | None:
    """The catalogue's entry for exactly this name, if the stated unit can be turned into its unit."""
    name = _ALIASES.get(name, name)
    unit, scale = _UNITS.get(stated.lower(), (None, 1.0)) if stated else (None, 1.0)
    for candidate in (f"{name}_{unit.lower()}", name) if unit else (name,):
        metric = METRIC_NAMES.get(candidate)
        if metric is None or (stated is not None and metric.unit != unit):
            continue
        return TrackedMetric(metric.name, "", metric.unit, scale, metric.is_higher_better)
    return None
