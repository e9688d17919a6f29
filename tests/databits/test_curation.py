"""The queue: each finding once, each item one person's, each decision a version."""

import datetime as dt

import polars as pl
import pytest

from lake.errors import UserError
from lake.store import Lake
from pipelines.databits import curation
from pipelines.databits.agreement import agreement_statistics, cohen_kappa, count_states
from pipelines.databits.assistant import label_items, question_about
from pipelines.databits.curation import (
    CLAIM_LENGTH,
    ITEMS,
    CurationDraft,
    claim_items,
    decide_item,
    enqueue_items,
    list_items,
    release_items,
)
from pipelines.databits.curation_rules import fill_queue, masked_content
from pipelines.databits.reading import read_version
from pipelines.databits.revising import retract_databit
from pipelines.databits.steps import assess_quality, update_lineage
from pipelines.databits.units import DATABITS, DatabitKey
from tests.databits.units import NOON, hand, make

LATER = NOON + CLAIM_LENGTH + dt.timedelta(seconds=1)


def put(lake: Lake, *names: str, **members) -> list[str]:
    drafts = [
        CurationDraft(subject_kind="databit", subject_id=name, subject_version=1, rule="test", reason="why", **members)
        for name in names
    ]
    enqueue_items(lake, drafts, now=NOON)
    return [draft.item_id for draft in drafts]


def test_the_same_finding_is_one_item_whatever_became_of_it(lake: Lake) -> None:
    make(lake, "unit")
    (item,) = put(lake, "unit")
    decide_item(lake, item, "accept", reviewer="ann", now=NOON)
    put(lake, "unit")
    assert lake.read(ITEMS)["state"].to_list() == ["accepted"]


def test_two_people_never_hold_the_same_item_and_a_claim_runs_out(lake: Lake) -> None:
    put(lake, "one", "two", "three")
    anns = claim_items(lake, reviewer="ann", count=2, now=NOON)["item_id"].to_list()
    bobs = claim_items(lake, reviewer="bob", count=2, now=NOON)["item_id"].to_list()
    assert (len(anns), len(bobs), set(anns) & set(bobs)) == (2, 1, set())
    assert claim_items(lake, reviewer="ann", count=2, now=NOON)["item_id"].to_list() == anns
    assert claim_items(lake, reviewer="cy", count=9, now=NOON).is_empty()
    assert claim_items(lake, reviewer="cy", count=9, now=LATER).height == 3
    assert release_items(lake, reviewer="cy") == 3
    assert list_items(lake, states=["open"]).height == 3


def test_who_is_slower_passes_over_the_item(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lake, "one", "two")
    claim, raced = curation._claim, []

    def claim_after_bob(lake, item, reviewer, now):
        if not raced:
            raced.append(claim(lake, item, "bob", now))
        return claim(lake, item, reviewer, now)

    monkeypatch.setattr(curation, "_claim", claim_after_bob)
    mine = claim_items(lake, reviewer="ann", count=1, now=NOON)
    assert lake.read(ITEMS).sort("claimed_by")["claimed_by"].to_list() == ["ann", "bob"]
    assert mine["claimed_by"].to_list() == ["ann"]


def test_accepting_a_proposal_writes_a_version_that_says_why(lake: Lake) -> None:
    make(lake, "unit")
    (item,) = put(lake, "unit", proposed_content="better")
    result = decide_item(lake, item[:8], "accept", reviewer="ann", now=NOON, note="yes")
    assert result.databit == DatabitKey("unit", 2)
    row = read_version(lake, "unit")
    assert (row["content"], row["created_by"], row["change_note"]) == (
        '"better"',
        "ann",
        "curation accepted: test (yes)",
    )
    stored = lake.read(ITEMS).row(0, named=True)
    assert (stored["state"], stored["reviewer"], stored["result_version"]) == ("accepted", "ann", 2)


def test_an_edit_stands_in_place_of_the_proposal(lake: Lake) -> None:
    make(lake, "unit")
    (item,) = put(lake, "unit", proposed_content="better")
    with pytest.raises(UserError, match="An edit needs the new content"):
        decide_item(lake, item, "edit", reviewer="ann", now=NOON)
    decide_item(lake, item, "edit", content="best", reviewer="ann", now=NOON)
    assert read_version(lake, "unit")["content"] == '"best"'


def test_rejecting_spares_the_unit_where_something_was_proposed_else_retracts_it(lake: Lake) -> None:
    for name, members in (("kept", {"proposed_content": "x"}), ("gone", {})):
        make(lake, name)
        (item,) = put(lake, name, **members)
        decide_item(lake, item, "reject", reviewer="ann", now=NOON)
    assert read_version(lake, "kept")["version"] == 1
    assert read_version(lake, "gone")["is_deleted"]


def test_a_proposal_about_something_that_is_no_unit_becomes_one(lake: Lake) -> None:
    parent = make(lake, "prompt")
    draft = CurationDraft(
        subject_kind="output",
        subject_id="run/sample/0",
        rule="best",
        reason="full marks",
        proposed_content={"a": 1},
        license="MIT",
        derived_from=[parent],
        search_keys=["role=example"],
    )
    enqueue_items(lake, [draft], now=NOON)
    result = decide_item(lake, draft.item_id, "accept", reviewer="ann", now=NOON)
    row = read_version(lake, *result.databit)
    assert (row["content"], row["search_keys"]) == ('{"a":1}', ["role=example"])
    assert row["attribution"]["derived_from"] == [{"databit_id": "prompt", "version": 1}]
    assert row["attribution"]["source"] == "output:run/sample/0"


def test_what_somebody_else_holds_or_decided_cannot_be_decided(lake: Lake) -> None:
    make(lake, "unit")
    (item,) = put(lake, "unit")
    claim_items(lake, reviewer="ann", count=1, now=NOON)
    with pytest.raises(UserError, match="claimed by ann until"):
        decide_item(lake, item, "accept", reviewer="bob", now=NOON)
    decide_item(lake, item, "accept", reviewer="bob", now=LATER)
    with pytest.raises(UserError, match="was accepted by bob"):
        decide_item(lake, item, "reject", reviewer="ann", now=LATER)


@pytest.mark.parametrize("decision", ["accept", "reject"])
def test_a_decision_that_was_cut_short_is_finished_by_making_it_again(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, decision: str
) -> None:
    make(lake, "unit")
    (item,) = put(lake, "unit", **({"proposed_content": "better"} if decision == "accept" else {}))
    with monkeypatch.context() as patched:
        patched.setattr(Lake, "upsert", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            decide_item(lake, item, decision, reviewer="ann", now=NOON)
    assert lake.row_count(DATABITS) == 2
    decide_item(lake, item, decision, reviewer="ann", now=NOON)
    assert lake.row_count(DATABITS) == 2
    assert lake.read(ITEMS)["result_version"].to_list() == [2]


# Rules


def findings(lake: Lake) -> dict[str, int]:
    update_lineage(lake)
    assess_quality(lake)
    return {rule: count for rule, count in fill_queue(lake, now=NOON).items() if count}


def test_findings_about_newest_versions_come_into_the_queue_once(lake: Lake) -> None:
    text = "Please write to jo@example.com whenever you have the time for it."
    make(lake, "a-mail", content={"text": text})
    make(lake, "b-again", content={"text": text})
    make(lake, "c-odd", license_id="LicenseRef-x")
    make(lake, "d-gone", content="jo@example.com")
    retract_databit(lake, "d-gone", expected_version=1, hand=hand())
    assert findings(lake) == {"personal_data": 2, "duplicate": 1}
    assert findings(lake) == {}
    (item,) = list_items(lake, rule="personal_data").filter(pl.col("subject_id") == "a-mail").to_dicts()
    assert item["proposed_content"] == '{"text":"Please write to [email] whenever you have the time for it."}'
    assert list_items(lake)["rule"].to_list() == ["personal_data", "personal_data", "duplicate"]


def test_masking_reaches_every_text_of_a_value() -> None:
    assert masked_content({"a": ["x@example.com", 1], "b": None}) == {"a": ["[email]", 1], "b": None}


# The assistant


class Sure:
    """A model that is as sure as it is told."""

    name = "sure"

    def __init__(self, **chances: float) -> None:
        self.chances = chances
        self.questions: list[str] = []

    def choose(self, question, options):
        self.questions.append(question)
        return self.chances or None


def test_labels_stand_beside_items_and_decide_nothing(lake: Lake) -> None:
    make(lake, "unit", content="the text")
    put(lake, "unit", "another", proposed_content="new")
    model = Sure(accept=0.2, edit=0.7, reject=0.1)
    assert label_items(lake, model, limit=1) == 1
    assert label_items(lake, model, limit=9) == 1
    assert label_items(lake, model, limit=9) == 0
    rows = lake.read(ITEMS)
    assert rows.select("state", "assistant_label", "assistant_confidence").unique().rows() == [("open", "edit", 0.7)]
    assert any("Text: the text" in question for question in model.questions)
    assert label_items(lake, Sure(), limit=9) == 0


def test_a_decision_made_while_the_model_thinks_stands(lake: Lake) -> None:
    make(lake, "unit")
    (item,) = put(lake, "unit")
    model = Sure(accept=1.0)
    answer = model.choose

    def decide_meanwhile(question, options):
        decide_item(lake, item, "reject", reviewer="ann", now=NOON)
        return answer(question, options)

    model.choose = decide_meanwhile
    assert label_items(lake, model, limit=1) == 0
    assert lake.read(ITEMS).select("state", "assistant_label").rows() == [("rejected", None)]


def test_the_question_says_what_a_decision_means() -> None:
    item = {"reason": "It may hold an address.", "proposed_content": None}
    assert "reject means it should be removed" in question_about(item, '"x"')
    assert "the proposal is right" in question_about(item | {"proposed_content": '"y"'}, '"x"')


def decided(*pairs: tuple[str, str, float]) -> pl.DataFrame:
    states = {"accept": "accepted", "edit": "edited", "reject": "rejected"}
    return pl.DataFrame(
        [
            {
                "rule": "r",
                "state": states[person],
                "assistant_label": label,
                "assistant_confidence": confidence,
                "assistant_model": "m",
                "reviewer": "ann",
            }
            for person, label, confidence in pairs
        ]
    )


def test_agreement_is_given_with_what_chance_alone_would_give() -> None:
    # 10 items: both accept 4, both reject 3, 3 apart; people accept 5, the model accepts 6.
    # Chance: .5 * .6 + .5 * .4 = .5, so kappa is (.7 - .5) / .5 = .4.
    items = decided(
        *[("accept", "accept", 0.9)] * 4, *[("reject", "reject", 0.9)] * 3,
        ("accept", "reject", 0.6), *[("reject", "accept", 0.6)] * 2,
    )  # fmt: skip
    row = agreement_statistics(items).row(0, named=True)
    assert (row["item_count"], row["agreement_ratio"], row["reviewer"]) == (10, 0.7, None)
    assert row["kappa"] == pytest.approx(0.4)
    assert row["agreement_low"] < 0.7 < row["agreement_high"]
    assert (row["confidence_when_right"], row["confidence_when_wrong"]) == (pytest.approx(0.9), pytest.approx(0.6))
    assert agreement_statistics(items)["reviewer"].to_list() == [None, "ann"]
    assert count_states(items).row(0) == ("r", 0, 0, 5, 0, 5)


def test_kappa_is_unknown_where_nobody_could_disagree() -> None:
    assert cohen_kappa(pl.Series(["accept"] * 3), pl.Series(["accept"] * 3)) is None
