"""The kind of a change: every rule by hand, laws, and what the rules say of real answers."""

import gzip
import json
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.identity import text_digest
from lake.tables.evidence import CHANGE_KINDS
from pipelines.evidence.change_kinds import TELLING_ORDER
from pipelines.evidence.output_diffs import diff_pairs
from tests.runs.formats import shared

ROOT = Path(__file__).parents[2]
LONG = "It is the best way to do it and most of us know that by now"
RIGHT = [{"scorer": "exact_match", "value": 1.0}]
WRONG = [{"scorer": "exact_match", "value": 0.0}]


def kind(baseline: str | None, candidate: str | None, **known) -> str:
    """The kind of one pair; `known` are columns such as reference or candidate_scores."""
    row = {
        "baseline_output": baseline,
        "candidate_output": candidate,
        "baseline_output_digest": None,
        "candidate_output_digest": None,
    }
    types = dict.fromkeys(row, pl.String)
    return diff_pairs(pl.DataFrame([row | known], schema_overrides=types))["change_kind"][0]


def both(scores: list[dict]) -> dict:
    return {"baseline_scores": scores, "candidate_scores": scores}


@pytest.mark.parametrize(
    ("baseline", "candidate", "expected"),
    [
        ("Paris", "Paris", "identical"),
        ("", "", "identical"),
        ("Paris", "paris.", "formatting"),
        ("1,000", "1000.0", "formatting"),
        ("  ", "", "formatting"),
        ("Paris", " \n", "empty"),
        ("Paris", None, "error"),
        (None, None, "error"),
        # One word that is light, one mark, one contraction: the facts stay.
        (LONG, LONG.replace("the best", "really the best"), "wording"),
        (LONG, f'"{LONG}!"', "wording"),
        (f"We don't think so. {LONG}", f"We do not think so. {LONG}", "wording"),
        ('"positive"', "positive", "wording"),
        # A name, a number, a no, a comparison, a symbol, a choice, the order: any of them may be the answer.
        (f"{LONG}, Paris", f"{LONG}, Lyon", "content"),
        (f"{LONG} in 1999", f"{LONG} in 1998", "content"),
        (LONG, LONG.replace("is the", "is not the"), "content"),
        (LONG, LONG.replace("most", "least"), "content"),
        (f"{LONG}: x < 5", f"{LONG}: x > 5", "content"),
        (f"{LONG}: (a)", f"{LONG}: (b)", "content"),
        (f"{LONG}?", f"{LONG}.", "content"),
        ("dog bites man", "man bites dog", "content"),
        # Nobody can say that cold is another word for hot unless somebody looked.
        ("the answer is hot today", "the answer is cold today", "content"),
        # Alike, but with too little in common.
        ("Yes", "Yes, of course it is so", "content"),
        (f"Use `os.path` here. {LONG}", f"Use `os.Path` here. {LONG}", "content"),
    ],
)
def test_each_rule_by_hand(baseline, candidate, expected):
    assert kind(baseline, candidate) == expected


def test_other_words_are_wording_where_both_were_found_right():
    texts = ("the capital is a large and lovely town", "the capital is a big and lovely town")
    # 15 words and spaces a side, 14 kept: 28 / 30
    assert kind(*texts) == "content"
    assert kind(*texts, **both(RIGHT)) == "wording"
    assert kind(*texts, **both(WRONG)) == "content"  # wrong in two ways is not the same
    assert kind("in 3 big boxes of wood", "in 3 large boxes of wood", **both(RIGHT)) == "wording"
    assert kind("in 3 big boxes of wood", "in 4 big boxes of wood", **both(RIGHT)) == "content"


def test_what_somebody_judged_otherwise_is_content_whatever_the_words():
    assert kind("42", "42.", baseline_scores=RIGHT, candidate_scores=WRONG) == "content"
    assert kind("42", "42.", baseline_status="ok", candidate_status="assert_fail") == "content"
    # Scores of different scorers say nothing about each other.
    assert kind("42", "42.", baseline_scores=RIGHT, candidate_scores=[{"scorer": "f1", "value": 0.0}]) == "formatting"


def test_the_reference_tells_too():
    texts = (f"It is Au. {LONG}", f"It is au. {LONG}")
    assert kind(*texts, reference="Au") == "formatting"
    assert kind("so a or b or c", "so a or b or C", reference="C") == "content"  # the letter of a choice


def test_json_is_told_by_its_structure():
    assert kind('{"a": 1, "b": [true]}', '```json\n{"b": [true], "a": 1.0}\n```') == "formatting"
    assert kind('{"a": "x"}', '{"a": "X"}') == "content"
    assert kind('{"a": 1}', '{"a": 1,}') == "content"  # no JSON any more
    assert kind('{"a": 1}', "{\u201ca\u201d: 1}") == "content"


def documented_examples() -> list[tuple[str, str, str, bool]]:
    """Baseline, candidate, kind, and whether both are right, from the table of examples in the docs."""
    text = (ROOT / "docs" / "diffs.md").read_text("utf-8")
    cell = r"`([^`|]+)`(?: \((right|unscored)\))?"
    rows = re.findall(rf"^\| {cell} \| {cell} \| `(\w+)` \| [^|]+ \|$", text, re.MULTILINE)
    return [(baseline, candidate, kind, status == "right") for baseline, status, candidate, _, kind in rows]


def test_the_examples_in_the_docs_are_true():
    examples = documented_examples()
    assert len(examples) >= 9
    for baseline, candidate, expected, is_right in examples:
        assert kind(baseline, candidate, **(both(RIGHT) if is_right else {})) == expected, baseline


PIECES = st.sampled_from(
    ["The cat", "a dog", "the ", "really ", " ", "\n", ".", "!", "1,000", "1000", "5", "-", "not ", "do not", "don't ",
     "Paris", "paris", "`x`", "```\n", '{"a": 1}', "[1]", "x < y", "**bold** ", "First we boil the water. "]
)  # fmt: skip
TEXT = st.lists(PIECES, max_size=7).map("".join)
SCORES = st.sampled_from([None, RIGHT, WRONG])


@given(st.lists(st.tuples(TEXT, TEXT, SCORES, SCORES, st.sampled_from([None, "Paris", "a"])), min_size=1, max_size=8))
@settings(deadline=None, max_examples=150)
def test_the_kind_is_the_same_the_other_way_round(rows):
    sides = ("baseline", "candidate")
    frame = pl.DataFrame(
        {
            **{f"{side}_output": [row[place] for row in rows] for place, side in enumerate(sides)},
            **{f"{side}_output_digest": [text_digest(row[place]) for row in rows] for place, side in enumerate(sides)},
            **{f"{side}_scores": [row[place + 2] for row in rows] for place, side in enumerate(sides)},
            "reference": [row[4] for row in rows],
        },
        schema_overrides={"reference": pl.String},
    )
    other = {"baseline": "candidate", "candidate": "baseline"}
    swapped = frame.rename(
        {f"{side}_{name}": f"{other[side]}_{name}" for side in sides for name in ("output", "output_digest", "scores")}
    )
    there, back = diff_pairs(frame), diff_pairs(swapped)
    same = ["change_kind", "similarity_ratio", "moved_word_count"]
    assert there.select(same).equals(back.select(same))
    assert there["inserted_word_count"].equals(back["deleted_word_count"].alias("inserted_word_count"))
    assert (there["change_kind"] == "identical").to_list() == [row[0] == row[1] for row in rows]


def test_every_kind_has_its_place_in_the_telling_order():
    assert set(TELLING_ORDER) == set(CHANGE_KINDS)


def real_answers() -> dict[str, list[str]]:
    """The answers of several models to the same 805 prompts, in one order."""
    answers: dict[str, dict[int, str]] = {}
    with gzip.open(shared("alpaca_eval/outputs.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            answers.setdefault(row["model"], {})[row["id"]] = row["output"]
    return {model: [texts[prompt] for prompt in sorted(texts)] for model, texts in answers.items()}


def kinds_of(baselines: list[str], candidates: list[str]) -> dict[str, int]:
    """How many of the pairs there are of each kind that occurs."""
    frame = pl.DataFrame({"baseline_output": baselines, "candidate_output": candidates}).with_columns(
        pl.lit(None, dtype=pl.String).alias(f"{side}_output_digest") for side in ("baseline", "candidate")
    )
    counts = dict(diff_pairs(frame)["change_kind"].value_counts().iter_rows())
    return {kind: counts[kind] for kind in TELLING_ORDER if kind in counts}


def test_what_the_rules_say_of_real_answers():
    """Free answers of two models are hardly ever the same in other words; a rule that says so is broken.

    Prints the share of each kind; read it with `pytest -s`.
    """
    answers = real_answers()
    for baseline, candidate in (("gpt4", "gpt4_0314"), ("gpt4", "Mistral-7B-Instruct-v0.2")):
        counts = kinds_of(answers[baseline], answers[candidate])
        total = sum(counts.values())
        print(f"\n{candidate} against {baseline}:", {kind: f"{count / total:.1%}" for kind, count in counts.items()})
        equal = sum(map(str.__eq__, answers[baseline], answers[candidate]))
        assert counts.get("identical", 0) == equal
        assert counts.get("formatting", 0) + counts.get("wording", 0) <= 0.02 * total


MATTERS = {
    "another digit": lambda text: re.sub(r"\d(?=\D*\Z)", lambda found: str((int(found[0]) + 1) % 10), text, count=1),
    "a not": lambda text: text.replace(" is ", " is not ", 1),
    "a never": lambda text: text.replace(" will ", " will never ", 1),
    "another name": lambda text: re.sub(r"(?<=[a-z] )[A-Z][a-z]+", "Zanzibar", text, count=1),
    "more for less": lambda text: text.replace(" more ", " less ", 1),
    "the last sentence gone": lambda text: re.sub(r"(?<=\. )[A-Z][^.]+\.\s*\Z", "", text),
}
HARMLESS = {
    "typographic quotes": lambda text: text.replace("'", "\u2019"),
    "upper case": str.upper,
    "spaces at line ends": lambda text: text.replace("\n", "  \n"),
    "Windows line ends": lambda text: text.replace("\n", "\r\n"),
    "other list signs": lambda text: re.sub(r"^- (?=[A-Za-z])", "* ", text, flags=re.MULTILINE),
}


@pytest.mark.parametrize("edit", MATTERS.values(), ids=MATTERS)
def test_one_edit_that_matters_in_a_real_answer_is_never_taken_for_harmless(edit):
    texts = [text for text in real_answers()["gpt4"] if edit(text) != text]
    assert len(texts) >= 40
    assert kinds_of(texts, list(map(edit, texts))) == {"content": len(texts)}


@pytest.mark.parametrize("edit", HARMLESS.values(), ids=HARMLESS)
def test_prose_that_was_set_otherwise_is_formatting(edit):
    """Of answers without code; where there may be code, case and indentation count."""
    texts = [text for text in real_answers()["gpt4"] if edit(text) != text and not re.search(r"[`{};<\[]", text)]
    assert len(texts) >= 40
    counts = kinds_of(texts, list(map(edit, texts)))
    # A line that ends in a colon may look like a program.
    assert counts.get("formatting", 0) >= 0.95 * len(texts), counts
