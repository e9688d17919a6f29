"""Uses are recorded once, and what they say of an example follows the change feed."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from lake.errors import UserError
from pipelines.examples.effect_steps import EFFECTS, list_effects, read_effect_history, update_effects
from pipelines.examples.importing import ensure_examples
from pipelines.examples.store import ExampleChanges, ExampleStore
from pipelines.examples.usages import USAGES, Usage, read_usages, record_usages
from tests.examples.planted import plant_uses
from tests.examples.rows import AUTHOR, NOW, draft


@pytest.fixture
def store(lake) -> ExampleStore:
    return ExampleStore(lake)


def use(example_id: str, **facts) -> Usage:
    given = {"consumer_kind": "evaluation", "consumer_id": "run-1", "used_at": NOW, **facts}
    return Usage(example_id=example_id, **given)


def plant(lake, *, uses_each: int, seed: int = 1) -> list[Usage]:
    """Planted uses, of examples that are created for them, in the order in which they were made."""
    planted = plant_uses(np.random.default_rng(seed), uses_each=uses_each, examples_each=5)
    drafts = [draft(name, example_id=name) for name in planted.truth["example_id"]]
    ensure_examples(lake, drafts, now=NOW, author=AUTHOR)
    return [use(**row, consumer_id="planted", sample_id=row["stratum"]) for row in planted.usages.iter_rows(named=True)]


def test_a_use_is_recorded_once_and_its_score_can_come_later(store, lake) -> None:
    row = store.create(draft("a"), now=NOW, author=AUTHOR)
    first = use(row["example_id"], sample_id="s")
    assert record_usages(lake, [first, first]).rows_written == 1
    assert record_usages(lake, [first]).rows_written == 0
    assert record_usages(lake, [use(row["example_id"], sample_id="s", outcome_score=1.0)]).rows_written == 1
    rows = read_usages(lake, example_ids=[row["example_id"]])
    assert rows["outcome_score"].to_list() == [1.0]
    assert rows["databit_version"].to_list() == [1]
    other = use(row["example_id"], sample_id="s", consumer_id="run-2")
    assert record_usages(lake, [other]).rows_written == 1
    assert read_usages(lake, consumer_id="run-2").height == 1
    assert read_usages(lake, limit=1).height == 1


def test_calls_of_one_sample_share_a_stratum_and_calls_of_two_consumers_do_not(store, lake) -> None:
    row = store.create(draft("a"), now=NOW, author=AUTHOR)
    later = NOW + dt.timedelta(hours=1)
    record_usages(
        lake,
        [
            use(row["example_id"], sample_id="s"),
            use(row["example_id"], sample_id="s", used_at=later),
            use(row["example_id"], sample_id="s", consumer_id="run-2"),
        ],
    )
    rows = read_usages(lake)
    assert (rows["stratum"].n_unique(), rows["call_id"].n_unique()) == (2, 3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"example_id": "nobody"}, "not in silver.examples"), ({"consumer_kind": "x"}, "consumer kind")],
)
def test_a_use_of_nothing_or_by_nobody_is_refused_whole(store, lake, wrong, message) -> None:
    row = store.create(draft("a"), now=NOW, author=AUTHOR)
    with pytest.raises(UserError, match=message):
        record_usages(lake, [use(row["example_id"]), use(**{"example_id": row["example_id"], **wrong})])
    assert lake.row_count(USAGES) == 0


def test_a_score_out_of_range_is_a_reject(store, lake) -> None:
    row = store.create(draft("a"), now=NOW, author=AUTHOR)
    assert record_usages(lake, [use(row["example_id"], outcome_score=17.0)]).rows_rejected == 1


def test_estimates_follow_the_feed_and_equal_those_from_nothing(store, lake) -> None:
    uses = plant(lake, uses_each=60)
    half = len(uses) // 2
    record_usages(lake, uses[:half])
    first = update_effects(lake, now=NOW)
    assert (first.use_count, first.example_count) == (half, 15)
    record_usages(lake, uses[half:])
    update_effects(lake, now=NOW)
    followed = lake.read(EFFECTS).sort("example_id")
    versions = lake.versions(lake.tables())
    assert update_effects(lake, now=NOW).use_count == 0
    assert lake.versions(lake.tables()) == versions
    # The scale is kept while it is about right, so nothing need be written again.
    assert update_effects(lake, now=NOW, is_full=True).changed_count == 0
    assert lake.read(EFFECTS).sort("example_id").equals(followed)
    beside = lake.read("silver.examples").sort("example_id")
    for name in ("usage_count", "effectiveness_score", "effectiveness_low", "effectiveness_high"):
        assert beside[name].equals(followed[name]), name
    assert beside["updated_at"].to_list() == [NOW] * 15


def test_only_examples_of_touched_strata_are_estimated_again(store, lake) -> None:
    ids = [store.create(draft(name), now=NOW, author=AUTHOR)["example_id"] for name in "abc"]
    record_usages(lake, [use(ids[0], stratum="s", outcome_score=1.0), use(ids[1], stratum="t", outcome_score=1.0)])
    update_effects(lake, now=NOW)
    record_usages(lake, [use(ids[2], stratum="t", outcome_score=0.0)])
    later = NOW + dt.timedelta(days=1)
    assert update_effects(lake, now=later).example_count == 2
    computed = dict(lake.read(EFFECTS).select("example_id", "computed_at").iter_rows())
    assert [computed[name] for name in ids] == [NOW, later, later]


def test_an_edit_begins_the_estimate_again(store, lake) -> None:
    uses = plant(lake, uses_each=60)
    record_usages(lake, uses)
    update_effects(lake, now=NOW)
    store.update("good-000", ExampleChanges(domain="labels change nothing"), now=NOW, author=AUTHOR)
    assert update_effects(lake, now=NOW).changed_count == 0
    assert store.get("good-000")["usage_count"] > 0
    store.update("good-000", ExampleChanges(expected_output="another"), now=NOW, author=AUTHOR)
    update_effects(lake, now=NOW)
    assert lake.read(EFFECTS, where={"example_id": "good-000"}).is_empty()
    record_usages(lake, [use("good-000", stratum="sample-1", outcome_score=1.0)])
    update_effects(lake, now=NOW)
    row = lake.read(EFFECTS, where={"example_id": "good-000"}).row(0, named=True)
    assert (row["usage_count"], row["effect_kind"]) == (1, "too_few_uses")


def test_the_list_of_effects_is_led_by_the_best(store, lake) -> None:
    record_usages(lake, plant(lake, uses_each=120))
    update_effects(lake, now=NOW)
    rows = list_effects(lake, limit=3)
    assert rows["effectiveness_score"].is_sorted(descending=True)
    assert rows["label"].str.starts_with("good").all()
    history = read_effect_history(lake, "good-000")
    last = lake.read(EFFECTS, where={"example_id": "good-000"})
    assert history["effectiveness_score"][-1] == pytest.approx(last["effectiveness_score"][0])
    assert read_effect_history(lake, "nobody").is_empty()
    assert isinstance(history, pl.DataFrame)
