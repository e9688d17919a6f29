from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evidence import diff
from pipelines.evidence.diff import (
    DELETE,
    INSERT,
    REPLACE,
    apply_edits,
    apply_opcodes,
    diff_units,
    diff_word_lists,
    diff_words,
    edit_script,
    groups,
    split_units,
    split_words,
)
from tests.oracles.lcs import longest_common_subsequence

# Few words make texts that share some; any text makes sure that nothing depends on what characters there are.
PROSE = st.lists(st.sampled_from(["the ", "cat", "dog", " ", "\n", "sat.", "é", "猫", "\x00", "ab\u0301"])).map("".join)
TEXT = st.one_of(PROSE, st.text())
law = settings(deadline=None, max_examples=200)


@given(TEXT)
@law
def test_joined_words_are_the_text(text):
    assert "".join(split_words(text)) == text


def test_words_are_runs_of_letters_runs_of_space_and_single_marks():
    assert split_words("Don't  stop -- 3.5!\n") == [
        "Don", "'", "t", "  ", "stop", " ", "-", "-", " ", "3", ".", "5", "!", "\n",
    ]  # fmt: skip


@given(TEXT, TEXT)
@law
def test_applying_the_diff_gives_the_candidate(baseline, candidate):
    opcodes = diff_words(baseline, candidate).opcodes
    assert apply_opcodes(opcodes, baseline, candidate) == candidate
    assert apply_edits(edit_script(opcodes, candidate), baseline) == candidate


@given(TEXT, TEXT, st.sampled_from(["word", "line", "character"]))
@law
def test_applying_the_diff_gives_the_candidate_at_every_granularity(baseline, candidate, granularity):
    assert "".join(split_units(baseline, granularity)) == baseline
    opcodes = diff_units(baseline, candidate, granularity)
    assert apply_opcodes(opcodes, baseline, candidate, granularity=granularity) == candidate
    script = edit_script(opcodes, candidate, granularity=granularity)
    assert apply_edits(script, baseline, granularity=granularity) == candidate
    assert diff_units(baseline, baseline, granularity) == ()


def test_lines_end_with_their_line_feed_and_characters_are_whole():
    assert split_units("a\n\nb\r\nc", "line") == ["a\n", "\n", "b\r\n", "c"]
    # e with an accent of its own, a family of two joined by a zero-width joiner, a flag, and a Windows line end.
    whole = ["e\u0301", "\U0001f469\u200d\U0001f467", "\U0001f1eb\U0001f1f7", "\r\n"]
    assert split_units("".join(whole), "character") == whole


def test_the_granularities_by_hand():
    # line 1 of 3 is replaced; of its characters the fourth
    assert diff_units("one\nland\nthree\n", "one\nlane\nthree\n", "line") == (REPLACE, 1, 2, 1, 2)
    assert diff_units("land", "lane", "character") == (REPLACE, 3, 4, 3, 4)


@given(TEXT, TEXT, st.integers(0, 60))
@law
def test_the_other_way_round_it_is_the_same_diff(left, right, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diff, "MAX_CELLS", limit)
        there, back = groups(diff_words(left, right).opcodes), groups(diff_words(right, left).opcodes)
    opposite = {REPLACE: REPLACE, DELETE: INSERT, INSERT: DELETE}
    assert [(opposite[tag], c_start, c_end, b_start, b_end) for tag, b_start, b_end, c_start, c_end in back] == there


@given(TEXT)
@law
def test_a_text_does_not_differ_from_itself(text):
    found = diff_words(text, text)
    assert found.opcodes == ()
    assert (found.similarity_ratio, found.first_difference_char) == (1.0, None)


@given(TEXT, TEXT)
@law
def test_similarity_is_symmetric_and_one_for_equal_texts_alone(left, right):
    ratio = diff_words(left, right).similarity_ratio
    assert ratio == diff_words(right, left).similarity_ratio
    assert 0 <= ratio <= 1
    assert (ratio == 1) == (left == right)


@given(PROSE, PROSE)
@law
def test_no_shorter_diff_exists(baseline, candidate):
    words = split_words(baseline), split_words(candidate)
    found = diff_words(baseline, candidate)
    kept = longest_common_subsequence(*words)
    assert found.deleted_word_count == len(words[0]) - kept
    assert found.inserted_word_count == len(words[1]) - kept


@given(TEXT, TEXT)
@law
def test_opcodes_are_canonical(baseline, candidate):
    """Ascending, never touching, tagged by what they do, and counting what the numbers beside them count."""
    found = diff_words(baseline, candidate)
    done = (-1, -1)
    deleted = inserted = 0
    for tag, b_start, b_end, c_start, c_end in groups(found.opcodes):
        assert b_start > done[0]
        assert c_start > done[1]
        assert b_start - max(done[0], 0) == c_start - max(done[1], 0)
        assert (
            tag
            == {(True, True): REPLACE, (True, False): DELETE, (False, True): INSERT}[b_end > b_start, c_end > c_start]
        )
        done = (b_end, c_end)
        deleted += b_end - b_start
        inserted += c_end - c_start
    assert (found.deleted_word_count, found.inserted_word_count) == (deleted, inserted)


@given(TEXT, TEXT)
@law
def test_first_difference_is_where_the_common_beginning_ends(baseline, candidate):
    place = diff_words(baseline, candidate).first_difference_char
    if place is not None:
        assert baseline[:place] == candidate[:place]
        assert baseline[place : place + 1] != candidate[place : place + 1]


def test_the_stored_form_by_hand():
    # words   0:the 1:_ 2:cat 3:_ 4:sat            0:the 1:_ 2:dog 3:_ 4:sat 5:_ 6:down
    # replace word 2 by word 2, insert words 5 to 7 at the end; 4 words of 5 + 7 are kept on both sides
    found = diff_words("the cat sat", "the dog sat down")
    assert found.opcodes == (REPLACE, 2, 3, 2, 3, INSERT, 5, 5, 5, 7)
    assert found.similarity_ratio == pytest.approx(2 * 4 / (5 + 7))
    assert found.first_difference_char == 4
    assert (found.deleted_word_count, found.inserted_word_count) == (1, 3)


def test_many_pairs_at_once_are_the_same_as_one_by_one():
    pairs = [("a b", "a c"), ("", ""), ("x", ""), ("", "y z"), ("same", "same"), ("p q r", "q r s")]
    arrays = diff_word_lists([(split_words(left), split_words(right)) for left, right in pairs])
    bounds = arrays.offsets.tolist()
    split = [tuple(arrays.opcodes[start:end].tolist()) for start, end in pairwise(bounds)]
    assert split == [diff_words(left, right).opcodes for left, right in pairs]


def test_no_pairs_give_no_opcodes():
    arrays = diff_word_lists([])
    assert arrays.offsets.tolist() == [0]
    assert len(arrays.opcodes) == len(arrays.kept_word_counts) == 0


@given(TEXT, TEXT, st.integers(0, 60))
@law
def test_very_long_texts_still_give_a_true_diff(baseline, candidate, limit):
    """Above the limit lines are matched first; a small limit takes short texts down that path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diff, "MAX_CELLS", limit)
        found = diff_words(baseline, candidate)
    assert apply_opcodes(found.opcodes, baseline, candidate) == candidate
    assert (found.opcodes == ()) == (baseline == candidate)


def test_lines_that_stay_are_kept_above_the_limit(monkeypatch):
    monkeypatch.setattr(diff, "MAX_CELLS", 30)
    baseline = "one two\nthree four\nfive six\n"
    candidate = "one two\nthree 4\nfive six\n"
    # words: one _ two \n three _ four \n five _ six \n; only word 6 differs
    assert diff_words(baseline, candidate).opcodes == (REPLACE, 6, 7, 6, 7)


def test_a_megabyte_on_each_side_takes_neither_the_memory_nor_the_day():
    # Two million words in one line: all pairs of words would be 500 GB of marks.
    baseline = "lorem " * 1_000_000 + "end"
    candidate = "start " + "lorem " * 1_000_000
    found = diff_words(baseline, candidate)
    assert apply_opcodes(found.opcodes, baseline, candidate) == candidate
