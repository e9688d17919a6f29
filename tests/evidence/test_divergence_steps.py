"""Token divergence on a real lake in a temporary folder: batches, repeats, kills, and what a reader is shown."""

import base64
import datetime as dt
import re
from xml.etree import ElementTree as ET

import polars as pl
import pytest

from lake.store import Lake
from pipelines.evidence import divergence_steps, staleness
from pipelines.evidence.parted_pairs import count_divergences, list_parted_pairs
from pipelines.evidence.render_tokens import CONTEXT_CHARACTERS, divergence_counts, parted_side_by_side
from pipelines.evidence.steps import (
    compare_runs,
    count_contingencies,
    diff_outputs,
    judge_gates,
    judge_what_is_new,
    measure_token_divergence,
    night_summary,
    promote_runs,
    stale_run_dates,
)
from studio.summary import _tokens
from tests.evidence.rows import DAY, FINGERPRINT, POLICY, START, output, output_rows, policy, run, run_rows
from tests.evidence.tokens import END, Token, token_row, token_rows

TONIGHT = START.date()
TABLES = ("gold.token_divergences", "gold.token_positions")
STEPS = (diff_outputs, count_contingencies, measure_token_divergence, compare_runs, judge_gates, promote_runs)
SAMPLES = 12


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake.open(tmp_path / "lake")


def tokens_of(index: int, backend: str) -> list[Token]:
    """Every third sample parts at a near tie, every fourth by a shift, the others are the same."""
    gap = 2.0 if index % 4 == 1 else 0.1 if index % 3 == 1 else None
    if gap is None:
        return ["The ", ("same", {"same": -0.2, "other": -1.9}), END]
    mine, other = ("yes", "no") if backend == "a" else ("no", "yes")
    return ["The ", (mine, {mine: -0.8, other: -0.8 - gap}), END]


def land(lake: Lake, *runs: dict, samples: int = SAMPLES, **changes) -> None:
    lake.upsert("silver.runs", run_rows(*runs))
    outputs, tokens = [], []
    for row in runs:
        for index in range(samples):
            own = tokens_of(index, row["backend"])
            text = "".join(token if isinstance(token, str) else token[0] for token in own[:-1])
            outputs.append(output(row, index, text, finish_reason="stop", output_token_count=len(own), **changes))
            tokens.append(token_row(row["run_id"], own, sample_id=f"s{index:03}", run_date=row["run_date"]))
    lake.upsert("silver.outputs", output_rows(outputs))
    lake.upsert("silver.output_tokens", token_rows(*tokens))


def kinds(lake: Lake) -> dict[str, int]:
    return dict(sorted(lake.read(TABLES[0])["divergence_kind"].value_counts().iter_rows()))


def test_a_night_leaves_a_row_for_every_pair(lake) -> None:
    land(lake, run("a1"), run("b1", "b"))
    found = measure_token_divergence(lake, policy(), [TONIGHT])
    # of 12: shifts at 1, 5, 9; near ties at 4, 7, 10 (1 is a shift already)
    assert kinds(lake) == {"distribution_shift": 3, "identical": 6, "near_tie_flip": 3}
    assert (found.computed_count, found.rows_written, found.rows_read) == (1, SAMPLES, 4 * SAMPLES)
    row = lake.read(TABLES[0], where={"sample_id": "s004"}).row(0, named=True)
    assert (row["candidate_run_id"], row["baseline_run_id"], row["run_date"]) == ("a1", "b1", TONIGHT)
    assert (row["candidate_token"], row["baseline_token"], row["first_divergence_index"]) == ("yes", "no", 1)
    positions = lake.read(TABLES[1])
    assert positions.height == SAMPLES
    assert positions.filter(sample_id="s004")["candidate_token_indexes"].to_list() == [[0, 1]]
    assert lake.row_count("bronze.rejects") == 0


def test_a_second_time_writes_nothing_and_mode_all_finds_the_same(lake) -> None:
    land(lake, run("a1"), run("b1", "b"))
    assert judge_what_is_new(lake, policy()) == [TONIGHT]
    before, versions = {table: lake.read(table) for table in TABLES}, lake.versions(TABLES)
    again = measure_token_divergence(lake, policy(), [TONIGHT])
    assert (again.computed_count, again.skipped_count, again.rows_read) == (0, 1, 0)
    everything = measure_token_divergence(lake, policy(), [TONIGHT], mode="all")
    assert (everything.computed_count, everything.rows_written) == (1, 0)
    assert lake.versions(TABLES) == versions
    assert all(lake.read(table).equals(before[table]) for table in TABLES)


def test_batches_change_nothing(lake, tmp_path, monkeypatch) -> None:
    other = Lake.open(tmp_path / "other")
    for each in (lake, other):
        land(each, run("a1"), run("b1", "b"))
    measure_token_divergence(lake, policy(), [TONIGHT])
    monkeypatch.setattr(divergence_steps, "BATCH_TOKENS", 15)
    measure_token_divergence(other, policy(), [TONIGHT])
    assert other.version(TABLES[0]) > lake.version(TABLES[0])
    for table in TABLES:
        assert other.read(table).sort("sample_id").equals(lake.read(table).sort("sample_id")), table


def test_batches_forget_samples_that_are_gone(lake, monkeypatch) -> None:
    monkeypatch.setattr(divergence_steps, "BATCH_TOKENS", 15)
    land(lake, run("a1"), run("b1", "b"))
    measure_token_divergence(lake, policy(), [TONIGHT])
    where = {"run_id": "a1"}
    for table in ("silver.outputs", "silver.output_tokens"):
        kept = lake.read(table, where=where).filter(~pl.col("sample_id").is_in(["s000", "s005", "s011"]))
        lake.replace(table, kept, where=where)
    measure_token_divergence(lake, policy(), [TONIGHT], mode="all")
    for table in TABLES:
        assert lake.read(table).height == SAMPLES - 3, table


def test_a_comparison_that_is_planned_no_more_takes_its_rows_along(lake) -> None:
    land(lake, run("a1"), run("b1", "b"))
    judge_what_is_new(lake, policy())
    without = POLICY.replace("  - {name: across, candidate: {backend: a}, baseline: {backend: b}}\n", "")
    found = measure_token_divergence(lake, policy(without), [TONIGHT])
    assert found.removed_count == 1
    assert all(lake.read(table).is_empty() for table in TABLES)


def test_rows_that_lost_their_comparison_are_found(lake) -> None:
    land(lake, run("a1"), run("b1", "b"))
    measure_token_divergence(lake, policy(), [TONIGHT])
    lake.upsert("silver.runs", run_rows(run("b1", "b", status="error", content_digest="failed")))
    assert stale_run_dates(lake, policy()) == [TONIGHT]
    judge_what_is_new(lake, policy())
    assert all(lake.read(table).is_empty() for table in TABLES)
    assert stale_run_dates(lake, policy()) == []


@pytest.mark.parametrize("done", range(1, 5))
def test_a_night_that_was_killed_between_steps_is_found_and_finished(lake, done) -> None:
    land(lake, run("a1"), run("b1", "b"))
    for step in STEPS[:done]:
        step(lake, policy(), [TONIGHT])
    assert stale_run_dates(lake, policy()) == [TONIGHT]
    assert judge_what_is_new(lake, policy()) == [TONIGHT]
    assert sum(kinds(lake).values()) == SAMPLES
    assert stale_run_dates(lake, policy()) == []


def test_a_lake_of_an_older_release_is_measured_as_well(lake, monkeypatch) -> None:
    land(lake, run("a1"), run("b1", "b"))
    with monkeypatch.context() as older:
        # What it was before tokens were compared: other versions in every digest, no divergences, everything settled.
        for module in ("pipelines.evidence.pairing", "pipelines.evidence.staleness"):
            older.setattr(f"{module}.EVIDENCE_VERSIONS", (0,))
        for step in STEPS:
            if step is not measure_token_divergence:
                step(lake, policy(), [TONIGHT])
        assert staleness.stale_run_dates(lake, policy()) == []
        assert lake.row_count("gold.output_diffs") == SAMPLES
    assert judge_what_is_new(lake, policy()) == [TONIGHT]
    assert sum(kinds(lake).values()) == SAMPLES


def test_other_prompts_and_other_tasks_are_not_compared(lake) -> None:
    land(lake, run("a1"), run("b1", "b"))
    lake.upsert("silver.outputs", output_rows([output(run("a1"), 0, "x", prompt_digest="another")]))
    measure_token_divergence(lake, policy(), [TONIGHT])
    assert "s000" not in lake.read(TABLES[0])["sample_id"]
    land(lake, run("a1", content_digest="again", fingerprint=FINGERPRINT | {"suite_digest": "edited"}))
    measure_token_divergence(lake, policy(), [TONIGHT])
    assert all(lake.read(table).is_empty() for table in TABLES)


def test_the_runs_say_which_tokenizer_and_which_log_probabilities(lake) -> None:
    land(lake, run("a1", fingerprint=FINGERPRINT | {"tokenizer": "another", "logprobs_mode": "processed"}))
    land(lake, run("b1", "b"))
    measure_token_divergence(lake, policy(), [TONIGHT])
    rows = lake.read(TABLES[0])
    assert set(rows["alignment"]) == {"token_bytes"}
    assert kinds(lake) == {"identical": 6, "incomparable": 6}
    assert set(rows["reason"].drop_nulls()) == {"logprobs_modes"}


def test_runs_without_tokens_cost_nothing(lake) -> None:
    lake.upsert("silver.runs", run_rows(run("a1"), run("b1", "b")))
    lake.upsert("silver.outputs", output_rows([output(run(*key), 0, "x") for key in (("a1",), ("b1", "b"))]))
    assert measure_token_divergence(lake, policy(), [TONIGHT]).rows_written == 0
    assert divergence_counts(count_divergences(lake, [TONIGHT])).startswith("No pair")
    assert parted_side_by_side(list_parted_pairs(lake, [TONIGHT])) == "No tokens part."
    assert _tokens(night_summary(lake, [TONIGHT], policy()).divergences) == ""


def test_dates_are_measured_each_by_itself(lake) -> None:
    nights = [START, START + DAY]
    for night in nights:
        land(lake, run(f"a{night.day}", started_at=night), run(f"b{night.day}", "b", started_at=night), samples=4)
    dates: list[dt.date] = [night.date() for night in nights]
    measure_token_divergence(lake, policy(), dates)
    # across on both nights, and each backend with its night before, where nothing differs
    rows = lake.read(TABLES[0]).group_by("run_date").agg(pl.len()).sort("run_date")
    assert rows.rows() == [(dates[0], 4), (dates[1], 12)]


# What a reader is shown

PICTURE = re.compile(r"\(data:image/svg\+xml;base64,([^)]*)\)")


def drawn(markdown: str) -> list[bytes]:
    """The pictures in a Markdown text."""
    return [base64.b64decode(found) for found in PICTURE.findall(markdown)]


def drawn_texts(svg: bytes) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_shifts_come_before_near_ties_with_their_texts(lake) -> None:
    land(lake, run("a1"), run("b1", "b"))
    measure_token_divergence(lake, policy(), [TONIGHT])
    assert count_divergences(lake, [TONIGHT]).rows() == [
        ("distribution_shift", None, 3), ("near_tie_flip", None, 3), ("identical", None, 6),
    ]  # fmt: skip
    pairs = list_parted_pairs(lake, [TONIGHT], limit=4)
    assert pairs["divergence_kind"].to_list() == ["distribution_shift"] * 3 + ["near_tie_flip"]
    first = pairs.row(0, named=True)
    assert (first["candidate_backend"], first["baseline_backend"], first["suite"]) == ("a", "b", "capitals")
    assert (first["candidate_before"], first["candidate_token"], first["candidate_after"]) == ("The ", "yes", "")
    shown = parted_side_by_side(pairs)
    assert "**s001** in capitals: distribution shift at position 1, the odds moved by 4 nats" in shown
    assert "| baseline\\: b | candidate\\: a |" in shown
    assert "| The \u200a![no]()\u200a | The \u200a![yes]()\u200a |" in PICTURE.sub("()", shown)
    # What both sides gave the two tokens there is drawn, for the first three.
    assert [len(drawn_texts(svg)) for svg in drawn(shown)].count(1) == 8
    assert "2 before the likeliest other token, rank 2 in the other side's list" in shown
    table = divergence_counts(count_divergences(lake, [TONIGHT]))
    assert "| near tie flip |  | 3 | 25.0 % |" in table
    line = _tokens(night_summary(lake, [TONIGHT], policy()).divergences)
    assert line == "Tokens: 6 of 12 pairs part, 3 at a near tie, 3 by a shifted distribution, 0 open.\n"


def test_hostile_tokens_are_shown_as_what_they_are(lake) -> None:
    hostile = "**bold** | <img src=x onerror=alert(1)> [x](javascript:1) \u202e\x1b[31m\n`"
    lake.upsert("silver.runs", run_rows(run("a1"), run("b1", "b")))
    sides = {"a1": ["a" * 1_000, hostile * 9, "z" * 1_000], "b1": ["a" * 1_000, " ", "\u00e9"]}
    outputs = [output(run(run_id, run_id[0]), 0, "x", finish_reason="stop") for run_id in sides]
    lake.upsert("silver.outputs", output_rows(outputs))
    lake.upsert(
        "silver.output_tokens", token_rows(*(token_row(run_id, own, sample_id="s000") for run_id, own in sides.items()))
    )
    measure_token_divergence(lake, policy(), [TONIGHT])
    with_pictures = parted_side_by_side(list_parted_pairs(lake, [TONIGHT]))
    shown = PICTURE.sub("()", with_pictures)
    assert len(shown.splitlines()) == 8
    assert "<" not in shown.replace("\\<", "")
    # A picture holds what the file called a token as text, and nothing else of it.
    chip = next(texts for texts in map(drawn_texts, drawn(with_pictures)) if "img" in texts[0])
    assert chip == ["**bold**\u2423|\u2423<img\u2423src=x\u2423onerror=al\u2026"]
    for raw in ("\x1b", "\u202e", "](java", "| <", "onerror=alert(1)>"):
        assert raw not in shown, raw
    assert "\\*\\*bold\\*\\*" in shown
    assert "![\u2423]()" in shown  # a blank alone would show nothing
    assert f"\u2026 {'a' * CONTEXT_CHARACTERS}" in shown
    assert "a" * (CONTEXT_CHARACTERS + 1) not in shown


def test_a_side_that_ends_says_so(lake) -> None:
    lake.upsert("silver.runs", run_rows(run("a1"), run("b1", "b")))
    lake.upsert(
        "silver.outputs", output_rows([output(run(key, key[0]), 0, "x", finish_reason="stop") for key in ("a1", "b1")])
    )
    rows = [token_row(run_id, own, sample_id="s000") for run_id, own in (("a1", ["x"]), ("b1", ["x", "y"]))]
    lake.upsert("silver.output_tokens", token_rows(*rows))
    measure_token_divergence(lake, policy(), [TONIGHT])
    shown = parted_side_by_side(list_parted_pairs(lake, [TONIGHT]))
    assert "inconclusive (unlisted end) at position 1" in shown
    assert "_(ends here)_" in shown
