"""Uses of examples whose worth is known, because it was planted."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import polars as pl

FIRST_DAY = dt.datetime(2026, 11, 1, 2, tzinfo=dt.UTC)
LIFTS = {"good": 0.1, "neutral": 0.0, "bad": -0.1}


@dataclass(frozen=True)
class Planted:
    """Uses, the same with each call's chance of success as its outcome, and what each example adds to that chance."""

    usages: pl.DataFrame
    noiseless: pl.DataFrame
    truth: pl.DataFrame


def plant_uses(
    rng: np.random.Generator,
    *,
    uses_each: int,
    examples_each: int = 20,
    samples: int = 40,
    shots: int = 3,
    lifts: dict[str, float] = LIFTS,
    favours_hard: float = 4.0,
) -> Planted:
    """Calls with `shots` examples each, about `uses_each` uses an example, outcomes 0 or 1.

    Samples are of very different difficulty, and good examples are given to hard samples more often (`favours_hard`),
    as retrieval of what resembles a question would: what an example's calls achieve on average is then no sign of what
    it does.
    """
    kinds = [kind for kind in lifts for _ in range(examples_each)]
    true_lift = np.array([lifts[kind] for kind in kinds])
    ids = [f"{kind}-{index % examples_each:03}" for index, kind in enumerate(kinds)]
    ease = rng.uniform(0.1, 0.9, size=samples)
    call_count = uses_each * len(ids) // shots
    used_on = rng.integers(samples, size=call_count)
    leaning = np.exp(favours_hard * 10 * true_lift[None, :] * (0.5 - ease)[:, None])
    # The `shots` smallest of exponential times with these rates: a draw without replacement by weight.
    times = rng.exponential(size=(call_count, len(ids))) / leaning[used_on]
    chosen = np.argpartition(times, shots, axis=1)[:, :shots]
    chance = np.clip(ease[used_on] + true_lift[chosen].sum(axis=1), 0.02, 0.98)
    outcome = (rng.uniform(size=call_count) < chance).astype(float)
    places = np.repeat(np.arange(call_count), shots)
    usages = pl.DataFrame(
        {
            "example_id": np.array(ids)[chosen.ravel()],
            "stratum": [f"sample-{place}" for place in used_on[places]],
            "call_id": [f"call-{place}" for place in places],
            "position": np.tile(np.arange(shots), call_count),
            "outcome_score": outcome[places],
            "baseline_score": pl.Series([None] * places.size, dtype=pl.Float64),
            "used_at": [FIRST_DAY + dt.timedelta(minutes=5 * int(place)) for place in places],
        }
    )
    noiseless = usages.with_columns(outcome_score=pl.Series(chance[places]))
    return Planted(usages, noiseless, pl.DataFrame({"example_id": ids, "kind": kinds, "true_lift": true_lift}))
