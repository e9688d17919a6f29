import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import UserError
from pipelines.runs.scorers import SCORERS, ScorerError, last_number, score

TEXTS = st.text(max_size=200)


@settings(deadline=None, max_examples=100)
@given(name=st.sampled_from(sorted(SCORERS)), output=TEXTS, reference=st.text(alphabet="ab 1.", max_size=20))
def test_every_scorer_gives_a_number_between_0_and_1(name: str, output: str, reference: str) -> None:
    options = {"pattern": "a+b"} if name == "regex" else {}
    assert 0 <= score(name, output, reference, options) <= 1


@settings(deadline=None, max_examples=100)
@given(text=TEXTS)
def test_a_text_equals_itself(text: str) -> None:
    assert score("exact_match", text, text) == 1
    assert score("token_f1", text, text) == 1


@settings(deadline=None, max_examples=100)
@given(left=TEXTS, right=TEXTS)
def test_token_f1_is_symmetric(left: str, right: str) -> None:
    assert score("token_f1", left, right) == score("token_f1", right, left)


@pytest.mark.parametrize(
    ("output", "reference", "options", "expected"),
    [
        ("Paris", "Paris", {}, 1),
        (" Paris\n", "Paris", {}, 1),
        ("a  b\tc", "a b c", {}, 1),
        ("a  b", "a b", {"ignore_space": False}, 0),
        ("paris", "Paris", {}, 0),
        ("paris", "Paris", {"ignore_case": True}, 1),
        ("STRASSE", "straße", {"ignore_case": True}, 1),
        ("Paris.", "Paris", {}, 0),
        ("Paris.", "Paris", {"ignore_punctuation": True}, 1),
        ("seven", "7", {"alternatives": ["seven"]}, 1),
        # The same letter, composed and decomposed.
        ("caf\u00e9", "cafe\u0301", {}, 1),
        ("", "Paris", {}, 0),
    ],
)
def test_exact_match(output: str, reference: str, options: dict, expected: float) -> None:
    assert score("exact_match", output, reference, options) == expected


@pytest.mark.parametrize(
    ("output", "reference", "expected"),
    [
        ("It is Paris, of course.", "Paris", 1),
        ("Gold is Au.", "Au", 1),
        # Whole words: a symbol inside another word is no answer.
        ("Australia", "Au", 0),
        ("It is 17.", "7", 0),
        ("It is 7.", "7", 1),
        ("no: unable, able", "able", 1),
        ("(x+y)", "(x+y)", 1),
        ("", "Paris", 0),
        ("anything", "", 0),
    ],
)
def test_contains(output: str, reference: str, expected: float) -> None:
    assert score("contains", output, reference) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 + 3 = 5", 5.0),
        ("The answer is 1,234.5.", 1234.5),
        ("1, 2, 3", 3.0),
        ("from -4 to -3", -3.0),
        # A hyphen between numbers is no sign.
        ("pages 3-7", 7.0),
        ("2.5e3 metres", 2500.0),
        (".5", 0.5),
        ("H2O", None),
        ("none", None),
        ("1" * 400, None),
    ],
)
def test_last_number(text: str, expected: float | None) -> None:
    assert last_number(text) == expected


@settings(deadline=None, max_examples=100)
@given(number=st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_a_number_is_found_after_words(number: float) -> None:
    assert last_number(f"first 17, then {number!r}") == number


@pytest.mark.parametrize(
    ("output", "options", "expected"),
    [
        ("3.14", {}, 0),
        ("3.14", {"tolerance": 0.01}, 1),
        # |3.14 - 3.1416| = 0.0016; 0.001 x 3.1416 = 0.00314.
        ("3.14", {"relative_tolerance": 0.001}, 1),
        ("3.14", {"relative_tolerance": 0.0001}, 0),
        ("no number", {"tolerance": 100}, 0),
    ],
)
def test_numeric(output: str, options: dict, expected: float) -> None:
    assert score("numeric", output, "3.1416", options) == expected


def test_token_f1_by_hand() -> None:
    # Given: cat sat on mat (4; the articles go). Wanted: cat lay on mat (4). Shared: cat, on, mat.
    # Precision 3/4, recall 3/4, F1 = 2 x 3 / (4 + 4).
    assert score("token_f1", "The cat sat on the mat.", "A cat lay on a mat") == 0.75
    # A word counts as often as both have it: shared 1, 2 x 1 / (3 + 1).
    assert score("token_f1", "no no no", "no") == 0.5
    assert score("token_f1", "", "no") == 0


@pytest.mark.parametrize(
    ("output", "options", "expected"),
    [
        ('{"a": 1}', {}, 1),
        (" [1, 2] \n", {}, 1),
        ("NaN", {}, 0),
        ("{'a': 1}", {}, 0),
        ('{"a": 1} and more', {}, 0),
        ("", {}, 0),
        ('{"a": 1}', {"required_keys": ["a"]}, 1),
        ('{"b": 1}', {"required_keys": ["a"]}, 0),
        ('["a"]', {"required_keys": ["a"]}, 0),
        ('```json\n{"a": 1}\n```', {}, 0),
        ('```json\n{"a": 1}\n```', {"allow_code_fence": True}, 1),
        ("[" * 100_000, {}, 0),
        ('"\ud800"', {}, 1),
    ],
    ids=lambda value: str(value)[:20].encode("ascii", "replace").decode(),
)
def test_json_validity(output: str, options: dict, expected: float) -> None:
    assert score("json_validity", output, None, options) == expected


def test_regex_takes_its_pattern_from_the_option_or_the_reference() -> None:
    assert score("regex", "Yes, it is", None, {"pattern": "^yes", "ignore_case": True}) == 1
    assert score("regex", "Yes, it is", "^No") == 0
    assert score("regex", "abc", "b") == 1
    assert score("regex", "abc", "b", {"full_match": True}) == 0


def test_a_catastrophic_pattern_ends_in_bounded_time_without_a_score() -> None:
    begun = time.perf_counter()
    with pytest.raises(ScorerError, match=r"took more than 1 s.*Nested repetitions"):
        score("regex", "a" * 5000 + "!", None, {"pattern": r"^(a|aa|b)*+(?<=(a+)+)c|(?:(?:a|a)+)+$"})
    assert time.perf_counter() - begun < 20


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_long_hostile_outputs_are_scored_in_bounded_time(name: str) -> None:
    begun = time.perf_counter()
    for unit in ("a", "1,", "[", "-", " ", "```json\n", "\u0301", "1e"):
        score(name, unit * (300_000 // len(unit)), "ab" if name != "numeric" else "1", {})
    assert time.perf_counter() - begun < 20


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no scorer named 'exactmatch'. Did you mean exact_match"):
        score("exactmatch", "", "")
    with pytest.raises(UserError, match=r"no option of scorer numeric named 'tolerence'. Did you mean tolerance"):
        score("numeric", "1", "1", {"tolerence": 1})
    with pytest.raises(UserError, match=r"Option 'tolerance' of scorer numeric: .*greater than or equal to 0"):
        score("numeric", "1", "1", {"tolerance": -1})
    with pytest.raises(UserError, match=r"Option 'pattern' of scorer regex: .*not a regular expression"):
        score("regex", "", None, {"pattern": "("})
