"""Nothing that a program has seen is in its test."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import UserError
from pipelines.optimization.items import Item, balanced_order
from pipelines.optimization.splitting import SplitShares, normalised, split_items
from tests.optimization.fakes import items

SHARES = SplitShares()


def test_splits_share_no_text_and_lose_none() -> None:
    splits = split_items(items(200), shares=SHARES)
    parts = [{item.example_id for item in part} for part in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, parts)) == 200
    assert set.union(*parts) == {item.example_id for item in items(200)}
    # 0.4, 0.2 and 0.4 of 200, by digest: within four standard deviations.
    assert [abs(len(part) - share) < 28 for part, share in zip(parts, (80, 40, 80), strict=True)] == [True] * 3


@given(added=st.integers(1, 60))
@settings(deadline=None, max_examples=10)
def test_new_examples_never_move_old_ones(added) -> None:
    before, after = (split_items(items(count), shares=SHARES) for count in (60, 60 + added))
    for name in ("train", "validation", "test"):
        old = {item.example_id for item in getattr(before, name)}
        assert old <= {item.example_id for item in getattr(after, name)}


def test_a_copy_in_other_case_is_left_out_and_a_contradiction_altogether() -> None:
    first, second, *others = items(40)
    copy = Item.of("copy", {"message": f"  {first.inputs['message'].upper()} "}, first.outputs)
    other = Item.of("other", second.inputs, {"order": "nowhere"})
    splits = split_items([first, second, copy, other, *others], shares=SHARES)
    assert splits.left_out["copy"] == ("e000",)
    assert splits.left_out["contradiction"] == ("e001", "other")
    assert {item.example_id for item in splits.items} == {"copy", *(item.example_id for item in others)}


def test_prompts_of_saved_suites_are_in_no_split() -> None:
    listed = items(40)
    prompts = [f"Translate: {listed[3].inputs['message'].upper()}\nAnswer:", listed[5].inputs["message"]]
    splits = split_items(listed, shares=SHARES, known_prompts=prompts)
    assert splits.left_out["known_prompt"] == ("e003", "e005")
    told = "\0".join(map(normalised, prompts))
    assert not any(normalised(item.inputs["message"]) in told for item in splits.items)


def test_a_split_that_stays_empty_is_refused_with_what_to_do() -> None:
    with pytest.raises(UserError, match="split is empty: 2 examples"):
        split_items(items(2), shares=SHARES)
    with pytest.raises(UserError, match="leave something for the test"):
        SplitShares(train=0.6, validation=0.4)


def test_labels_take_turns_in_the_order_of_demos() -> None:
    listed = [Item.of(f"i{n}", {"t": f"text {n}"}, {"label": "yes" if n < 10 else "no"}) for n in range(12)]
    order = [item.outputs["label"] for item in balanced_order(listed, field="label", seed=1)]
    assert sorted(order[:4]) == ["no", "no", "yes", "yes"]
    assert balanced_order(listed, field="label", seed=1) == balanced_order(listed[::-1], field="label", seed=1)
    assert balanced_order(listed, field="label", seed=2) != balanced_order(listed, field="label", seed=1)
