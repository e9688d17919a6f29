import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evidence.canonical import canonical_tokens, characters_agree, facts_of, prose_tokens

PIECES = st.sampled_from(
    [
        "Paris",
        "paris",
        " ",
        "  ",
        "\n",
        ".",
        ",",
        "1,000",
        "1000.0",
        "-",
        "5",
        "`x`",
        "```\n",
        "**",
        "don't",
        "\u00e9",
        "e\u0301",
    ]
)
TEXT = st.one_of(st.lists(PIECES, max_size=8).map("".join), st.text(max_size=12))

SAME = [
    ("white space", "a  b\n c", "a b c"),
    ("space round marks", "Yes , of course !", "Yes, of course!"),
    ("case", "PARIS", "paris"),
    ("final stop", "42.", "42"),
    ("thousands", "1,000", "1000"),
    ("fraction of zeros", "$1,000.00", "$1000"),
    ("leading zero", ".5", "0.5"),
    ("space before percent", "50 %", "50%"),
    ("quotes", "\u201cParis\u201d isn\u2019t", '"Paris" isn\'t'),
    ("dashes", "1990\u20132000", "1990-2000"),
    ("composed letters", "caf\u00e9", "cafe\u0301"),
    ("bold", "The answer is **42**.", "The answer is 42"),
    ("list signs", "* one\n* two", "- one\n- two"),
    ("white space at the end of code lines", "Use:\n```\nx = 1  \n```", "Use:\n```\nx = 1\n```"),
]
APART = [
    ("another number", "1,000", "1,001"),
    ("sign", "-5", "5"),
    ("leading zeros name things", "007", "7"),
    ("versions", "3.10", "3.1"),
    ("three zeros may be thousands", "1.000", "1"),
    ("longer versions", "1.0.0", "1.0"),
    ("digits run together", "5 6", "56"),
    ("words run together", "every day", "everyday"),
    ("question", "Really?", "Really."),
    ("ellipsis", "42...", "42"),
    ("case in code", "`True`", "`true`"),
    ("code or not", "`x`", "x"),
    ("indentation of code", "```\n  x\n```", "```\nx\n```"),
    ("indentation of unfenced code", "if x:\n    y\nz", "if x:\n    y\n    z"),
    ("superscript", "x\u00b2", "x2"),
    ("order", "dog bites man", "man bites dog"),
    ("power is not bold", "2**3**2", "232"),
]


@pytest.mark.parametrize(("left", "right"), [pair[1:] for pair in SAME], ids=[pair[0] for pair in SAME])
def test_setting_makes_no_difference(left, right):
    assert canonical_tokens(left) == canonical_tokens(right)


@pytest.mark.parametrize(("left", "right"), [pair[1:] for pair in APART], ids=[pair[0] for pair in APART])
def test_what_may_matter_makes_one(left, right):
    assert canonical_tokens(left) != canonical_tokens(right)


@given(TEXT, TEXT)
@settings(deadline=None, max_examples=300)
def test_the_quick_look_overlooks_no_pair(left, right):
    if canonical_tokens(left) == canonical_tokens(right):
        assert characters_agree(left, right)


@given(st.lists(st.sampled_from(["Paris", "1,000", "-5", "don't", "(b)", "x", "3.5"])))
@settings(deadline=None, max_examples=100)
def test_white_space_is_never_told(words):
    assert canonical_tokens(" ".join(words)) == canonical_tokens("\n\t ".join(words))


def test_prose_tokens_read_code_like_prose():
    assert prose_tokens("`True`") == ("`", "true", "`")


def test_facts_by_hand():
    # Light words and marks go, contractions come apart, numbers get one form.
    facts = facts_of("The well-known answer isn't 1,000; it's really (b), as Bohr said.")
    assert facts.essence == (
        "well", "known", "answer", "is", "not", "1000", "it", "is", "(", "b", ")", "as", "bohr", "said",
    )  # fmt: skip
    assert facts.stated == ("not", "1000", "(", "b", ")", "bohr")


@pytest.mark.parametrize(
    ("text", "essence"),
    [
        ("an answer", ("answer",)),
        ("a cat", ("cat",)),
        ("answer: a", ("answer", "a")),  # a choice, not an article
        ("It is A because", ("it", "is", "a", "because")),
        ("10 - 5", ("10", "-", "5")),
        ("at 12:30", ("at", "12", ":", "30")),
        ("* one", ("one",)),
    ],
)
def test_what_may_be_passed_over(text, essence):
    assert facts_of(text).essence == essence


@pytest.mark.parametrize(
    "text", ["." * 50_000, "1" * 50_000 + "a", "1," * 30_000, "**" * 30_000, "{ " * 30_000 + "x", "`" * 50_001]
)
def test_hostile_text_takes_no_time_that_grows_with_its_square(text):
    # Seconds each if any pattern looked at every pair of places.
    canonical_tokens(text)
    facts_of(text)
