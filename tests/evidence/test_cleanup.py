from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evidence.cleanup import drop_short_equalities
from pipelines.evidence.diff import apply_opcodes, diff_words, groups, split_words

PROSE = st.lists(st.sampled_from(["the ", "cat", "elephant", " ", "a", "\n", "sat."])).map("".join)


def cleaned(baseline: str, candidate: str) -> tuple[int, ...]:
    opcodes = diff_words(baseline, candidate).opcodes
    return drop_short_equalities(opcodes, split_words(baseline), split_words(candidate))


@given(PROSE, PROSE)
@settings(deadline=None, max_examples=200)
def test_the_cleaned_diff_is_still_a_diff_and_clean(baseline, candidate):
    once = cleaned(baseline, candidate)
    assert apply_opcodes(once, baseline, candidate) == candidate
    assert drop_short_equalities(once, split_words(baseline), split_words(candidate)) == once
    assert len(groups(once)) <= len(groups(diff_words(baseline, candidate).opcodes))


def test_a_lonely_space_between_two_edits_is_swallowed():
    # "brown fox" to "black cat": the kept space (1) is shorter than brown/black (5) and fox/cat (3)
    assert cleaned("brown fox", "black cat") == (1, 0, 3, 0, 3)


def test_a_long_stretch_between_small_edits_stays():
    # "1 elephants 2" to "3 elephants 4": 11 kept characters between edits of one
    assert cleaned("1 elephants 2", "3 elephants 4") == (1, 0, 1, 0, 1, 1, 4, 5, 4, 5)


def test_an_edit_that_grew_swallows_what_lies_before_it_too():
    # " = " (3) between edits of 5 and 1 stays, since 3 > 1.
    assert cleaned("11111 = 3", "22222 = 4") == (1, 0, 1, 0, 1, 1, 4, 5, 4, 5)
    # With "5555" to "6666" behind it, first the space (1) between edits of 1 and 4 goes; the joined edit is 6 long,
    # and now " = " (3) is shorter than both its neighbours.
    assert cleaned("11111 = 3 5555", "22222 = 4 6666") == (1, 0, 7, 0, 7)
