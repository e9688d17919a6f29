"""The rule on both classes, every reason, and the real log-probabilities of three settings of one engine."""

import gzip
import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lake.tables import contract_of
from lake.tables.tokens import DIVERGENCE_KINDS, DIVERGENCE_REASONS
from lake.validation import validate
from pipelines.evidence import token_positions
from pipelines.evidence.token_divergence import (
    DIVERGENCES,
    NEAR_TIE_NATS,
    PREFIX_POSITIONS,
    PREFIX_SHIFT_NATS,
    Measurement,
    measure_pairs,
)
from pipelines.evidence.token_positions import POSITIONS
from tests.evidence.tokens import DAY, END, Token, pair_rows, token_row, token_rows
from tests.runs.formats import shared

SIDED = ("shared_token_count", "token", "logprob", "token_rank", "runner_up_gap", "covered_ratio", "perplexity")


def measure(candidate: list[Token] | dict | None, baseline: list[Token] | dict | None, **facts) -> dict:
    """The row of one pair; `facts` are columns of the pair."""
    rows = [
        tokens if isinstance(tokens, dict) else token_row(run_id, tokens)
        for run_id, tokens in (("a", candidate), ("b", baseline))
        if tokens is not None
    ]
    found = kept(measure_pairs(pair_rows("s1", **facts), token_rows(*rows)))
    return found.divergences.row(0, named=True)


def kept(found: Measurement) -> Measurement:
    """The same, if all of it keeps its contracts."""
    for table, rows in ((DIVERGENCES, found.divergences), (POSITIONS, found.positions)):
        parted = validate(contract_of(table), rows)
        assert parted.rejects.is_empty(), parted.rejects
    return found


def verdict(*sides, **facts) -> tuple[str, str | None]:
    row = measure(*sides, **facts)
    return row["divergence_kind"], row["reason"]


def flip(own: str, other: str, gap: float) -> Token:
    """A token that a side chose, `gap` nats before the other side's."""
    return (own, {own: -0.8, other: -0.8 - gap})


def test_a_near_tie_by_hand() -> None:
    prefix = [("The", {"The": -0.1, "A": -2.5}), (" end", {" end": -0.3, " rest": -1.6})]
    other = [("The", {"The": -0.2, "A": -2.0}), (" end", {" end": -0.25, " rest": -1.7})]
    row = measure(
        [*other, (" is", {" is": -0.7, " was": -0.8}), " near"],
        [*prefix, (" was", {" was": -0.7, " is": -0.9}), " over"],
    )
    assert (row["divergence_kind"], row["reason"], row["alignment"]) == ("near_tie_flip", None, "token_ids")
    assert (
        row["first_divergence_index"] == row["candidate_shared_token_count"] == row["baseline_shared_token_count"] == 2
    )
    assert row["shared_byte_count"] == len("The end")
    assert (row["candidate_token"], row["baseline_token"]) == (" is", " was")
    assert (row["candidate_logprob"], row["baseline_logprob"]) == (-0.7, -0.7)
    assert (row["candidate_token_rank"], row["baseline_token_rank"]) == (2, 2)
    assert row["candidate_runner_up_gap"] == pytest.approx(0.1)
    assert row["baseline_runner_up_gap"] == pytest.approx(0.2)
    assert row["log_odds_shift"] == row["log_odds_shift_lower"] == pytest.approx(0.3)
    # |-.2 + .1| and |-.25 + .3|
    assert row["compared_position_count"] == 2
    assert row["mean_abs_logprob_difference"] == pytest.approx(0.075)
    assert row["max_abs_logprob_difference"] == pytest.approx(0.1)
    # The likeliest token is the same at the two shared positions, not at the third.
    assert row["distribution_count"] == 3
    assert row["same_top_ratio"] == pytest.approx(2 / 3)
    assert row["top_k_count"] == 2
    assert row["candidate_perplexity"] == pytest.approx(math.exp((0.2 + 0.25) / 2))
    assert row["baseline_perplexity"] == pytest.approx(math.exp((0.1 + 0.3) / 2))
    assert row["candidate_bits_per_byte"] == pytest.approx(0.45 / math.log(2) / 7)
    assert 0 < row["mean_kl_lower"] < row["mean_kl_upper"]
    assert row["max_kl_lower"] >= row["mean_kl_lower"]


def test_the_rule_on_both_sides_of_its_constants() -> None:
    def odds(shift: float) -> tuple[str, str | None]:
        return verdict(["x", flip("A", "B", shift / 2)], ["x", flip("B", "A", shift / 2)])

    assert odds(NEAR_TIE_NATS - 1e-6) == ("near_tie_flip", None)
    assert odds(NEAR_TIE_NATS + 1e-6) == ("distribution_shift", None)

    def before(difference: float, positions: int) -> tuple[str, str | None]:
        moved = [("x", {"x": -0.1 - difference, "y": -3.0})] * positions
        stood = [("x", {"x": -0.1, "y": -3.0})] * positions
        return verdict([*moved, flip("A", "B", 0.01)], [*stood, flip("B", "A", 0.01)])

    assert before(PREFIX_SHIFT_NATS - 1e-6, PREFIX_POSITIONS) == ("near_tie_flip", None)
    assert before(PREFIX_SHIFT_NATS + 1e-6, PREFIX_POSITIONS) == ("distribution_shift", None)
    assert before(3.0, PREFIX_POSITIONS - 1) == ("near_tie_flip", None)


def test_a_large_gap_on_one_side_alone_is_a_shift() -> None:
    # The baseline was torn, the candidate is sure: no noise does that.
    assert verdict([flip("A", "B", 2.0)], [flip("B", "A", 0.01)]) == ("distribution_shift", None)


def test_a_token_outside_a_long_list_is_a_shift_and_outside_a_short_one_is_open() -> None:
    listed = {"A": -0.2, "C": -3.0, "D": -3.5}
    row = measure([("A", listed)], [("B", {"B": -0.3, "A": -1.5})])
    assert (row["divergence_kind"], row["log_odds_shift"]) == ("distribution_shift", None)
    # B is at most at -3.5 there: a gap of at least 3.3, and 1.2 on the other side
    assert row["log_odds_shift_lower"] == pytest.approx(4.5)
    assert row["baseline_token_rank"] is None
    assert row["candidate_token_rank"] == 2
    assert verdict([("A", {"A": -0.7})], [("B", {"B": -0.7})]) == ("inconclusive", "short_top_k")


def test_a_token_that_was_drawn_is_no_tie() -> None:
    same = {"A": -0.4, "B": -1.4}
    assert verdict([("B", same)], [("A", same)]) == ("inconclusive", "sampled")
    # Far down and in no list: still drawn, whatever the length of the list.
    far = token_row("a", [("far", same)], logprobs=[-8.0])
    assert verdict(far, [("A", same)]) == ("inconclusive", "sampled")
    # Drawn or not, when the odds have moved the distributions have.
    assert verdict([("B", {"A": -0.4, "B": -1.4})], [("A", {"A": -0.1, "B": -4.0})]) == ("distribution_shift", None)


def test_identical_is_identical_whatever_the_numbers() -> None:
    for facts in ({}, {"candidate_logprobs_mode": "processed"}, {"candidate_tokenizer": None}):
        row = measure(["a", "b", END], ["a", "b", END], **facts)
        assert (row["divergence_kind"], row["reason"], row["first_divergence_index"]) == ("identical", None, None)
        assert row["candidate_token"] is None
    assert verdict([], []) == ("identical", None)
    none = token_row("a", ["a"], logprobs=[None], top_k=[None])
    assert verdict(none, none | {"run_id": "b"}) == ("identical", None)


def test_an_end_mark_that_one_side_does_not_list_is_no_difference() -> None:
    assert verdict(["a", "b"], ["a", "b", END]) == ("identical", None)
    assert verdict(["a", "b"], ["a", "b", END], candidate_finish_reason=None) == ("identical", None)
    cut = verdict(["a", "b"], ["a", "b", END], candidate_finish_reason="length")
    assert cut == ("inconclusive", "cut_short")


def test_one_side_stops_where_the_other_goes_on() -> None:
    row = measure(["a"], ["a", "b", "c"])
    assert (row["divergence_kind"], row["reason"]) == ("inconclusive", "unlisted_end")
    assert (row["first_divergence_index"], row["candidate_token"], row["baseline_token"]) == (1, None, "b")
    listed = measure(["a", (END, {END: -0.6, "b": -0.7})], ["a", ("b", {"b": -0.6, END: -0.8}), "c"])
    assert (listed["divergence_kind"], listed["candidate_token"]) == ("near_tie_flip", END)
    for reason in ("length", "max_tokens", None):
        row = measure(["a"], ["a", "b"], candidate_finish_reason=reason)
        assert (row["reason"], row["first_divergence_index"], row["baseline_token"]) == ("cut_short", None, None)
    assert verdict(["a"], ["a", "b"], candidate_status="timeout") == ("inconclusive", "cut_short")
    # How the longer side ended says nothing about the shorter one.
    assert verdict(["a"], ["a", "b"], baseline_finish_reason="length") == ("inconclusive", "unlisted_end")


def test_log_probabilities_of_two_modes_are_not_compared() -> None:
    sides = [["x", flip("A", "B", 0.1)], ["x", flip("B", "A", 0.1)]]
    row = measure(*sides, candidate_logprobs_mode="processed")
    assert (row["divergence_kind"], row["reason"]) == ("incomparable", "logprobs_modes")
    assert row["first_divergence_index"] == 1
    between = (
        "log_odds_shift",
        "log_odds_shift_lower",
        "mean_abs_logprob_difference",
        "mean_kl_lower",
        "same_top_ratio",
    )
    assert [row[name] for name in between] == [None] * len(between)
    # What nobody recorded is a warning of the whole comparison, not a refusal of every pair.
    assert verdict(*sides, candidate_logprobs_mode=None) == ("near_tie_flip", None)


def test_tokens_of_two_tokenizers_are_aligned_by_bytes() -> None:
    # " Paris" is one token here and two there; then the outputs part after the same 12 bytes.
    candidate = ["It is", (" Paris", {" Paris": -0.5}), (" now", {" now": -0.7, ".": -0.8})]
    baseline = ["It", " is", (" Pa", {" Pa": -0.2}), ("ris", {"ris": -0.1}), (".", {".": -0.7, " now": -0.85})]
    row = measure(candidate, baseline, candidate_tokenizer="other")
    assert (row["divergence_kind"], row["alignment"]) == ("near_tie_flip", "token_bytes")
    assert (row["first_divergence_index"], row["shared_byte_count"]) == (2, len("It is Paris"))
    assert (row["candidate_shared_token_count"], row["baseline_shared_token_count"]) == (2, 4)
    assert row["log_odds_shift"] == pytest.approx(0.25)
    # positions: -.1 against -.2, -.5 against -.3
    assert row["mean_abs_logprob_difference"] == pytest.approx(0.15)
    assert row["distribution_count"] == 1  # only the last position is one token against one
    assert (row["candidate_perplexity"], row["baseline_perplexity"]) == (None, None)
    assert row["candidate_bits_per_byte"] == pytest.approx(0.6 / math.log(2) / 11)
    assert row["baseline_bits_per_byte"] == pytest.approx(0.5 / math.log(2) / 11)


def test_ids_are_compared_within_one_known_tokenizer_only() -> None:
    # One text, cut unlike: under one tokenizer these are two outputs, under two it is one.
    sides = [["ab", END], ["a", "b", END]]
    assert measure(*sides)["first_divergence_index"] == 0
    for facts in ({"candidate_tokenizer": "other"}, {"candidate_tokenizer": None}):
        assert verdict(*sides, **facts) == ("identical", None)
    without = [token_row(run_id, tokens, ids=False) for run_id, tokens in zip("ab", sides, strict=True)]
    assert verdict(*without) == ("identical", None)


def test_tokens_that_begin_apart_are_open() -> None:
    row = measure(["A", "BD"], ["AB", "C"], candidate_tokenizer="other")
    assert (row["divergence_kind"], row["reason"]) == ("inconclusive", "tokens_apart")
    assert (row["log_odds_shift"], row["candidate_token_rank"]) == (None, None)


def test_text_stands_in_for_bytes_unless_it_is_part_of_a_character() -> None:
    texts = [token_row(run_id, ["a", "b"], token_bytes=[None, None], ids=False) for run_id in "ab"]
    assert verdict(*texts) == ("identical", None)
    broken = token_row("a", ["a", "\ufffd"], token_bytes=[None, None], ids=False)
    assert verdict(broken, texts[1]) == ("incomparable", "bytes_unknown")
    # With ids nobody has to look at bytes.
    known = [token_row(run_id, ["a", "\ufffd"], token_bytes=[None, None]) for run_id in "ab"]
    assert verdict(*known) == ("identical", None)


def test_without_numbers_the_place_is_still_known() -> None:
    sides = [
        token_row(run_id, ["x", own], logprobs=[None, None], top_k=[None, None])
        for run_id, own in (("a", "A"), ("b", "B"))
    ]
    row = measure(*sides)
    assert (row["divergence_kind"], row["reason"], row["first_divergence_index"]) == ("inconclusive", "no_logprobs", 1)
    assert (row["compared_position_count"], row["distribution_count"]) == (0, 0)
    assert measure_pairs(pair_rows("s1"), token_rows(*sides)).positions.is_empty()


def test_a_pair_without_tokens_on_one_side_is_a_row_and_on_both_is_none() -> None:
    assert verdict(["a"], None) == ("inconclusive", "no_tokens")
    assert verdict(None, ["a"]) == ("inconclusive", "no_tokens")
    assert kept(measure_pairs(pair_rows("s1"), token_rows())).divergences.is_empty()
    assert kept(measure_pairs(pair_rows(), token_rows())).divergences.is_empty()


def test_what_an_engine_writes_for_impossible_overflows_nothing() -> None:
    row = measure([("a", {"a": -9999.0, "b": 0.0}), "c"], [("a", {"a": -9999.0, "b": 0.0}), "d"])
    assert row["baseline_perplexity"] is None
    # Each side gives its own last token nine tenths, so the other's has a tenth at most.
    assert row["divergence_kind"] == "distribution_shift"


def test_positions_end_where_the_pair_parts(monkeypatch) -> None:
    texts = [f"t{place}" for place in range(5)]
    sides = [
        token_row(
            run_id, [*((text, {text: -0.1 * place, "z": -3.0}) for place, text in enumerate(texts, start=1)), last]
        )
        for run_id, last in (("a", flip("A", "B", 0.1)), ("b", flip("B", "A", 0.2)))
    ]
    row = kept(measure_pairs(pair_rows("s1"), token_rows(*sides))).positions.row(0, named=True)
    assert row["first_position_index"] == 0
    assert row["candidate_token_indexes"] == row["baseline_token_indexes"] == list(range(6))
    assert row["baseline_logprobs"] == pytest.approx([-0.1, -0.2, -0.3, -0.4, -0.5, -0.8])
    assert row["has_same_top"] == [True] * 5 + [False]
    assert row["kl_lower"][:5] == [0.0] * 5
    assert row["kl_lower"][5] > 0
    monkeypatch.setattr(token_positions, "KEPT_POSITIONS", 2)
    last = measure_pairs(pair_rows("s1"), token_rows(*sides)).positions.row(0, named=True)
    assert (last["first_position_index"], last["candidate_token_indexes"]) == (4, [4, 5])
    assert last["kl_lower"] == row["kl_lower"][4:]


# Whole batches

TEXTS = ["a", "b", "ab", "\u00e9", END]


@st.composite
def sides(draw: st.DrawFn) -> list[Token]:
    tokens: list[Token] = []
    for _ in range(draw(st.integers(0, 5))):
        logits = draw(st.lists(st.floats(-6, 0), min_size=len(TEXTS), max_size=len(TEXTS)))
        total = math.log(sum(map(math.exp, logits)))
        ranked = sorted(zip(TEXTS, (value - total for value in logits), strict=True), key=lambda entry: -entry[1])
        likely = dict(ranked[: draw(st.integers(1, len(TEXTS)))])
        tokens.append((draw(st.sampled_from(sorted(likely))), likely))
    return tokens


PAIRS = st.lists(st.tuples(sides(), sides()), min_size=1, max_size=5)
TOKENIZERS = st.sampled_from(["t", "other"])


def batch(pairs: list[tuple[list[Token], list[Token]]], tokenizer: str, *, swap: bool = False) -> Measurement:
    rows = [
        token_row(run_id, tokens, sample_id=f"s{place}")
        for place, pair in enumerate(pairs)
        for run_id, tokens in zip("ba" if swap else "ab", pair, strict=True)
    ]
    ids = [f"s{place}" for place in range(len(pairs))]
    return kept(measure_pairs(pair_rows(*ids, candidate_tokenizer=tokenizer), token_rows(*rows)))


@settings(deadline=None, max_examples=25)
@given(tokens=st.lists(sides(), min_size=1, max_size=4), tokenizer=TOKENIZERS)
def test_nothing_diverges_from_itself(tokens, tokenizer) -> None:
    found = batch([(own, own) for own in tokens], tokenizer)
    assert set(found.divergences["divergence_kind"]) == {"identical"}
    assert found.divergences["mean_abs_logprob_difference"].fill_null(0).eq(0).all()
    assert found.divergences["mean_kl_lower"].fill_null(0).eq(0).all()


@settings(deadline=None, max_examples=30)
@given(pairs=PAIRS, tokenizer=TOKENIZERS)
def test_what_belongs_to_a_side_swaps_with_it_and_the_rest_stays(pairs, tokenizer) -> None:
    found, swapped = (batch(pairs, tokenizer, swap=swap).divergences for swap in (False, True))
    back = swapped.rename(
        {
            f"{side}_{name}": f"{other}_{name}"
            for name in (*SIDED, "bits_per_byte")
            for side, other in (("candidate", "baseline"), ("baseline", "candidate"))
        }
    )
    # A divergence of distributions has a direction: it is not the same the other way round.
    directed = ["mean_kl_lower", "mean_kl_upper", "max_kl_lower"]
    assert_frame_equal(found.drop(directed), back.drop(directed), check_column_order=False, rel_tol=1e-9)


@settings(deadline=None, max_examples=25)
@given(pairs=PAIRS, tokenizer=TOKENIZERS, data=st.data())
def test_a_pair_is_measured_alike_in_any_company(pairs, tokenizer, data) -> None:
    whole = batch(pairs, tokenizer)
    order = data.draw(st.permutations(range(len(pairs))))
    rows = token_rows(
        *(
            token_row(run_id, pairs[place][side], sample_id=f"s{place}")
            for place in order
            for side, run_id in ((1, "b"), (0, "a"))
        )
    )
    shuffled = measure_pairs(pair_rows(*(f"s{place}" for place in order), candidate_tokenizer=tokenizer), rows)
    assert shuffled.divergences.equals(whole.divergences)
    assert shuffled.positions.equals(whole.positions)
    alone = [
        batch([pair], tokenizer).divergences.with_columns(sample_id=pl.lit(f"s{place}"))
        for place, pair in enumerate(pairs)
    ]
    assert_frame_equal(pl.concat(alone), whole.divergences, rel_tol=1e-12)


def test_slices_and_pieces_of_frames_are_read_from_where_they_begin() -> None:
    # As they come from files: in several pieces, of which some begin in the middle of what lies in memory.
    rows = [
        token_row(run_id, ["x"] * place + [flip(*own, 0.1), END], sample_id=f"s{place}")
        | ({"top_k": [None] * 4} if place == 2 else {})
        for place in range(5)
        for run_id, own in (("a", "AB"), ("b", "BA"))
    ]
    whole = token_rows(*rows)
    pieces = pl.concat([whole[start : start + 3] for start in range(0, len(rows), 3)], rechunk=False)
    assert pieces.n_chunks() > 1
    pairs = pair_rows(*(f"s{place}" for place in range(5)))
    assert measure_pairs(pairs, pieces).divergences.equals(measure_pairs(pairs, whole).divergences)
    tail = measure_pairs(pairs.filter(pl.col("sample_id") > "s0"), whole[2:])
    assert tail.divergences.equals(measure_pairs(pairs, whole).divergences[1:])


def test_the_vocabularies_are_those_of_the_rule() -> None:
    reached = {
        verdict(["a"], ["a"]), verdict([flip("A", "B", 0.1)], [flip("B", "A", 0.1)]),
        verdict([flip("A", "B", 2)], [flip("B", "A", 2)]), verdict(["a"], None),
        verdict([flip("A", "B", 2)], [flip("B", "A", 2)], candidate_logprobs_mode="processed"),
    }  # fmt: skip
    assert {kind for kind, _ in reached} == set(DIVERGENCE_KINDS)
    assert {reason for _, reason in reached if reason} < set(DIVERGENCE_REASONS)


# Real log-probabilities: a 135 M model under llama.cpp, 48 greedy tokens with ten alternatives to each of 12 prompts


def real_rows(setting: str, run_id: str) -> pl.DataFrame:
    path = shared("logprobs") / f"{setting}.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        prompts = [json.loads(line) for line in lines]
    return token_rows(
        *(
            {
                "run_id": run_id,
                "sample_id": f"p{prompt['prompt_id']:02}",
                "repeat_index": 0,
                "run_date": DAY,
                "tokens": [token["text"] for token in prompt["generated"]],
                "token_ids": [token["id"] for token in prompt["generated"]],
                "token_bytes": [None] * len(prompt["generated"]),
                "logprobs": [token["logprob"] for token in prompt["generated"]],
                "top_k": [
                    [{"token_id": number, "token": "", "logprob": value} for number, value in token["top"]]
                    for token in prompt["generated"]
                ],
            }
            for prompt in prompts
        )
    )


def real_divergences(setting: str) -> pl.DataFrame:
    baseline, candidate = real_rows("base_f16kv", "b"), real_rows(setting, "a")
    pairs = pair_rows(*baseline["sample_id"], candidate_finish_reason="length", baseline_finish_reason="length")
    return kept(measure_pairs(pairs, pl.concat([baseline, candidate]))).divergences


def test_an_eight_bit_cache_flips_near_ties() -> None:
    found = real_divergences("kv_q8_0")
    parted = found.filter(pl.col("divergence_kind") != "identical")
    # The first differences of the nine prompts that differ, as read off the files by hand.
    assert dict(parted.select("sample_id", "first_divergence_index").iter_rows()) == {
        "p00": 21, "p03": 24, "p04": 12, "p05": 18, "p06": 5, "p08": 29, "p10": 42, "p11": 0, "p13": 5,
    }  # fmt: skip
    # Prompt 4 alone moved the odds by more than half a nat: " wrapping" led by .354, " a" by .280.
    kinds = dict(parted.select("sample_id", "divergence_kind").iter_rows())
    assert {sample: kind for sample, kind in kinds.items() if kind != "near_tie_flip"} == {"p04": "distribution_shift"}
    prompt4 = parted.row(by_predicate=pl.col("sample_id") == "p04", named=True)
    assert prompt4["log_odds_shift"] == pytest.approx(0.354131 + 0.279543, abs=1e-6)
    # vLLM's rule passes all nine: each token is among the other side's ten likeliest.
    assert parted["candidate_token_rank"].null_count() == 0
    # Teacher-forced over the whole vocabulary the mean divergence is 0.0038; the lists see less of it.
    mean = (found["mean_kl_lower"] * found["distribution_count"]).sum() / found["distribution_count"].sum()
    assert 0.001 < mean < 0.0038
    assert found["mean_abs_logprob_difference"].max() < PREFIX_SHIFT_NATS


def test_another_prefill_batch_changes_one_answer_of_twelve() -> None:
    found = real_divergences("batch_8")
    parted = found.filter(pl.col("divergence_kind") != "identical")
    assert parted.select("sample_id", "divergence_kind", "first_divergence_index").rows() == [
        ("p05", "near_tie_flip", 35)
    ]
    assert parted["baseline_runner_up_gap"][0] == pytest.approx(0.0439, abs=1e-4)
    others = found.filter(divergence_kind="identical")
    assert others["max_abs_logprob_difference"].max() < 1e-6


def test_real_tokens_align_by_text_as_they_do_by_id() -> None:
    baseline, candidate = real_rows("base_f16kv", "b"), real_rows("kv_q8_0", "a")
    rows = pl.concat([baseline, candidate])
    known = measure_pairs(pair_rows(*baseline["sample_id"]), rows).divergences
    guessed = measure_pairs(pair_rows(*baseline["sample_id"], candidate_tokenizer=None), rows).divergences
    assert set(guessed["alignment"]) == {"token_bytes"}
    for name in ("first_divergence_index", "shared_byte_count", "max_abs_logprob_difference", "candidate_token"):
        assert guessed[name].equals(known[name]), name
    assert np.allclose(
        guessed["candidate_perplexity"].to_numpy(), known["candidate_perplexity"].to_numpy(), equal_nan=True
    )
