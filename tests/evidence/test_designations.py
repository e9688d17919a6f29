import datetime as dt

import polars as pl

from lake.identity import json_digest
from lake.store import Lake
from lake.tables import contract_of
from pipelines.evidence.designations import designated_run_id, read_designations
from pipelines.evidence.pairing import plan_comparisons
from pipelines.evidence.steps import judge_what_is_new, stale_run_dates
from pipelines.runs.remarks import Act, designate_baseline, withdraw_baseline
from tests.evidence.rows import DAY, START, output, output_rows, policy, run, run_rows

RULES = "version: 1\ncomparisons: [{name: kept, baseline: designated}]"
FIRST = START.date()


def designation(run_id: str | None, *, day: dt.date = FIRST, minutes: int = 0, **selector: str) -> dict[str, object]:
    return {
        "designation_id": f"d{minutes:03}",
        "selector_digest": json_digest(selector),
        "selector": json_digest(selector) and str(selector).replace("'", '"'),
        "run_id": run_id,
        "effective_date": day,
        "designated_at": START + dt.timedelta(minutes=minutes),
        "designated_by": "ann",
    }


def meant(candidate, *acts) -> str | None:
    rows = pl.DataFrame(list(acts), schema=contract_of("silver.baselines").dtypes)
    return designated_run_id(candidate, read_designations(rows))


def test_the_selector_says_for_whom() -> None:
    on_main = run("c", code_version={"branch": "main"})
    assert meant(on_main, designation("x", suite="capitals", branch="main")) == "x"
    assert meant(on_main, designation("x", suite="capitals", branch="release/*")) is None
    assert meant(run("c", code_version=None), designation("x", branch="main")) is None


def test_the_narrowest_selector_wins_then_the_latest() -> None:
    wide, narrow = (
        designation("wide", suite="capitals", minutes=9),
        designation("narrow", suite="capitals", backend="a"),
    )
    assert meant(run("c"), wide, narrow) == "narrow"
    assert meant(run("c"), designation("glob", suite="capitals", backend="*", minutes=9), narrow) == "narrow"
    assert meant(run("c"), narrow, designation("newer", suite="capitals", backend="a", minutes=3)) == "newer"


def test_a_withdrawn_one_gives_way_to_a_wider_one_or_to_nothing() -> None:
    wide, narrow = (
        designation("wide", suite="capitals"),
        designation("narrow", suite="capitals", backend="a", minutes=1),
    )
    withdrawn = designation(None, suite="capitals", backend="a", minutes=2)
    assert meant(run("c"), wide, narrow, withdrawn) == "wide"
    assert meant(run("c"), narrow, withdrawn) is None


def test_it_counts_from_its_date_on() -> None:
    old = designation("old", suite="capitals")
    new = designation("new", suite="capitals", day=FIRST + 2 * DAY, minutes=5)
    assert meant(run("c", started_at=START + DAY), old, new) == "old"
    assert meant(run("c", started_at=START + 2 * DAY), old, new) == "new"
    assert meant(run("c", started_at=START - DAY), old, new) is None


def test_a_designated_run_is_not_compared_with_itself_nor_across_suites() -> None:
    runs = run_rows(run("base"), run("c", started_at=START + DAY), run("o", suite="other", started_at=START + DAY))
    acts = read_designations(
        pl.DataFrame([designation("base", backend="a")], schema=contract_of("silver.baselines").dtypes)
    )
    dates = {FIRST, FIRST + DAY}
    plan = plan_comparisons(runs, policy(RULES), dates, acts)
    assert plan.select("candidate_run_id", "baseline_run_id").rows() == [("c", "base")]
    assert plan_comparisons(runs, policy(RULES), dates).is_empty()


def test_designating_and_withdrawing_wakes_the_evidence_it_touches(lake: Lake) -> None:
    runs = [run("base"), run("c", started_at=START + 3 * DAY)]
    lake.upsert("silver.runs", run_rows(*runs))
    lake.upsert("silver.outputs", output_rows([output(row, index, "same") for row in runs for index in range(6)]))
    rules = policy(RULES)
    assert judge_what_is_new(lake, rules) == []
    act = Act(author="ann", at=START)
    designate_baseline(lake, runs[0], key=["suite"], effective=FIRST, act=act)
    assert judge_what_is_new(lake, rules) == [FIRST + 3 * DAY]
    assert lake.read("gold.run_comparisons")["baseline_run_id"].to_list() == ["base"]
    assert stale_run_dates(lake, rules) == []
    withdraw_baseline(lake, "base", effective=FIRST, act=Act(author="ann", at=START + DAY))
    judge_what_is_new(lake, rules)
    assert lake.read("gold.run_comparisons").is_empty()
