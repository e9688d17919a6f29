from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evidence.moves import find_moves, moved_word_count

BOIL = "First we boil the water in a pot."
SALT = "Then we add the salt and pasta."
SERVE = "Finally we drain all of it and serve!"
TEXT = st.lists(st.sampled_from([BOIL, SALT, SERVE, " ", "\n", "\n\n  ", "x. ", "1. ", "short"]), max_size=9).map(
    "".join
)


def moved(baseline: str, candidate: str) -> list[tuple[str, str]]:
    return [(baseline[move[0] : move[1]], candidate[move[2] : move[3]]) for move in find_moves(baseline, candidate)]


@given(TEXT, TEXT)
@settings(deadline=None, max_examples=300)
def test_a_move_is_the_same_text_at_two_places_and_no_character_moves_twice(baseline, candidate):
    moves = find_moves(baseline, candidate)
    assert all(ours == theirs and ours.strip() == ours for ours, theirs in moved(baseline, candidate))
    for start, end in ((0, 1), (2, 3)):
        ranges = sorted((move[start], move[end]) for move in moves)
        assert all(before[1] <= after[0] for before, after in pairwise(ranges))
    assert {move[2:] + move[:2] for move in moves} == set(find_moves(candidate, baseline))
    assert find_moves(baseline, baseline) == ()


def test_of_two_sentences_that_changed_places_one_moved():
    ((ours, theirs),) = moved(f"{BOIL} {SALT} {SERVE}", f"{SALT} {BOIL} {SERVE}")
    assert ours == theirs
    assert ours in (BOIL, SALT)
    # 7 words, 6 spaces and a stop: 14 of either sentence
    assert moved_word_count(f"{BOIL} {SALT}", f"{SALT} {BOIL}") in (14, 16)


def test_a_line_that_moved_to_the_end_is_one_move():
    lines = [f"- step number {word} of it" for word in ("one", "two", "three", "four")]
    assert moved("\n".join(lines), "\n".join([*lines[1:], lines[0]])) == [(lines[0], lines[0])]


def test_numbering_goes_on_without_moving():
    assert moved(f"1. {BOIL}\n2. {SALT}\n3. {SERVE}", f"1. {SALT}\n2. {SERVE}\n3. {BOIL}") == [(BOIL, BOIL)]


def test_what_was_inserted_or_is_short_or_was_changed_did_not_move():
    assert moved(f"{BOIL} {SALT}", f"{SERVE} {BOIL} {SALT}") == []
    assert moved("Yes. No. Yes.", "No. Yes. Yes.") == []
    assert moved(f"{BOIL} {SALT}", f"{SALT} {BOIL.replace('pot', 'pan')}") == []
