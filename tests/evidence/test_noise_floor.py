"""The margin `auto` from runs of unchanged code: by hand, and the whole way through a lake."""

import datetime as dt
import math

import polars as pl
import pytest
from scipy import stats

from lake.store import Lake
from pipelines.evidence.gates import judge
from pipelines.evidence.noise_floor import MIN_HISTORY_PAIRS, History, noise_floor
from pipelines.evidence.policy import Gate, RunFilter
from pipelines.evidence.steps import judge_what_is_new
from pipelines.evidence.unchanged_code import MAX_HISTORY_RUNS, CodeHistory
from tests.evidence.rows import DAY, FINGERPRINT, START, beside, committed, output, output_rows, policy, run_rows

LATENCY = Gate.model_validate({"name": "g", "family": "latency_regression", "margin": "auto", "minimum_n": 5})
SCORE = Gate.model_validate({"name": "g", "family": "score_parity", "margin": "auto", "minimum_n": 5})


def timed(candidate: float, baseline: float, *, samples: int = 20) -> pl.DataFrame:
    return beside([{"candidate_latency_ms": candidate, "baseline_latency_ms": baseline}] * samples)


def history_of(chains, latencies: dict[str, float], *, samples: int = 20) -> History:
    return History(
        chains, outputs_of=lambda later, earlier: timed(latencies[later], latencies[earlier], samples=samples)
    )


def test_by_hand():
    # Medians 100, 110, 100, 110: every ratio is 1.1 either way, so the root mean square of the logarithms is ln 1.1.
    # Three successive differences have 2 x 9 / 8 = 2.25 degrees of freedom.
    latencies = {"w": 100.0, "x": 110.0, "y": 100.0, "z": 110.0}
    found = noise_floor(LATENCY, timed(100, 100), history_of([[("w", "x", "y", "z")]], latencies))
    assert found.margin == pytest.approx(math.exp(stats.t.ppf(0.975, 2.25) * math.log(1.1)))
    assert (found.source, found.run_ids) == ("history", ("w", "x", "y", "z"))
    assert "3 pairs of 4 runs" in found.note


def test_chains_of_several_commits_are_pooled():
    # A pair of its own has one degree of freedom: 2 x 1 / 2. Three of them have three.
    latencies = {"a": 100.0, "b": 120.0, "c": 100.0, "d": 120.0, "e": 120.0, "f": 100.0}
    found = noise_floor(LATENCY, timed(100, 100), history_of([[("a", "b"), ("c", "d"), ("e", "f")]], latencies))
    assert found.margin == pytest.approx(math.exp(stats.t.ppf(0.975, 3) * math.log(1.2)))


def test_runs_that_never_differ_still_leave_what_their_samples_cannot_tell():
    scored = beside([{} for _ in range(40)])
    history = History([[("a", "b", "c", "d")]], outputs_of=lambda _later, _earlier: scored)
    found = judge(SCORE, scored, history=history)
    # No difference among 40: Wilson's upper limit of 0 in 40.
    assert found.noise.margin == pytest.approx(1.96**2 / (40 + 1.96**2), abs=1e-4)
    assert found.verdict == "pass"


def test_too_little_history_is_inconclusive_and_says_how_much_there_is():
    latencies = {"x": 100.0, "y": 110.0, "z": 100.0}
    found = judge(LATENCY, timed(500, 100), history=history_of([[("x", "y", "z")]], latencies))
    assert (found.verdict, found.margin) == ("inconclusive", None)
    assert f"or {MIN_HISTORY_PAIRS} pairs" in found.reasons[0]
    assert "(there are 2)" in found.reasons[0]
    # Pairs of too few samples are no history either.
    long = dict.fromkeys("abcdefg", 100.0)
    few = noise_floor(LATENCY, timed(500, 100), history_of([[tuple(long)]], long, samples=4))
    assert few.margin is None


def test_repeats_come_before_history_and_the_noisier_kind_counts():
    calm, wild = {"a": 100.0, "b": 101.0, "c": 100.0, "d": 101.0}, {"w": 100.0, "x": 150.0, "y": 100.0, "z": 150.0}
    history = history_of([[tuple(calm)], [tuple(wild)]], calm | wild)
    assert noise_floor(LATENCY, timed(100, 100), history).run_ids == tuple(wild)
    rows = [{"sample_id": f"s{n}", "repeat_index": repeat} for n in range(20) for repeat in range(2)]
    repeated = noise_floor(LATENCY, beside(rows), history)
    assert (repeated.source, repeated.run_ids, repeated.margin) == ("repeats", (), pytest.approx(1.0))


# Which runs are history


def test_history_is_what_ran_before_of_the_same_kind_by_commit():
    runs = [
        *(committed(f"c1-{day}", day) for day in range(2)),
        *(committed(f"c2-{day}", day, commit="c2") for day in range(2, 5)),
        committed("alone", 5, commit="c3"),
        committed("other", 5, commit="c1", fingerprint=FINGERPRINT | {"hardware": "four cores"}),
        committed("candidate", 6, commit="c4"),
        committed("later", 7, commit="c2"),
    ]
    support = CodeHistory(runs).support_of("candidate", "alone")
    assert support.chains == ((("c1-0", "c1-1"), ("c2-2", "c2-3", "c2-4")),)
    assert support.run_dates["c2-4"] == (START + 4 * DAY).date()


def test_history_is_bounded():
    runs = [committed(f"r{day:02}", day) for day in range(MAX_HISTORY_RUNS + 5)]
    (chains,) = CodeHistory(runs).support_of(runs[-1]["run_id"], "r00").chains
    assert chains == (tuple(row["run_id"] for row in runs[-1 - MAX_HISTORY_RUNS : -1]),)


def test_somebody_may_vouch_for_runs_that_name_no_commit():
    runs = [committed(f"r{day}", day, commit=None, tags=["same-code"] if day < 4 else []) for day in range(6)]
    assert CodeHistory(runs).support_of("r5", "r4").chains == ()
    vouched = CodeHistory(runs, unchanged=RunFilter(tag=("same-code",)))
    assert vouched.support_of("r5", "r4").chains == ((("r0", "r1", "r2", "r3"),),)


# Through a lake

AUTO = """
version: 1
comparisons:
  - {name: previous, baseline: previous}
gates:
  - {name: latency, family: latency_regression, margin: auto, minimum_n: 5}
"""


def test_the_verdict_says_where_the_margin_came_from(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    rules = policy(AUTO)

    def land(day: int, latency_ms: float, commit: str) -> None:
        row = committed(f"r{day}", day, commit=commit)
        lake.upsert("silver.runs", run_rows(row))
        outputs = [output(row, index, "text", latency_ms=latency_ms) for index in range(20)]
        lake.upsert("silver.outputs", output_rows(outputs))

    for day, latency_ms in enumerate((100.0, 104.0, 100.0, 104.0)):
        land(day, latency_ms, "c1")
    land(4, 101.0, "c2")
    land(5, 200.0, "c3")
    judge_what_is_new(lake, rules)
    rows = {row["candidate_run_id"]: row for row in lake.read("gold.gate_results").to_dicts()}
    assert [rows[f"r{day}"]["verdict"] for day in range(1, 6)] == [*["inconclusive"] * 3, "pass", "fail"]
    assert rows["r1"]["margin_source"] is None
    assert (rows["r4"]["margin_source"], rows["r4"]["noise_run_ids"]) == ("history", ["r0", "r1", "r2", "r3"])
    assert rows["r4"]["margin"] == pytest.approx(math.exp(stats.t.ppf(0.975, 2.25) * math.log(1.04)))
    assert "3 pairs of 4 runs" in " ".join(rows["r4"]["reasons"])
    # A run that arrives late and ran before them changes what they knew.
    lake.upsert("silver.runs", run_rows(committed("late", 0, hours=1, commit="c1")))
    assert START.date() + dt.timedelta(days=5) in judge_what_is_new(lake, rules)
