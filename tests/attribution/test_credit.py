"""Credit of units and ancestors out of a lake, and how values change from run to run and version to version."""

import polars as pl
import pytest

from pipelines.attribution.deltas import deltas_of, update_deltas
from pipelines.attribution.lineage_credit import credit_lineage
from pipelines.attribution.listing import find_unit, lineage_marks, list_deltas, top_units, unit_history
from pipelines.attribution.recording import ATTRIBUTIONS, DELTAS
from pipelines.attribution.steps import find_pending, settle_pending
from pipelines.databits.lineage_drawing import draw_lineage
from pipelines.databits.lineage_graph import read_graph
from pipelines.databits.lineage_texts import as_mermaid
from pipelines.databits.revising import Changes, Hand, create_databit, revise_databit
from pipelines.databits.units import Draft
from pipelines.examples.drafts import ExampleDraft
from pipelines.optimization.items import EXAMPLES
from tests.attribution.learnt import NOW, attribute, learn, stock
from tests.attribution.test_demo_steps import OneGoodDemo
from tests.optimization.fakes import items


def derived_drafts(lake):
    """Sixty examples that were all made from two source units."""
    hand = Hand(author="ada", at=NOW)
    sources = [create_databit(lake, Draft(content={"sheet": name}), hand=hand) for name in ("east", "west")]
    return [
        ExampleDraft(
            inputs=item.inputs, expected_output=item.outputs["order"], function_name="orders", derived_from=sources
        )
        for item in items(60)
    ]


@pytest.fixture
def attributed(lake):
    """A lake in which one demo of three was worth everything."""
    engine = OneGoodDemo()
    learn(stock(lake), engine=engine)
    attribute(lake, engine)
    return lake


def total(lake, kind):
    return lake.read(ATTRIBUTIONS, where={"unit_kind": kind})["value"].sum()


def test_units_receive_what_their_examples_are_worth_and_nothing_is_written_twice(attributed) -> None:
    run_id = attributed.read(ATTRIBUTIONS)["run_id"][0]
    (result,) = credit_lineage(attributed, run_id, now=NOW)
    assert (result.is_new, dict(result.counts)) == (True, {"helpful": 1, "harmful": 0, "indistinguishable": 2})
    assert total(attributed, "databit") == pytest.approx(total(attributed, "example")) == pytest.approx(1.0)
    units = attributed.read(ATTRIBUTIONS, where={"unit_kind": "databit"})
    valued = attributed.read(ATTRIBUTIONS, where={"unit_kind": "example"})
    shown = attributed.read(EXAMPLES).join(valued.select(example_id="unit_id"), on="example_id", how="semi")
    assert set(units["unit_id"]) == set(shown["databit_id"])
    version = attributed.version(ATTRIBUTIONS)
    (again,) = credit_lineage(attributed, run_id, now=NOW)
    assert (again.is_new, attributed.version(ATTRIBUTIONS)) == (False, version)


def test_ancestors_have_their_share_and_the_sum_stays(lake) -> None:
    engine = OneGoodDemo()
    run_id = learn(stock(lake, derived_drafts(lake)), engine=engine)
    attribute(lake, engine)
    credit_lineage(lake, run_id, now=NOW)
    units = lake.read(ATTRIBUTIONS, where={"unit_kind": "databit"})
    # The one good demo keeps half of its 1 and gives each of its two parents a quarter.
    assert units["value"].sort(descending=True).to_list() == pytest.approx([0.5, 0.25, 0.25, 0, 0])
    assert total(lake, "databit") == pytest.approx(1.0)
    sources = units.filter(pl.col("value") == 0.25)
    assert sources["unit_version"].to_list() == [1, 1]
    # Carried as if all three demos erred in one direction: a quarter of the sum of what each may be off.
    demos = lake.read(ATTRIBUTIONS, where={"unit_kind": "example"})
    assert sources["interval_low"].to_list() == pytest.approx([demos["interval_low"].sum() / 4] * 2)


def test_the_drawing_is_coloured_by_credit_and_words_say_it_too(lake) -> None:
    engine = OneGoodDemo()
    run_id = learn(stock(lake, derived_drafts(lake)), engine=engine)
    attribute(lake, engine)
    credit_lineage(lake, run_id, now=NOW)
    good = lake.read(ATTRIBUTIONS, where={"finding": "helpful", "unit_kind": "example"})["unit_id"][0]
    graph = read_graph(lake, find_unit(lake, good[:10], "latest"))
    marks = lineage_marks(lake, graph, "latest", of="leave_one_out")
    assert marks[graph.focus].text == "+0.5 (helpful)"
    assert (marks[graph.focus].strength, marks[graph.focus].finding) == (1.0, "helpful")
    svg, mermaid = draw_lineage(graph, marks=marks), as_mermaid(graph, marks=marks)
    assert svg.count('fill="#009e73" fill-opacity="0.50"') == 1
    assert "+0.5 (helpful)" in svg
    assert "fill:#009e7380" in mermaid


def test_from_run_to_run_and_from_version_to_version_changes_are_rows(attributed) -> None:
    first = attributed.read(ATTRIBUTIONS)["run_id"][0]
    credit_lineage(attributed, first, now=NOW)
    # Another seed shuffles the demos; all sixty being candidates, both runs are made to share the three.
    later = attributed.read(ATTRIBUTIONS).with_columns(
        attribution_id=pl.col("attribution_id") + "b",
        run_id=pl.lit("run-b"),
        value=pl.col("value") - 0.75,
        interval_low=pl.col("interval_low") - 0.75,
        interval_high=pl.col("interval_high") - 0.75,
    )
    run = attributed.read("gold.dspy_runs")
    shifted = run.with_columns(
        optimization_run_id=pl.lit("run-b"), started_at=pl.col("started_at") + pl.duration(days=1)
    )
    attributed.upsert("gold.dspy_runs", shifted)
    attributed.upsert(ATTRIBUTIONS, later)
    assert update_deltas(attributed) == 6
    deltas = list_deltas(attributed)
    assert deltas["effect"].to_list() == pytest.approx([-0.75] * 6)
    assert set(deltas["delta_kind"]) == {"run"}
    # Each interval reaches 0.2425 both ways; two of them 0.2425 * sqrt(2) = 0.343.
    assert deltas["interval_low"].to_list() == pytest.approx([-0.75 - 0.3430] * 6, abs=1e-3)
    assert deltas["is_distinct"].all()
    assert update_deltas(attributed) == 0
    # A run between the two parts the pairs.
    between = later.with_columns(attribution_id=pl.col("attribution_id") + "c", run_id=pl.lit("run-c"))
    attributed.upsert(
        "gold.dspy_runs",
        run.with_columns(optimization_run_id=pl.lit("run-c"), started_at=pl.col("started_at") + pl.duration(hours=1)),
    )
    attributed.upsert(ATTRIBUTIONS, between)
    update_deltas(attributed)
    pairs = attributed.read(DELTAS).select("previous_run_id", "run_id").unique().rows()
    assert sorted(pairs) == sorted([(first, "run-c"), ("run-c", "run-b")])


def test_a_new_version_is_set_against_the_newest_of_the_run_before(attributed) -> None:
    run_id = attributed.read(ATTRIBUTIONS)["run_id"][0]
    credit_lineage(attributed, run_id, now=NOW)
    rows = (
        attributed.read(ATTRIBUTIONS, where={"unit_kind": "databit"})
        .head(1)
        .with_columns(template_id=pl.lit("t"), started_at=pl.lit(NOW))
    )
    later = rows.with_columns(
        attribution_id=pl.lit("x"), run_id=pl.lit("later"), unit_version=pl.lit(2, dtype=pl.Int64),
        started_at=pl.lit(NOW) + pl.duration(days=1),
    )  # fmt: skip
    (delta,) = deltas_of(pl.concat([rows, later], how="vertical_relaxed")).to_dicts()
    assert (delta["delta_kind"], delta["previous_unit_version"], delta["unit_version"]) == ("version", 1, 2)


def test_credit_goes_to_the_version_that_the_run_showed(attributed, tmp_path) -> None:
    from pipelines.optimization.syncing import sync_optimization_results

    run_id = attributed.read(ATTRIBUTIONS)["run_id"][0]
    sync_optimization_results(attributed, run_id, landing=tmp_path, now=NOW, author="ada", clock=lambda: NOW)
    example = attributed.read(ATTRIBUTIONS)["unit_id"][0]
    unit = attributed.read(EXAMPLES, where={"example_id": example})["databit_id"][0]
    revise_databit(attributed, unit, Changes(search_keys=["seen"]), expected_version=1, hand=Hand(author="ada", at=NOW))
    attributed.upsert(
        EXAMPLES, attributed.read(EXAMPLES, where={"example_id": example}).with_columns(databit_version=pl.lit(2))
    )
    credit_lineage(attributed, run_id, now=NOW)
    assert attributed.read(ATTRIBUTIONS, where={"unit_id": unit})["unit_version"].to_list() == [1]


def test_views_give_the_ends_of_the_ranking_and_a_unit_s_history(attributed) -> None:
    run_id = attributed.read(ATTRIBUTIONS)["run_id"][0]
    credit_lineage(attributed, run_id, now=NOW)
    top = top_units(attributed, "latest", method="leave_one_out", count=1)
    assert top["value"].to_list() == [1.0, 0.0]
    assert all("lamps from" in label for label in top["label"])
    assert top["finding"].to_list() == ["helpful", "indistinguishable"]
    assert top_units(attributed, "latest", count=9).height == 6
    history = unit_history(attributed, top["unit_id"][0])
    assert history.select("unit_kind", "method").rows() == [
        ("databit", "lineage_rollup"), ("example", "leave_one_out"),
    ]  # fmt: skip


def test_a_run_is_pending_until_it_is_settled_and_again_when_it_changes(attributed) -> None:
    pending = find_pending(attributed)
    assert len(pending.run_ids) == 1
    assert find_pending(attributed).run_ids == pending.run_ids
    settle_pending(attributed, pending)
    assert find_pending(attributed).run_ids == ()
    assert find_pending(attributed, mode="all").run_ids == pending.run_ids
    runs = attributed.read("gold.dspy_runs").with_columns(synced_at=pl.lit(NOW))
    attributed.upsert("gold.dspy_runs", runs)
    assert find_pending(attributed).run_ids == pending.run_ids
