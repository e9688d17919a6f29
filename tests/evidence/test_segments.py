from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evidence.segments import Segment, around_edits, cut, readable_segments

BOIL, SALT = "First we boil the water in a pot.", "Then we add the salt and pasta."
PIECES = st.sampled_from([BOIL, SALT, "colour", "color", "a", "b", " ", "\n", "e\u0301", "1. "])
TEXT = st.lists(PIECES, max_size=9).map("".join)


@given(TEXT, TEXT, st.sampled_from(["readable", "word", "line", "character"]))
@settings(deadline=None, max_examples=300)
def test_segments_joined_are_both_texts(baseline, candidate, how):
    segments = readable_segments(baseline, candidate) if how == "readable" else cut(baseline, candidate, how)
    assert "".join(segment.baseline for segment in segments) == baseline
    assert "".join(segment.candidate for segment in segments) == candidate
    assert all(segment.baseline == segment.candidate for segment in segments if not segment.is_edit)
    assert all(not (segment.baseline and segment.candidate) for segment in segments if segment.kind == "moved")
    assert all(segment.baseline or segment.candidate for segment in segments)


def test_inside_a_changed_word_the_letters_are_marked():
    assert readable_segments("the colour red", "the color red") == [
        Segment("the ", "the ", "kept"),
        Segment("colo", "colo", "kept"),
        Segment("u", "", "edited"),
        Segment("r", "r", "kept"),
        Segment(" red", " red", "kept"),
    ]


def test_another_word_and_another_number_are_marked_whole():
    assert Segment("Lyon", "Paris", "edited") in readable_segments("in Lyon today", "in Paris today")
    assert Segment("1234", "1334", "edited") in readable_segments("it is 1234 now", "it is 1334 now")


def test_a_passage_that_moved_is_marked_in_both_places_and_nothing_else_is():
    segments = readable_segments(f"{BOIL} {SALT} Serve.", f"{SALT} {BOIL} Serve.")
    kinds = [segment.kind for segment in segments if segment.is_edit]
    assert kinds == ["moved", "moved"]
    left, right = (segment for segment in segments if segment.kind == "moved")
    assert left.baseline + left.candidate == right.baseline + right.candidate


def test_lines_are_kept_whole():
    assert cut("one\ntwo\nthree\n", "one\n2\nthree\n", "line") == [
        Segment("one\n", "one\n", "kept"),
        Segment("two\n", "2\n", "edited"),
        Segment("three\n", "three\n", "kept"),
    ]


def test_a_long_kept_stretch_keeps_its_ends():
    text = " ".join(f"w{number}" for number in range(50))
    assert around_edits(text, is_first=True, is_last=False) == " \u2026 " + " ".join(["", *text.split()[-6:]])
    assert around_edits("short", is_first=False, is_last=False) == "short"
