"""Token lists side by side, against loops over one pair and by hand."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evidence.token_alignment import Alignment, align_by_bytes, align_by_ids
from pipelines.evidence.token_arrays import flatten_tokens
from tests.evidence.tokens import token_row, token_rows
from tests.oracles.tokens import shared_ids, shared_positions

# Few letters and silent tokens in between, so that lists often share a beginning and cut it unlike.
PIECES = st.sampled_from(["", "a", "b", "ab", "ba", "aab", "\u00e9"])
LISTS = st.lists(st.tuples(st.lists(PIECES, max_size=7), st.lists(PIECES, max_size=7)), min_size=1, max_size=5)


def align(pairs: list[tuple[list[str], list[str]]], *, by_ids: bool) -> Alignment:
    """Alignment of (baseline, candidate) texts; a silent token has no bytes."""
    rows = [
        token_row(run_id, texts, sample_id=str(place))
        for place, pair in enumerate(pairs)
        for run_id, texts in zip("ba", pair, strict=True)
    ]
    places = np.arange(len(pairs)) * 2
    method = align_by_ids if by_ids else align_by_bytes
    return method(flatten_tokens(token_rows(*rows)), {"baseline": places, "candidate": places + 1})


def positions_of(found: Alignment, pairs: list[tuple[list[str], list[str]]]) -> list[list[tuple[int, int, int, int]]]:
    """The shared positions of each pair in tokens of its own lists."""
    firsts = np.concatenate([[0], np.cumsum([len(texts) for pair in pairs for texts in pair])])
    positions = []
    for place in range(len(pairs)):
        own = slice(found.starts[place], found.starts[place] + found.shared_counts[place])
        columns = []
        for side, first in (("baseline", firsts[2 * place]), ("candidate", firsts[2 * place + 1])):
            starts = found.tokens[side][own] - first
            columns += [starts, starts + found.token_counts[side][own]]
        positions.append([tuple(map(int, position)) for position in zip(*columns, strict=True)])
    return positions


@settings(deadline=None, max_examples=40)
@given(pairs=LISTS)
def test_ids_part_where_a_loop_over_them_says(pairs) -> None:
    found = align(pairs, by_ids=True)
    shared = [shared_ids(*pair) for pair in pairs]
    assert found.shared_counts.tolist() == shared
    assert found.is_parted.tolist() == [count < min(map(len, pair)) for count, pair in zip(shared, pairs, strict=True)]
    for side, other, place in (("baseline", "candidate", 0), ("candidate", "baseline", 1)):
        ran_out = [count == len(pair[place]) < len(pair[1 - place]) for count, pair in zip(shared, pairs, strict=True)]
        assert found.has_run_out[side].tolist() == ran_out, other


@settings(deadline=None, max_examples=80)
@given(pairs=LISTS)
def test_bytes_share_the_positions_that_loops_find(pairs) -> None:
    found = align(pairs, by_ids=False)
    expected = [shared_positions(*([text.encode() for text in texts] for texts in pair)) for pair in pairs]
    assert positions_of(found, pairs) == [positions for positions, _ in expected]
    assert found.is_parted.tolist() == [differs for _, differs in expected]


@settings(deadline=None, max_examples=40)
@given(texts=st.lists(PIECES, max_size=8), cuts=st.data())
def test_the_same_text_cut_elsewhere_is_shared_to_the_end(texts, cuts) -> None:
    whole = "".join(texts)
    places = sorted(cuts.draw(st.sets(st.integers(1, max(len(whole) - 1, 1)), max_size=4)))
    other = [whole[start:stop] for start, stop in zip([0, *places], [*places, None], strict=True)] if whole else []
    mine = [text for text in texts if text]
    found = align([(mine, [text for text in other if text])], by_ids=False)
    assert not found.is_parted[0]
    assert not found.has_run_out["baseline"][0]
    assert not found.has_run_out["candidate"][0]
    assert found.shared_bytes[0] == len(whole.encode())


def test_positions_end_where_a_token_ends_on_both_sides() -> None:
    # The| cap|it|al| of| Spain
    # The| capital| o|f| France      " of" ends for both, the S and the F follow it
    found = align([(["The", " cap", "it", "al", " of", " S"], ["The", " capital", " o", "f", " F"])], by_ids=False)
    assert positions_of(found, [(["The", " cap", "it", "al", " of", " S"], ["The", " capital", " o", "f", " F"])]) == [
        [(0, 1, 0, 1), (1, 4, 1, 2), (4, 5, 2, 4)]
    ]
    assert found.is_parted[0]
    assert found.is_comparable[0]
    assert found.shared_bytes[0] == len("The capital of")


def test_tokens_that_begin_apart_are_not_comparable() -> None:
    # AB|C and A|BD differ at the third byte, in tokens of which one began at the second and one at the third.
    found = align([(["AB", "C"], ["A", "BD"])], by_ids=False)
    assert (found.is_parted[0], found.is_comparable[0], found.shared_bytes[0]) == (True, False, 0)
    # By id the first tokens differ, and both begin where the output does.
    assert align([(["AB", "C"], ["A", "BD"])], by_ids=True).is_comparable[0]


def test_an_end_mark_is_a_decision_but_no_byte() -> None:
    for by_ids in (True, False):
        ended = align([(["a", ""], ["a", "b"])], by_ids=by_ids)
        assert ended.is_parted[0], by_ids
        assert ended.is_comparable[0], by_ids
        unlisted = align([(["a", "b", ""], ["a", "b"])], by_ids=by_ids)
        assert unlisted.has_run_out["candidate"][0], by_ids
        assert unlisted.is_end_next[0], by_ids
        longer = align([(["a", "b", "a"], ["a", "b"])], by_ids=by_ids)
        assert longer.has_run_out["candidate"][0], by_ids
        assert not longer.is_end_next[0], by_ids
        assert longer.shared_bytes[0] == 2, by_ids


def test_a_character_in_two_tokens_is_aligned_by_its_bytes() -> None:
    whole = token_row("b", ["\u00e9t\u00e9"])
    parts = token_row("a", ["\ufffd", "\ufffd", "t", "\u00e9"], token_bytes=[b"\xc3", b"\xa9", b"t", "\u00e9".encode()])
    rows = {"baseline": np.array([0]), "candidate": np.array([1])}
    found = align_by_bytes(flatten_tokens(token_rows(whole, parts)), rows)
    assert (found.token_counts["baseline"].tolist(), found.token_counts["candidate"].tolist()) == ([1], [4])
    assert found.shared_bytes.tolist() == [5]
