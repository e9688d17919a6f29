"""What a run learnt comes back: uses with outcomes, a next version behind its gate, offers for curation."""

import datetime as dt
import itertools

import polars as pl
import pytest

from lake.errors import UserError
from lake.tables import contract_of
from pipelines.evidence.policy import parse_policy
from pipelines.evidence.steps import compare_runs, diff_outputs, judge_gates, promote_runs
from pipelines.examples.drafts import ExampleDraft
from pipelines.examples.importing import ensure_examples
from pipelines.optimization.items import read_items
from pipelines.optimization.requests import Models, OptimizationRequest, Watching
from pipelines.optimization.settings import OptimizerSettings
from pipelines.optimization.splitting import SplitShares, split_items
from pipelines.optimization.steps import launch_optimization_run
from pipelines.optimization.syncing import settle_templates, sync_optimization_results
from pipelines.optimization.template_registry import (
    diff_templates,
    pin_examples,
    read_history,
    read_template,
    save_template,
    set_state,
)
from tests.optimization.fakes import RuleEngine, items, template

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)


@pytest.fixture
def stocked(lake):
    """A lake with the template and sixty examples."""
    drafts = [
        ExampleDraft(inputs=item.inputs, expected_output=item.outputs["order"], function_name="orders")
        for item in items(60)
    ]
    ensure_examples(lake, drafts, now=NOW, author="ada")
    save_template(lake, template(), now=NOW, author="ada")
    return lake


def learn(lake, *, optimizer="bootstrap_few_shot", kind="predict"):
    if kind != "predict":
        save_template(lake, template(program_kind=kind), now=NOW, author="ada")
    version = read_template(lake, "orders")
    found = read_items(lake, version.template)
    assert (len(found.items), found.unfit) == (60, {})
    engine = RuleEngine()
    request = OptimizationRequest(
        version=version,
        splits=split_items(found.items, shares=SplitShares(max_validation=6, max_test=24)),
        optimizer=optimizer,
        settings=OptimizerSettings(labeled_demo_count=3, bootstrapped_demo_count=2),
        requested_by="ada",
    )
    models = Models(engine=engine, prompt_engine=engine)
    seconds = itertools.count()
    watching = Watching(clock=lambda: NOW + dt.timedelta(seconds=next(seconds)))
    return launch_optimization_run(lake, request, models, watching)


def sync(lake, tmp_path):
    return sync_optimization_results(
        lake, "latest", landing=tmp_path, now=NOW, author="ada", clock=lambda: NOW + dt.timedelta(minutes=1)
    )


def test_uses_carry_the_outcome_of_each_item_and_none_is_of_the_test(stocked, tmp_path) -> None:
    result = learn(stocked)
    synced = sync(stocked, tmp_path)
    uses = stocked.read("silver.example_usages")
    trial = stocked.read("gold.dspy_trials").filter(trial_kind="candidate").row(0, named=True)
    # One candidate, three demos, six validation items; the start shows none.
    assert (uses.height, synced.usage_count, synced.unknown_example_count) == (18, 18, 0)
    assert set(uses["example_id"]) == set(trial["demo_example_ids"])
    assert set(uses["sample_id"]) == set(trial["item_ids"])
    assert set(uses["consumer_id"]) == {result.run_id}
    assert uses["outcome_score"].to_list() == [1.0] * 18
    assert uses.group_by("call_id").len()["len"].to_list() == [3] * 6
    assert stocked.read("gold.example_effects")["usage_count"].to_list() == [6] * 3


def test_a_second_sync_changes_nothing(stocked, tmp_path) -> None:
    learn(stocked)
    first = sync(stocked, tmp_path)
    tables = ("silver.example_usages", "silver.templates", "silver.runs", "gold.dspy_runs", "silver.curation_items")
    versions = stocked.versions(tables)
    assert sync(stocked, tmp_path).version.version_index == first.version.version_index == 2
    assert stocked.versions(tables) == versions


def test_a_learnt_version_waits_for_the_gates_and_becomes_active_when_its_run_is_promoted(stocked, tmp_path) -> None:
    learn(stocked)
    synced = sync(stocked, tmp_path)
    assert (synced.version.state, str(read_template(stocked, "orders"))) == ("pending", "orders@1")
    assert settle_templates(stocked, now=NOW) == []
    start, best = synced.evaluation_run_ids
    outputs = stocked.read("silver.outputs").join(
        pl.DataFrame({"run_id": [start, best], "side": ["start", "best"]}), on="run_id"
    )
    assert outputs.group_by("side").len().sort("side").rows() == [("best", 24), ("start", 24)]
    policy = parse_policy(
        "version: 1\n"
        "comparisons: [{name: learnt, candidate: {tag: optimization}, baseline: previous}]\n"
        "gates: [{name: score, family: score_parity, margin: 0.1, severity: block}]\n",
        source="test",
    )
    for step in (diff_outputs, compare_runs, judge_gates, promote_runs):
        step(stocked, policy, [NOW.date()])
    verdicts = stocked.read("gold.gate_results").select("candidate_run_id", "baseline_run_id", "verdict").rows()
    assert verdicts == [(best, start, "pass")]
    assert settle_templates(stocked, now=NOW) == ["orders@2"]
    assert str(read_template(stocked, "orders")) == "orders@2"
    assert settle_templates(stocked, now=NOW) == []


def test_a_version_whose_run_failed_a_blocking_gate_is_refused(stocked, tmp_path) -> None:
    learn(stocked)
    evaluation = sync(stocked, tmp_path).evaluation_run_ids[-1]
    sample = (
        contract_of("gold.gate_results")
        .sample(1)
        .with_columns(candidate_run_id=pl.lit(evaluation), verdict=pl.lit("fail"), severity=pl.lit("block"))
    )
    stocked.upsert("gold.gate_results", sample)
    assert settle_templates(stocked, now=NOW) == ["orders@2"]
    row = read_history(stocked, "orders").row(-1, named=True)
    assert (row["state"], row["settled_reason"]) == ("refused", f"Run {evaluation[:8]} failed a gate.")
    assert str(read_template(stocked, "orders")) == "orders@1"


def test_demos_that_say_something_new_are_offered_for_curation(stocked, tmp_path) -> None:
    # A program that thinks first writes its reasons into a bootstrapped demo; the example has none.
    learn(stocked, kind="chain_of_thought")
    synced = sync(stocked, tmp_path)
    queue = stocked.read("silver.curation_items")
    own = stocked.read("gold.dspy_trials").filter(trial_kind="candidate")["bootstrapped_demo_count"][0]
    assert synced.curation_count == queue.height == own > 0
    assert set(queue["rule"]) == {"bootstrapped_demo"}
    assert all("reasoning" in content for content in queue["proposed_content"])
    units = set(stocked.read("silver.examples")["databit_id"])
    assert all(parents[0]["databit_id"] in units for parents in queue["derived_from"].to_list())


def test_versions_have_a_history_and_a_diff_and_can_be_put_away(stocked) -> None:
    assert not save_template(stocked, template(), now=NOW, author="bob").is_new
    second = save_template(stocked, template(instructions="Write it."), now=NOW, author="bob", note="shorter")
    assert str(second) == "orders@2"
    assert "+instructions: Write it." in diff_templates(stocked, "orders@1", "orders@2")
    ids = stocked.read("silver.examples")["example_id"].sort().head(2).to_list()
    pinned = pin_examples(stocked, "orders", ids[::-1], now=NOW, author="bob")
    history = read_history(stocked, "orders")
    assert history["parent_version_index"].to_list() == [None, 1, 2]
    assert history["demo_example_ids"].to_list() == [[], [], ids[::-1]]
    assert read_template(stocked, "orders").template == read_template(stocked, str(pinned)).template
    assert set_state(stocked, "orders@3", "archived", now=NOW, reason="a mistake") == ["orders@3"]
    assert str(read_template(stocked, "orders")) == "orders@2"
    with pytest.raises(UserError, match="There is no template named 'order'"):
        read_template(stocked, "order")
    with pytest.raises(UserError, match="has no version '9'; it has 1, 2, 3"):
        read_template(stocked, "orders@9")
    with pytest.raises(UserError, match="There is no example 'x'"):
        pin_examples(stocked, "orders", ["x"], now=NOW, author="bob")
