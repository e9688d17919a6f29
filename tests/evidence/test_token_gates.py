"""The gate family token_divergence: what counts, what is missing, and that bounds cannot be mistaken for numbers."""

import pytest

from lake.errors import UserError
from pipelines.evidence.gates import Judgement, judge
from pipelines.evidence.policy import Gate, parse_policy
from pipelines.evidence.policy_text import explain_gate
from tests.evidence.rows import beside


def gate(metric: str = "mean_kl", **changes: object) -> Gate:
    return Gate(**{"name": "g", "family": "token_divergence", "metric": metric, "margin": 0.01, **changes})


def judged(rows: list[dict[str, object]], **changes: object) -> Judgement:
    return judge(gate(**changes), beside(rows))


def scored(
    lower: float, upper: float | None = None, *, positions: int = 20, same_top: float = 1.0
) -> dict[str, object]:
    return {
        "position_count": positions,
        "mean_kl_lower": lower,
        "mean_kl_upper": lower if upper is None else upper,
        "same_top_ratio": same_top,
    }


def spread(middle: float, *, count: int = 30, **changes: object) -> list[dict[str, object]]:
    return [scored(middle * (0.8 + 0.4 * place / (count - 1)), **changes) for place in range(count)]


def test_a_mean_divergence_inside_the_margin_passes_and_beyond_it_fails() -> None:
    near, far = judged(spread(0.003)), judged(spread(0.05))
    assert (near.verdict, far.verdict) == ("pass", "fail")
    assert near.effect == pytest.approx(0.003)
    assert near.candidate_value == pytest.approx(0.003)
    assert near.baseline_value is None
    assert near.sample_count == 30
    assert far.p_value is not None
    assert far.p_value < 0.001
    assert gate().unit == "nats"


def test_bounds_can_show_that_a_backend_is_too_far_but_not_that_it_is_near() -> None:
    rows = [scored(0.003 + place * 1e-5, 2.0 + place * 1e-3) for place in range(30)]
    open_ = judged(rows)
    assert open_.verdict == "inconclusive"
    assert any("upper bound 2.0" in reason for reason in open_.reasons)
    # More samples do not make lists longer; and what would fail is told by the lower bound, not by the room above it.
    assert not any("would decide" in reason for reason in open_.reasons)
    assert open_.minimum_detectable_effect is not None
    assert 0.01 < open_.minimum_detectable_effect < 0.011
    assert judged([scored(0.05 + place * 1e-4, 2.0) for place in range(30)]).verdict == "fail"


def test_the_mean_is_over_positions_and_the_samples_are_what_varies() -> None:
    # 10 samples of 30 positions at 0.01 and 20 of 5 at 0.04: (300 x 0.01 + 100 x 0.04) / 400 = 0.0175
    rows = [scored(0.01, positions=30)] * 10 + [scored(0.04, positions=5)] * 20
    assert judged(rows).effect == pytest.approx(0.0175)


def test_few_samples_and_none_are_no_pass() -> None:
    assert judged(spread(0.001, count=19)).verdict == "inconclusive"
    nothing = judged([{}] * 30)
    assert nothing.verdict == "inconclusive"
    assert "benchlake score-tokens" in nothing.reasons[0]
    assert judged([scored(0.0)] * 20).verdict == "inconclusive"
    # 20 samples that do not differ leave one in six unseen, 100 one in 27.
    assert judged([scored(0.0)] * 100).verdict == "pass"


def test_repeats_are_one_sample() -> None:
    rows = [
        {"sample_id": f"s{place // 2}", "repeat_index": place % 2, **row} for place, row in enumerate(spread(0.003))
    ]
    assert judged(rows).sample_count == 15


def test_the_share_of_other_likeliest_tokens_needs_no_bounds() -> None:
    rows = [scored(0.003, 5.0, same_top=0.97 + 0.001 * (place % 20)) for place in range(30)]
    assert judged(rows, metric="other_top_ratio", margin=0.05).verdict == "pass"
    # 30 samples that do not differ leave room for one in nine that is broken, at 0.3 each.
    assert judged([scored(0.0)] * 30, metric="other_top_ratio", margin=0.05).verdict == "pass"
    assert judged([scored(0.0)] * 20, metric="other_top_ratio", margin=0.04).verdict == "inconclusive"
    broken = [scored(0.3, 5.0, same_top=0.7 + 0.001 * (place % 20)) for place in range(30)]
    assert judged(broken, metric="other_top_ratio", margin=0.05).verdict == "fail"


def test_shifts_count_and_near_ties_do_not() -> None:
    kinds = ["near_tie_flip"] * 15 + ["identical"] * 15 + ["inconclusive"] * 5
    rows = [{"divergence_kind": kind} for kind in kinds]
    passed = judged(rows, metric="shift_ratio", margin=0.2)
    assert (passed.verdict, passed.effect, passed.sample_count) == ("pass", 0.0, 30)
    assert any("5 pairs" in reason for reason in passed.reasons)
    rows = [{"divergence_kind": "distribution_shift"}] * 20 + rows
    failed = judged(rows, metric="shift_ratio", margin=0.2)
    assert (failed.verdict, failed.effect) == ("fail", 0.4)
    assert judged([{"divergence_kind": "inconclusive"}] * 30, metric="shift_ratio").verdict == "inconclusive"


def test_a_slice_of_samples_can_be_judged_alone() -> None:
    rows = [{"tags": ["fact"], **row} for row in spread(0.003)] + [{"tags": ["copy"], **row} for row in spread(0.5)]
    assert judged(rows, sample_tag="fact").verdict == "pass"
    assert judged(rows).verdict == "fail"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"margin": "auto"}, "needs a margin in numbers"),
        ({"metric": "latency_ms"}, "is not one of mean_kl, other_top_ratio, shift_ratio"),
        ({"metric": "shift_ratio", "margin": 2}, "must be at most 1"),
        ({"confirm_on_rerun": True}, "confirm_on_rerun is not for token_divergence"),
        ({"quantile": 0.9}, "quantile is for latency_regression alone"),
    ],
)
def test_a_gate_that_cannot_be_judged_is_refused(change: dict[str, object], told: str) -> None:
    given = {"name": "g", "family": "token_divergence", "margin": 0.01, **change}
    text = f"{{version: 1, comparisons: [{{name: c, baseline: previous}}], gates: [{given}]}}".replace("True", "true")
    with pytest.raises(UserError, match=told):
        parse_policy(text, source="gates.yaml")


def test_the_default_metric_is_explained() -> None:
    text = explain_gate(gate(metric=""))
    assert "KL(baseline || candidate)" in text
    assert "0.01 nats" in text
    assert "share of samples" in explain_gate(gate(metric="shift_ratio"))


def test_the_order_of_rows_changes_nothing() -> None:
    rows = beside(spread(0.003))
    assert judge(gate(), rows) == judge(gate(), rows.sample(fraction=1, shuffle=True, seed=3))
