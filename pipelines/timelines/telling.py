"""What a difference of timelines comes to, on one screen: how much slower, and from where.

Pure: rows of `gold.timeline_diffs` of one comparison in, sentences and contributions out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from pipelines.timelines.families import family_expr, is_countable

# Less than this is not worth a word in a sentence: half a point of the baseline's wall time.
NOTABLE_RATIO = 0.005
SENTENCE_PARTS = 4
_NS_PER_MS = 1_000_000
# From here on, points and per cents are told without a fraction.
_WHOLE_POINT = 0.01


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What a family adds to the difference of wall times; `points` are hundredths of the baseline's wall time.

    `count_delta` is per repeat. `is_sure` is false where no part of it has an interval that keeps clear of 0.
    """

    family: str
    delta_ms: float
    points: float | None
    count_delta: float
    is_sure: bool


@dataclass(frozen=True, kw_only=True)
class TimelineAnswer:
    """How much slower, from where; times are wall times per repeat (`run`, `step` or `sample`).

    The warm-up counts say how many steps of each side are left out (`warm_up.py`).
    """

    repeat_kind: str
    candidate_wall_ms: float
    baseline_wall_ms: float
    contributions: tuple[Contribution, ...]
    candidate_warm_up_count: int = 0
    baseline_warm_up_count: int = 0

    @property
    def delta_ms(self) -> float:
        """Candidate minus baseline."""
        return self.candidate_wall_ms - self.baseline_wall_ms

    @property
    def slowdown_ratio(self) -> float | None:
        """The difference over the baseline's time; None if that is 0."""
        return self.delta_ms / self.baseline_wall_ms if self.baseline_wall_ms else None

    @property
    def sentence(self) -> str:
        """The answer in one sentence, and a second one where a step is left out."""
        return self._difference() + self._left_out()

    def _left_out(self) -> str:
        sides = [side for side in ("baseline", "candidate") if getattr(self, f"{side}_warm_up_count")]
        whose = "both" if len(sides) == 2 else f"the {''.join(sides)}"  # noqa: PLR2004
        return f" Step 0 of {whose} is left out as warm-up." if sides else ""

    def _difference(self) -> str:
        times = f"{_ms(self.baseline_wall_ms)} -> {_ms(self.candidate_wall_ms)}"
        ratio, unit = self.slowdown_ratio, self.repeat_kind
        if ratio is None or abs(ratio) < NOTABLE_RATIO:
            opposed = self._parts(with_gains=True) if self.contributions else []
            told = f"; inside it, {', '.join(opposed)}" if opposed else ""
            return f"The {unit} takes as long as before ({times}){told}."
        word = "slower" if ratio > 0 else "faster"
        parts = self._parts(with_gains=False)
        told = f": {', '.join(parts)}" if parts else ""
        amount = f"{abs(ratio):.0%}" if abs(ratio) >= _WHOLE_POINT else f"{abs(ratio):.1%}"
        return f"The {unit} is {amount} {word} ({times}){told}."

    def _parts(self, *, with_gains: bool) -> list[str]:
        notable = [one for one in self.contributions if one.points is not None and abs(one.points) >= 1]
        notable = notable or [one for one in self.contributions if one.points is not None and abs(one.points) >= 0.5]  # noqa: PLR2004
        if not with_gains:
            notable.sort(key=lambda one: (one.delta_ms > 0) != (self.delta_ms > 0))
        return [_part(one, is_first=place == 0) for place, one in enumerate(notable[:SENTENCE_PARTS])]


def tell_difference(diff: pl.DataFrame) -> TimelineAnswer | None:
    """The answer from rows of `gold.timeline_diffs` of one comparison; None where there are none."""
    rows = diff.filter(pl.col("alignment") == "name")
    if rows.is_empty():
        return None
    first = rows.row(0, named=True)
    repeats = first["candidate_repeat_count"], first["baseline_repeat_count"]
    walls = [float(rows[f"{side}_wall_ns"].sum()) / _NS_PER_MS for side in ("candidate", "baseline")]
    is_sure = (pl.col("interval_low_ns") > 0) | (pl.col("interval_high_ns") < 0)
    families = (
        rows.with_columns(family_expr())
        .group_by("family")
        .agg(
            delta_ms=pl.col("wall_delta_ns").sort().sum() / _NS_PER_MS,
            count_delta=pl.col("candidate_count").sum() / repeats[0] - pl.col("baseline_count").sum() / repeats[1],
            is_sure=(is_sure.fill_null(value=False)).any(),
        )
        .filter(pl.col("delta_ms") != 0)
        .sort(pl.col("delta_ms").abs(), "family", descending=[True, False])
    )
    return TimelineAnswer(
        repeat_kind=first["repeat_kind"],
        candidate_wall_ms=walls[0],
        baseline_wall_ms=walls[1],
        contributions=tuple(
            Contribution(
                family=row["family"],
                delta_ms=row["delta_ms"],
                points=100 * row["delta_ms"] / walls[1] if walls[1] else None,
                count_delta=row["count_delta"],
                is_sure=row["is_sure"],
            )
            for row in families.iter_rows(named=True)
        ),
        candidate_warm_up_count=first["candidate_warm_up_count"] or 0,
        baseline_warm_up_count=first["baseline_warm_up_count"] or 0,
    )


def count_words(contribution: Contribution) -> str:
    """`same count`, `4,000 more`, `12 fewer`."""
    delta = contribution.count_delta
    if abs(delta) < 0.005:  # noqa: PLR2004  # rounds to nothing
        return "same count"
    number = f"{abs(delta):,.0f}" if abs(delta) >= 10 else f"{abs(delta):,.3g}"  # noqa: PLR2004
    return f"{number} {'more' if delta > 0 else 'fewer'}"


def signed_ms(value: float) -> str:
    """Milliseconds with their sign and three digits: `+1,660 ms`, `-0.416 ms`."""
    return f"{value:+,.0f} ms" if abs(value) >= 100 else f"{value:+.3g} ms"  # noqa: PLR2004


def contribution_rows(answer: TimelineAnswer, *, limit: int) -> Sequence[Contribution]:
    """The largest contributions, and one that sums up the rest, so that they still add up."""
    shown, rest = answer.contributions[:limit], answer.contributions[limit:]
    if not rest:
        return shown
    delta_ms = sum(one.delta_ms for one in rest)
    return (
        *shown,
        Contribution(
            family=f"{len(rest)} others",
            delta_ms=delta_ms,
            points=100 * delta_ms / answer.baseline_wall_ms if answer.baseline_wall_ms else None,
            count_delta=sum(one.count_delta for one in rest),
            is_sure=False,
        ),
    )


def _part(one: Contribution, *, is_first: bool) -> str:
    points = abs(one.points or 0.0)
    number = f"{points:.0f}" if points >= 1 else f"{points:.1f}"
    sign = "" if one.delta_ms > 0 else "minus "
    noun = f" point{'' if number == '1' else 's'}" if is_first else ""
    words = count_words(one)
    if words != "same count" and is_countable(one.family):
        return f"{sign}{number}{noun} from {words} {one.family} ({signed_ms(one.delta_ms)})"
    return f"{sign}{number}{noun} from {one.family} ({signed_ms(one.delta_ms)}, {words})"


def _ms(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 1000 else f"{value:.3g} ms"  # noqa: PLR2004
