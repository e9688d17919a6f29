import unicodedata

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipelines.evidence.render import CELL_CHARACTERS, escape_markdown, side_by_side

HOSTILE = [
    "| a | b |\n|---|---|",
    "```diff\n- x\n```",
    "`code` ``more``",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png)",
    "https://evil.example www.evil.example",
    "\x1b[31mred\x1b[0m \x07 \x7f \x9b31m",
    "\u202egnp.exe \u2066isolated\u2069 \ufeff\u200b",
    "\U000e0041\U000e0042 \u2028 \u2029 \ud800",
    "**bold** ~~gone~~ _under_ # head\n1. one\n- two",
    "&lt;b&gt; &amp; \\ \\| \\\\|",
    "\r\n\t\x00",
]


def pair(baseline: str, candidate: str, *, similarity: float = 0.9, **changes) -> pl.DataFrame:
    row = {
        "comparison_id": "c",
        "suite": "capitals",
        "sample_id": "s1",
        "repeat_index": 0,
        "change_kind": "content",
        "similarity_ratio": similarity,
        "candidate_run_id": "x",
        "baseline_run_id": "y",
        "candidate_backend": "a",
        "baseline_backend": "b",
        "candidate_output": candidate,
        "baseline_output": baseline,
    }
    return pl.DataFrame([row | changes])


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_text_is_one_line_of_visible_characters(text):
    escaped = escape_markdown(text)
    for character in escaped:
        assert character == "\u2060" or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text())
@settings(deadline=None, max_examples=200)
def test_every_mark_of_markdown_is_behind_a_backslash(text):
    escaped = escape_markdown(text)
    place = 0
    while place < len(escaped):
        if escaped[place] == "\\":
            assert escaped[place + 1] in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
            place += 2
        else:
            assert escaped[place] not in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
            place += 1


def test_what_hides_or_turns_text_is_named():
    assert escape_markdown("\u202egnp") == "\u27e8U\\+202E\u27e9gnp"
    assert escape_markdown("\U000e0041") == "\u27e8U\\+E0041\u27e9"
    assert escape_markdown("a\x1b[0m") == "a\u241b\\[0m"
    assert escape_markdown("a\nb\tc") == "a\u23ce b\u21e5 c"
    assert escape_markdown("\x7f\x00") == "\u2421\u2400"


def test_letters_of_any_script_and_joined_emoji_stay():
    text = "Zürich 東京 القاهرة \U0001f469\u200d\U0001f4bb"
    assert escape_markdown(text) == text


def test_links_are_broken():
    assert "://" not in escape_markdown("http://evil.example").replace("\\", "")
    assert "www." not in escape_markdown("www.evil.example").replace("\\", "")


def inline_tokens(markdown: str) -> list[Token]:
    """What a renderer of GitHub's Markdown makes of it, flat, with links recognised and HTML allowed."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return [child for block in parser.parse(markdown) for child in block.children or []]


@pytest.mark.parametrize("text", [text.replace("\ud800", "") for text in HOSTILE])
def test_a_renderer_sees_text_and_nothing_else(text):
    tokens = inline_tokens(escape_markdown(text))
    assert {token.type for token in tokens} <= {"text", "text_special"}


@given(st.text(), st.text())
@settings(deadline=None, max_examples=100)
def test_a_renderer_sees_a_table_with_marks_and_nothing_else(baseline, candidate):
    shown = side_by_side(pair(f"same words here {baseline}", f"same words here {candidate}"))
    kinds = {token.type for token in inline_tokens(shown)}
    allowed = {"text", "text_special", "strong_open", "strong_close", "s_open", "s_close"}
    assert kinds <= allowed
    assert sum(token.type == "td_open" for token in MarkdownIt("commonmark").enable("table").parse(shown)) == 2


def test_a_renderer_sees_the_marks_beside_punctuation():
    kinds = [token.type for token in inline_tokens(side_by_side(pair("call f(x)", "call f[y](z)")))]
    assert kinds.count("s_open") >= 1
    assert kinds.count("strong_open") >= 2  # the sample's name and what was added


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("similarity", [0.1, 0.9])
def test_a_hostile_output_stays_in_its_cell(text, similarity):
    text = text.replace("\ud800", "")
    shown = side_by_side(pair(f"before {text} after", "before after", similarity=similarity, sample_id=text))
    lines = shown.split("\n")
    assert len(lines) == 5
    for line in lines[2:]:
        bars = [place for place, mark in enumerate(line) if mark == "|" and not line[:place].endswith("\\")]
        assert len(bars) == 3, line


def test_edits_are_struck_out_on_the_left_and_bold_on_the_right():
    shown = side_by_side(pair("The capital of France is Lyon today", "The capital of France is Paris today"))
    assert shown.splitlines()[-1] == (
        "| The capital of France is \u200a~~Lyon~~\u200a today | The capital of France is \u200a**Paris**\u200a today |"
    )


def test_marks_touch_no_white_space_so_that_they_are_marks():
    # The edit is " and more " with spaces at both ends: they must stay outside the stars.
    shown = side_by_side(pair("red", "red and more \nred and so on"))
    for part in shown.splitlines()[-1].split("**")[1::2]:
        assert part == part.strip()


def test_an_edit_of_white_space_alone_is_shown():
    shown = side_by_side(pair("aaaa  bbbb", "aaaa bbbb"))
    assert shown.splitlines()[-1] == ("| aaaa\u200a~~\u2423\u2423~~\u200abbbb | aaaa\u200a**\u2423**\u200abbbb |")


def test_unlike_answers_are_shown_whole_without_marks():
    shown = side_by_side(pair("Yes", "The sky", similarity=0.0))
    assert "rewritten" in shown
    assert "| Yes | The sky |" in shown


def test_long_outputs_are_cut_and_say_so():
    shown = side_by_side(pair("x" * 5_000, "y" * 3_000, similarity=0.0))
    assert f"({5_000 - CELL_CHARACTERS} more characters here)" in shown
    assert f"({3_000 - CELL_CHARACTERS} more characters here)" in shown


def test_a_long_kept_stretch_shows_its_ends_alone():
    kept = " ".join(f"w{number}" for number in range(200))
    shown = side_by_side(pair(f"first {kept} last", f"FIRST {kept} LAST"))
    assert "w0 " in shown
    assert "w199" in shown
    assert "w100" not in shown


def test_an_empty_output_is_not_an_empty_cell():
    assert side_by_side(pair("", "something", similarity=0.0)).splitlines()[-1] == "| (empty) | something |"


def test_no_pairs_say_so():
    assert side_by_side(pair("a", "b").clear()) == "No outputs differ."


def test_a_passage_that_moved_is_in_italics_behind_an_arrow():
    boil, salt = "First we boil the water in a pot.", "Then we add the salt and pasta."
    last = "Finally we drain all of it in a sieve and serve it."
    shown = side_by_side(pair(f"{boil} {salt} {last}", f"{salt} {boil} {last}"))
    escaped = salt.replace(".", "\\.")
    assert shown.count(f"\u21c5\u200a_{escaped}_\u200a") == 2
    assert "~~" not in shown


def test_json_is_told_path_by_path():
    shown = side_by_side(pair('{"city": "Paris", "n": 1, "old": 0}', '{"n": 1.0, "city": "Lyon", "new": [1]}'))
    assert shown.split("\n\n")[-1].replace("\\", "").splitlines() == [
        '- /city changed: "Paris" \u2192 "Lyon"',
        "- /old removed: 0",
        "- /new added: [1]",
    ]


def test_a_flip_says_who_lost_and_an_absent_output_says_so():
    flip = {"flip": "lost", "scorer": "exact_match", "baseline_score": 1.0, "candidate_score": 0.0}
    shown = side_by_side(pair("Paris", "Lyon", similarity=0.0, **flip))
    assert shown.splitlines()[0] == (
        "**s1** in capitals: content, rewritten, similarity 0.00, **lost** by exact\\_match, 1 to 0"
    )
    missing = pair("Paris", "", change_kind="error", similarity_ratio=None, candidate_output=None)
    assert side_by_side(missing).splitlines()[-1] == "| Paris | (no output) |"
