import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evidence.gates import Judgement, judge, judge_together, lay_side_by_side
from pipelines.evidence.policy import Gate
from tests.evidence.rows import beside

FAMILIES = ("score_parity", "latency_regression", "failure_rate")
DEFAULT_MARGIN = {"score_parity": 0.1, "latency_regression": 1.1, "failure_rate": 0.1}


def gate(family: str = "score_parity", **changes) -> Gate:
    return Gate.model_validate(
        {"name": "g", "family": family, "margin": DEFAULT_MARGIN[family], "minimum_n": 5} | changes
    )


def scored(*pairs: tuple[float, float]) -> pl.DataFrame:
    return beside([{"candidate": {"s": candidate}, "baseline": {"s": baseline}} for candidate, baseline in pairs])


def timed(*pairs: tuple[float | None, float | None]) -> pl.DataFrame:
    return beside(
        [{"candidate_latency_ms": candidate, "baseline_latency_ms": baseline} for candidate, baseline in pairs]
    )


def statuses(candidate: list[str], baseline: list[str]) -> pl.DataFrame:
    return beside(
        [{"candidate_status": left, "baseline_status": right} for left, right in zip(candidate, baseline, strict=True)]
    )


def test_yes_or_no_scores_by_hand():
    # 36 right on both sides, 12 on the candidate's alone, 2 on the baseline's alone: Newcombe's published example.
    found = judge(gate(), scored(*[(1, 1)] * 36, *[(1, 0)] * 12, *[(0, 1)] * 2))
    assert found.verdict == "pass"
    assert (found.candidate_value, found.baseline_value) == (48 / 50, 38 / 50)
    assert found.effect == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.0569, 0.3404), abs=5e-5)
    assert found.sample_count == 50
    assert found.reasons == (
        "Mean score 0.9600 against 0.7600: difference +0.2000 [+0.0569, +0.3404] at 95% confidence, margin -0.1000.",
        "The whole interval is inside the margin.",
        # 12 against 2: twice (1 + 14 + 91) / 16384
        (
            "Right on the candidate's side alone: 12, on the baseline's alone: 2; "
            "p 0.013 that they are right equally often (McNemar, exact)."
        ),
    )


def test_worse_by_more_than_the_margin_fails():
    # The same example the other way round: [-0.3404, -0.0569] lies wholly beyond a margin of 0.05.
    found = judge(gate(margin=0.05), scored(*[(1, 1)] * 36, *[(0, 1)] * 12, *[(1, 0)] * 2))
    assert found.verdict == "fail"
    assert found.reasons[1] == "The whole interval is beyond the margin."


def test_an_interval_over_the_margin_decides_nothing_and_says_how_many_samples_would():
    # [-0.3404, -0.0569] and a margin of 0.1: half the width is 0.14175, the effect lies 0.1 beyond the margin, so
    # 50 x (0.14175 / 0.1)^2 = 100.5 samples, rounded up to two digits.
    found = judge(gate(margin=0.1), scored(*[(1, 1)] * 36, *[(0, 1)] * 12, *[(1, 0)] * 2))
    assert found.verdict == "inconclusive"
    assert found.reasons[1:4] == (
        "The interval reaches over the margin.",
        "About 110 samples would decide it if the effect stays the same.",
        # 0.1 + 0.14175 * (1 + 0.8416 / 1.9600)
        "With these samples the smallest effect that would fail four times in five is -0.3026.",
    )


def test_a_scorer_that_should_be_low_is_judged_the_other_way_round():
    worse = scored(*[(1, 1)] * 36, *[(1, 0)] * 12, *[(0, 1)] * 2)
    assert judge(gate(margin=0.05, is_higher_better=False), worse).verdict == "fail"
    better = scored(*[(1, 1)] * 36, *[(0, 1)] * 12, *[(1, 0)] * 2)
    assert judge(gate(margin=0.05, is_higher_better=False), better).verdict == "pass"


def test_scorers_then_repeats_are_averaged_before_samples():
    # sample 0: repeat 0 candidate (1 + 0) / 2 = 0.5, repeat 1 (1 + 1) / 2 = 1, so 0.75; baseline 1 both times
    # samples 1 to 5: 0 on both sides. Mean of six: 0.125 against 1/6. Counted output by output it would be otherwise.
    rows = [
        {"sample_id": "a", "repeat_index": 0, "candidate": {"s": 1.0, "t": 0.0}, "baseline": {"s": 1.0, "t": 1.0}},
        {"sample_id": "a", "repeat_index": 1, "candidate": {"s": 1.0, "t": 1.0}, "baseline": {"s": 1.0, "t": 1.0}},
        *[{"candidate": {"s": 0.0, "t": 0.0}, "baseline": {"s": 0.0, "t": 0.0}} for _ in range(5)],
    ]
    found = judge(gate(), beside(rows))
    assert found.sample_count == 6
    assert (found.candidate_value, found.baseline_value) == pytest.approx((0.125, 1 / 6))


def test_only_scorers_that_both_sides_have_are_compared():
    rows = [{"candidate": {"s": 1.0, "easy": 1.0}, "baseline": {"s": 1.0}} for _ in range(6)]
    found = judge(gate(), beside(rows))
    assert (found.candidate_value, found.baseline_value, found.effect) == (1.0, 1.0, 0.0)


def test_one_scorer_by_name():
    rows = [{"candidate": {"s": 1.0, "t": 0.0}, "baseline": {"s": 1.0, "t": 1.0}} for _ in range(6)]
    assert judge(gate(metric="s"), beside(rows)).effect == 0
    assert judge(gate(metric="t"), beside(rows)).effect == -1
    missing = judge(gate(metric="u"), beside(rows))
    assert (missing.verdict, missing.sample_count) == ("inconclusive", 0)
    assert missing.reasons[0] == "No sample has a score by u on both sides."


def test_samples_without_a_score_are_left_out_and_counted():
    rows = [{} for _ in range(10)] + [{"candidate": {}, "candidate_status": "error"}, {"baseline": {"s": float("nan")}}]
    found = judge(gate(margin=0.9), beside(rows))
    assert (found.verdict, found.sample_count) == ("pass", 10)
    assert found.reasons[-1] == "Left out: 2 samples for want of a score on both sides."


def test_fewer_samples_than_asked_for_are_never_a_pass():
    found = judge(gate(minimum_n=20, margin=0.9), scored(*[(1, 1)] * 19))
    assert found.verdict == "inconclusive"
    assert found.reasons[1] == "19 samples are fewer than the 20 that the gate asks for."
    assert found.effect == 0


def test_latency_by_hand():
    # medians of {200, 210, ..., 290} and {100, 105, ..., 145} are 245 and 122.5; each pair has the ratio 2
    found = judge(gate("latency_regression"), timed(*[(200.0 + 10 * n, 100.0 + 5 * n) for n in range(10)]))
    assert found.verdict == "fail"
    assert (found.candidate_value, found.baseline_value, found.effect) == (245, 122.5, 2)
    assert found.interval == pytest.approx((2, 2))
    assert found.reasons[0] == (
        "Median latency_ms 245.0 ms against 122.5 ms: ratio 2.00 [2.00, 2.00] at 95% confidence, margin 1.10."
    )


def test_latency_of_what_failed_does_not_count():
    rows = [{} for _ in range(6)]
    rows += [{"candidate_status": "timeout", "candidate_latency_ms": 60_000.0}, {"baseline_latency_ms": None}]
    rows += [{"candidate_latency_ms": 0.0}]
    found = judge(gate("latency_regression"), beside(rows))
    assert (found.verdict, found.sample_count, found.effect) == ("pass", 6, 1.0)
    assert found.reasons[-1] == "Left out: 3 pairs with a failure or no latency_ms on one side."


@pytest.mark.parametrize(("first", "left_out"), [(900.0, 8), (140.0, 0)])
def test_a_cold_start_in_the_first_repeat_is_no_regression(first: float, left_out: int):
    # Two repeats of eight samples at 100 ms; the candidate's first one is slower.
    rows = [
        {"sample_id": f"s{sample}", "repeat_index": repeat, "candidate_latency_ms": first if repeat == 0 else 100.0}
        for sample in range(8)
        for repeat in range(2)
    ]
    found = judge(gate("latency_regression"), beside(rows))
    # 140 ms is slower, but no cold start by our rule: the median of 140 and 100 is 120.
    assert found.effect == (1.0 if left_out else 1.2)
    assert found.verdict == ("pass" if left_out else "fail")
    assert ("cold start" in found.reasons[-1]) == bool(left_out)


def test_failures_by_hand():
    # 2 of 20 against none of 20: 0.1 [-0.0765, 0.3010], see test_statistics
    found = judge(gate("failure_rate"), statuses(["error", "timeout", *["ok"] * 18], ["ok"] * 20))
    assert found.verdict == "inconclusive"
    assert found.effect == pytest.approx(0.1)
    assert found.interval == pytest.approx((-0.07654, 0.30104), abs=2e-5)
    assert found.reasons[0].startswith("2 of 20 outputs failed against 0 of 20: difference +0.1000 [-0.0765, +0.3010]")


def test_a_wrong_answer_is_no_failure_and_a_cancelled_one_no_answer():
    found = judge(gate("failure_rate", margin=1), statuses(["assert_fail"] * 8 + ["cancelled"] * 2, ["ok"] * 10))
    assert (found.candidate_value, found.sample_count) == (0.0, 8)
    assert found.reasons[-1] == "Left out: 2 outputs that were cancelled."


def test_outputs_that_only_one_run_has_count_for_its_failures():
    absent = {"baseline_status": None, "baseline_latency_ms": None, "baseline": {}}
    outputs = beside([{} for _ in range(9)] + [{"candidate_status": "error", "candidate": {}, **absent}])
    found = judge(gate("failure_rate"), outputs)
    assert (found.candidate_value, found.baseline_value, found.sample_count) == (0.1, 0.0, 9)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_evidence_is_inconclusive_and_says_so(family):
    found = judge(gate(family), beside([{}]).clear())
    assert (found.verdict, found.sample_count, found.effect) == ("inconclusive", 0, None)
    assert found.reasons[0].endswith(".")


@pytest.mark.parametrize("family", FAMILIES)
def test_incomparable_runs_get_reasons_and_no_number(family):
    found = judge(gate(family), beside([{} for _ in range(50)]), incomparable=["The suites differ."])
    assert found == Judgement(verdict="incomparable", reasons=("The suites differ.",), margin=gate(family).margin)


def test_p_is_what_the_interval_says():
    failed = judge(gate(margin=0.05), scored(*[(1, 1)] * 36, *[(0, 1)] * 12, *[(1, 0)] * 2))
    passed = judge(gate(), scored(*[(1, 1)] * 36, *[(1, 0)] * 12, *[(0, 1)] * 2))
    assert failed.p_value < 0.025
    assert passed.p_value > 0.975


def test_a_failure_that_chance_explains_among_many_gates_is_inconclusive():
    # Alone 12 against 2 fails a margin of 0.05 with p of some 0.02; among three gates q is three times that.
    outputs = scored(*[(1, 1)] * 36, *[(0, 1)] * 12, *[(1, 0)] * 2)
    gates = [gate(margin=0.05), gate("latency_regression"), gate("failure_rate", margin=0.5)]
    alone, among = judge_together(gates[:1], outputs, [()])[0], judge_together(gates, outputs, [(), (), ()])[0]
    assert (alone.verdict, alone.q_value) == ("fail", alone.p_value)
    assert among.verdict == "inconclusive"
    assert among.q_value == pytest.approx(3 * alone.p_value)
    assert "by chance too often" in among.reasons[-1]
    # An effect that no chance explains fails among any number.
    assert judge_together(gates, scored(*[(0, 1)] * 50), [(), (), ()])[0].verdict == "fail"


def test_a_high_quantile_is_judged_with_enough_samples_alone():
    slow_tail = [(200.0, 100.0) if n % 10 == 0 else (100.0, 100.0) for n in range(400)]
    p95 = gate("latency_regression", quantile=0.95)
    found = judge(p95, timed(*slow_tail))
    assert (found.verdict, found.effect) == ("fail", 2.0)
    assert found.reasons[0].startswith("P95 latency_ms 200.0 ms against 100.0 ms")
    assert judge(gate("latency_regression"), timed(*slow_tail)).verdict == "pass"
    few = judge(p95, timed(*slow_tail[:199]))
    assert few.verdict == "inconclusive"
    assert few.reasons[1] == "199 samples are fewer than the 200 that the gate asks for, for p95."


def test_a_gate_may_look_at_some_samples_alone():
    rows = [{"tags": ["hard", "x"], "candidate": {"s": 0.0}} for _ in range(20)] + [{"tags": ["easy"]}] * 20
    outputs = beside(rows)
    assert judge(gate(sample_tag="hard"), outputs).effect == -1
    assert judge(gate(sample_tag=["ea*"]), outputs).effect == 0
    assert judge(gate(sample_tag="absent"), outputs).verdict == "inconclusive"


def repeated(first: float, second: float) -> pl.DataFrame:
    """Twenty samples, two repeats; the baseline's repeats take `first` and `second` ms, the candidate's 100."""
    return beside(
        [
            {"sample_id": f"s{n}", "repeat_index": repeat, "baseline_latency_ms": (first, second)[repeat]}
            for n in range(20)
            for repeat in range(2)
        ]
    )


def test_margin_auto_is_the_noise_between_repeats():
    auto = gate("latency_regression", margin="auto")
    # 110 ms and then 100 ms: the ratio is 1 / 1.1, so the noise is 1.1 either way; against 105 it is well inside.
    found = judge(auto, repeated(110.0, 100.0))
    assert found.verdict == "pass"
    assert found.margin == pytest.approx(1.1)
    assert "noise between the last two repeats" in found.reasons[-1]


def test_margin_auto_without_repeats_is_inconclusive_and_says_what_to_do():
    found = judge(gate(margin="auto"), scored(*[(0, 1)] * 40))
    assert (found.verdict, found.margin, found.effect) == ("inconclusive", None, -1)
    assert "--repeats 2" in found.reasons[0]


def test_repeats_of_one_prompt_fail_together_and_count_once():
    rows = [
        {"sample_id": f"s{n}", "repeat_index": repeat, "candidate_status": "error" if n < 2 else "ok"}
        for n in range(20)
        for repeat in range(10)
    ]
    clustered = judge(gate("failure_rate"), beside(rows))
    assert (clustered.sample_count, clustered.candidate_value) == (20, 0.1)
    # 20 of 200 against none would be wholly beyond 0.04; two prompts of twenty are not.
    assert judge(gate("failure_rate", margin=0.04), beside(rows)).verdict == "inconclusive"


def test_what_could_have_been_seen_is_told_when_nothing_was():
    found = judge(gate(margin=0.0), scored(*[(1, 1)] * 30, *[(1, 0)] * 3, *[(0, 1)] * 3))
    assert found.verdict == "inconclusive"
    assert found.minimum_detectable_effect < -0.1
    assert f"{found.minimum_detectable_effect:+.4f}" in " ".join(found.reasons)


OUTPUT = st.fixed_dictionaries(
    {
        "candidate": st.fixed_dictionaries({"s": st.sampled_from([0.0, 0.25, 1.0])}),
        "baseline": st.fixed_dictionaries({"s": st.sampled_from([0.0, 0.5, 1.0])}),
        "candidate_latency_ms": st.floats(1, 1_000),
        "baseline_latency_ms": st.floats(1, 1_000),
        "candidate_status": st.sampled_from(["ok", "ok", "error"]),
        "baseline_status": st.sampled_from(["ok", "ok", "timeout"]),
    }
)


@pytest.mark.parametrize("family", FAMILIES)
@given(st.lists(OUTPUT, min_size=1, max_size=30), st.integers(0, 100))
@settings(deadline=None, max_examples=25)
def test_the_order_of_rows_is_nothing(family, rows, seed):
    outputs = beside(rows)
    order = random.Random(seed).sample(range(outputs.height), outputs.height)
    assert judge(gate(family), outputs[order]) == judge(gate(family), outputs)


def swapped(outputs: pl.DataFrame) -> pl.DataFrame:
    sides = {"candidate": "baseline", "baseline": "candidate"}
    return outputs.rename(
        lambda name: next((name.replace(side, other) for side, other in sides.items() if name.startswith(side)), name)
    )


@given(st.lists(OUTPUT, min_size=1, max_size=30))
@settings(deadline=None, max_examples=25)
def test_effects_turn_round_with_the_sides(rows):
    outputs = beside(rows)
    for family in ("score_parity", "failure_rate"):
        one, other = judge(gate(family), outputs), judge(gate(family), swapped(outputs))
        assert one.effect == pytest.approx(-other.effect)
        assert (one.candidate_value, one.sample_count) == (other.baseline_value, other.sample_count)
    one, other = judge(gate("latency_regression"), outputs), judge(gate("latency_regression"), swapped(outputs))
    if one.effect is not None:
        assert one.effect * other.effect == pytest.approx(1)


@pytest.mark.parametrize("family", FAMILIES)
@given(st.lists(OUTPUT, min_size=5, max_size=30), st.floats(0, 0.5), st.floats(0, 0.5))
@settings(deadline=None, max_examples=25)
def test_a_wider_margin_never_makes_a_verdict_worse(family, rows, narrow, more):
    rank = {"fail": 0, "inconclusive": 1, "pass": 2}
    base = 1 if family == "latency_regression" else 0
    outputs = beside(rows)
    strict = judge(gate(family, margin=base + narrow), outputs)
    loose = judge(gate(family, margin=base + narrow + more), outputs)
    assert rank[loose.verdict] >= rank[strict.verdict]


def test_laying_side_by_side_keeps_what_only_one_side_has():
    def outputs(*samples: str) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "run_id": ["r"] * len(samples),
                "sample_id": samples,
                "repeat_index": [0] * len(samples),
                "status": ["ok"] * len(samples),
                "scores": [[{"scorer": "s", "value": 1.0}]] * len(samples),
                "latency_ms": [1.0] * len(samples),
                "time_to_first_token_ms": [None] * len(samples),
                "tags": [[]] * len(samples),
            },
            schema_overrides={"time_to_first_token_ms": pl.Float64, "tags": pl.List(pl.String)},
        )

    found = lay_side_by_side(outputs("b", "a"), outputs("c", "b"))
    assert found.select("sample_id", "candidate_status", "baseline_status").rows() == [
        ("a", "ok", None),
        ("b", "ok", "ok"),
        ("c", None, "ok"),
    ]
