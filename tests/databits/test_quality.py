"""Scores by hand-made texts, and scored once."""

import dataclasses

import numpy as np
import pytest

from lake.store import Lake
from pipelines.databits.duplicate_steps import DUPLICATES, find_duplicates
from pipelines.databits.leakage import Question, leakage_scorer
from pipelines.databits.lineage_steps import update_lineage
from pipelines.databits.minhash import bands, jaccard_similarity, normalised, shingles, signature
from pipelines.databits.personal_data import find_personal_data, mask_personal_data
from pipelines.databits.quality_steps import QUALITY, score_units
from pipelines.databits.revising import Changes, fork_databit, retract_databit, revise_databit
from pipelines.databits.scorers import (
    SCORERS,
    Finding,
    Scorer,
    each,
    measure_reading_ease,
    measure_repetition,
    measure_symbols,
    tell_language,
)
from tests.databits.units import hand, make

FOX = "The quick brown fox jumps over the lazy dog, and then it goes home to sleep."


def test_repetition_is_the_share_of_word_runs_seen_before() -> None:
    # 12 words make 10 runs of three, of which "a b c", "b c a" and "c a b" are all there is: 7 of 10 repeat.
    assert measure_repetition("a b c " * 4).value == pytest.approx(0.7)
    assert measure_repetition("a b c d e f g h i j k l") == Finding(0.0, None)
    assert measure_repetition("too short") == Finding(None)


def test_symbols_are_what_is_neither_letter_digit_nor_space() -> None:
    assert measure_symbols("a1 !?").value == pytest.approx(0.4)
    assert measure_symbols("") == Finding(None)


def test_language_is_told_where_there_is_enough_to_tell() -> None:
    assert tell_language(FOX).detail == "en"
    assert tell_language("Der schnelle braune Fuchs springt über den faulen Hund.").detail == "de"
    assert tell_language("Paris") == Finding(None)


def test_reading_ease_is_flesch_and_of_english_alone() -> None:
    # 12 words, 1 sentence, 13 syllables as counted (mor-ning and no other has two): 206.835 - 12.18 - 91.65.
    text = "The cat sat on the mat in the sun for the morning."
    assert measure_reading_ease(text).value == pytest.approx(206.835 - 1.015 * 12 - 84.6 * 13 / 12)
    assert (
        measure_reading_ease(
            "Der schnelle braune Fuchs springt jeden Tag wieder schnell hinter dem faulen Hund her."
        ).value
        is None
    )


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to jo.doe+x@mail.example.org today", ["email"]),
        ("call +49 170 1234567 or (030) 1234567", ["phone", "phone"]),
        ("card 4111 1111 1111 1111 and 4111 1111 1111 1112", ["payment_card"]),
        ("IBAN DE89 3704 0044 0532 0130 00, not DE88 3704 0044 0532 0130 00", ["iban"]),
        ("from 8.8.8.8, not 10.0.0.1, 999.1.1.1 or 1.2.3", ["ip_address"]),
        ("ssn 123-45-6789 but 2026-11-21 is a date", ["us_social_security_number"]),
        ("Authorization: Bearer abcdefghijklmnop1234", ["credential"]),
        ("12345678901234 pieces in 1999, @home, 3.14159", []),
    ],
)
def test_personal_data_is_told_from_what_resembles_it(text: str, kinds: list[str]) -> None:
    assert [passage.kind for passage in find_personal_data(text)] == kinds
    assert find_personal_data(mask_personal_data(text)) == []


def test_masking_leaves_the_rest_as_it_was() -> None:
    assert mask_personal_data("a jo@example.com b 8.8.8.8 c") == "a [email] b [ip_address] c"


def test_leakage_needs_the_question_and_its_answer() -> None:
    scorer = leakage_scorer([Question("s/japan", "What is the capital city of Japan?", "Tokyo")])
    found = scorer.score_all(
        ["Q: what is the capital CITY of Japan - A: Tokyo!", "What is the capital city of Japan?", "Tokyo", ""]
    )
    assert [finding.value for finding in found] == [1.0, 0.0, 0.0, 0.0]
    assert found[0].detail == "s/japan"
    assert scorer.digest != leakage_scorer([Question("s/japan", "What is the capital city of Japan?", "Kyoto")]).digest


# Near-duplicates


def oracle_jaccard(first: str, second: str) -> float:
    sets = [{text[place : place + 5] for place in range(len(text) - 4)} for text in map(normalised, (first, second))]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_similarity_is_that_of_the_sets_and_signatures_estimate_it() -> None:
    words = FOX.split()
    others = [" ".join([*words[:place], "cat", *words[place + 1 :]]) for place in range(len(words))]
    estimates = []
    for other in others:
        exact = oracle_jaccard(FOX, other)
        assert jaccard_similarity(FOX, other) == pytest.approx(exact)
        estimate = float((signature(shingles(normalised(FOX))) == signature(shingles(normalised(other)))).mean())
        estimates.append(estimate - exact)
    # 128 functions: one estimate is off by sqrt(.8 * .2 / 128) = 0.035, the mean of 16 like ones by less.
    assert abs(float(np.mean(estimates))) < 0.03
    assert len(set(bands(FOX))) == 16
    assert set(bands(FOX)) & set(bands(f"{FOX} Now."))
    assert bands("short") == []


def duplicates(lake: Lake) -> dict[str, tuple[str, str]]:
    find_duplicates(lake)
    rows = lake.read(DUPLICATES, columns=["databit_id", "duplicate_kind", "canonical_id"])
    return {unit: (kind, canonical) for unit, kind, canonical in rows.iter_rows()}


def test_the_earliest_of_equal_units_is_canonical_and_changes_are_followed(lake: Lake) -> None:
    make(lake, "a-first", content=FOX)
    make(lake, "b-again", content=f"  {FOX.upper()}")
    make(lake, "c-nearly", content=f"{FOX} Now.")
    make(lake, "d-other", content="Something that nobody has said in any of these places so far.")
    make(lake, "e-short", content="yes")
    make(lake, "f-short", content="yes")
    assert duplicates(lake) == {"b-again": ("exact", "a-first"), "c-nearly": ("near", "a-first")}
    version = lake.version(DUPLICATES)
    assert find_duplicates(lake).unit_count == 0
    assert lake.version(DUPLICATES) == version
    retract_databit(lake, "a-first", expected_version=1, hand=hand())
    assert duplicates(lake) == {"c-nearly": ("near", "b-again")}
    revise_databit(lake, "c-nearly", Changes(content="All new words now, in a row."), expected_version=1, hand=hand())
    assert duplicates(lake) == {}


def test_what_was_made_from_a_unit_is_no_duplicate_of_it(lake: Lake) -> None:
    root = make(lake, "root", content=FOX)
    for name in ("x-fork", "y-fork"):
        fork_databit(lake, root, databit_id=name, changes=Changes(content=f"{FOX} {name}"), hand=hand(hours=1))
    update_lineage(lake)
    assert duplicates(lake) == {}


# Steps


def scores(lake: Lake, unit: str) -> dict[str, float | None]:
    rows = lake.read(QUALITY, where={"databit_id": unit})
    return dict(rows.select("scorer", "value").iter_rows())


def test_every_version_is_scored_once_and_by_a_new_scorer_again(lake: Lake) -> None:
    make(lake, "unit", content=FOX)
    assert score_units(lake, SCORERS).row_count == len(SCORERS)
    assert scores(lake, "unit")["character_count"] == len(FOX)
    assert score_units(lake, SCORERS).row_count == 0
    revise_databit(lake, "unit", Changes(content="short"), expected_version=1, hand=hand())
    retract_databit(lake, "unit", expected_version=2, hand=hand())
    assert score_units(lake, SCORERS).row_count == len(SCORERS)
    asked = []

    def count_and_tell(texts):
        asked.extend(texts)
        return [Finding(float(len(text))) for text in texts]

    revised = dataclasses.replace(SCORERS[0], revision=2, score_all=count_and_tell)
    assert score_units(lake, (revised, *SCORERS[1:])).rows_by_scorer == {"character_count": 2}
    assert sorted(asked) == sorted([FOX, "short"])


def test_a_scorer_that_comes_late_sees_what_the_others_saw(lake: Lake) -> None:
    make(lake, "one")
    score_units(lake, SCORERS[:1])
    make(lake, "two")
    late = Scorer(name="late", description="", unit="1", score_all=each(lambda text: Finding(1.0)))
    assert score_units(lake, (SCORERS[0], late)).rows_by_scorer == {"character_count": 1, "late": 2}
