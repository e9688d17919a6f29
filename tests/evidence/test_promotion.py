import polars as pl
import pytest

from pipelines.evidence.promotion import promote
from tests.evidence.rows import POLICY, policy, run, run_rows

RUNS = run_rows(run("candidate"), run("other"), run("baseline", "b"))


def comparisons(*rows: tuple[str, str, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["comparison_id", "pairing", "candidate_run_id"], orient="row")


def gates(**verdicts: str) -> pl.DataFrame:
    """Verdicts by `comparison_gate`."""
    rows = [(*name.split("_"), verdict) for name, verdict in verdicts.items()]
    return pl.DataFrame(rows, schema=["comparison_id", "gate", "verdict"], orient="row")


ONE = comparisons(("c1", "across", "candidate"))
GOOD = {"c1_parity": "pass", "c1_latency": "pass", "c1_failures": "pass"}


def promoted(compared: pl.DataFrame, verdicts: dict[str, str], text: str = POLICY) -> list[str]:
    return promote(compared, gates(**verdicts), RUNS, policy(text))["run_id"].to_list()


def test_a_run_whose_gates_all_passed_is_promoted_with_its_evidence():
    rows = promote(ONE, gates(**GOOD), RUNS, policy()).to_dicts()
    assert rows == [
        {
            "run_id": "candidate",
            "policy_digest": policy().digest,
            "run_date": RUNS["run_date"][0],
            "suite": "capitals",
            "backend": "a",
            "gate_count": 2,  # latency only warns
            "comparison_ids": ["c1"],
        }
    ]


@pytest.mark.parametrize("verdict", ["fail", "inconclusive", "incomparable"])
def test_anything_but_a_pass_of_a_blocking_gate_holds_it_back(verdict):
    assert promoted(ONE, GOOD | {"c1_parity": verdict}) == []


def test_a_gate_that_warns_does_not():
    assert promoted(ONE, GOOD | {"c1_latency": "fail"}) == ["candidate"]


def test_a_gate_without_a_verdict_holds_it_back():
    assert promoted(ONE, {name: verdict for name, verdict in GOOD.items() if name != "c1_parity"}) == []


def test_the_policy_may_let_the_undecided_pass():
    lenient = POLICY + "on_inconclusive: promote\n"
    assert promoted(ONE, GOOD | {"c1_parity": "inconclusive"}, lenient) == ["candidate"]
    assert promoted(ONE, GOOD | {"c1_parity": "incomparable"}, lenient) == []


def test_every_comparison_counts_and_the_good_runs_of_the_day_go_on():
    compared = comparisons(("c1", "across", "candidate"), ("c2", "previous", "candidate"), ("c3", "across", "other"))
    good = GOOD | {f"{name}_{gate}": "pass" for name in ("c2", "c3") for gate in ("parity", "failures")}
    assert promoted(compared, good) == ["candidate", "other"]
    assert promoted(compared, good | {"c2_failures": "fail"}) == ["other"]


def test_a_mere_baseline_and_a_run_that_no_blocking_gate_saw_are_not_promoted():
    assert "baseline" not in promoted(ONE, GOOD)
    only_warns = POLICY.replace("margin: 0.1, minimum_n: 5}", "margin: 0.1, severity: warn}")
    only_warns = only_warns.replace("margin: 0.5, minimum_n: 5}", "margin: 0.5, severity: warn}")
    assert promoted(ONE, GOOD, only_warns) == []


def test_no_comparisons_no_promotions():
    assert promoted(ONE.clear(), GOOD) == []
