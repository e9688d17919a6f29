"""Versions of suites in a lake: what is kept, how it is named, and what differs."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import UserError
from lake.identity import text_digest
from lake.store import Lake
from pipelines.runs.suite_diff import diff_suites, word_edits
from pipelines.runs.suite_registry import (
    archive_suite,
    list_suites,
    load_saved_suite,
    read_prompts,
    read_version,
    restore_suite,
    save_suite,
)
from pipelines.runs.suites import Suite, WrittenSuite, parse_suite

NOW = dt.datetime(2026, 11, 20, 9, 0, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(days=1)
TEXT = """\
# Asked every week.
name: support
version: "1.0"
description: Questions of customers.
sampling: {max_output_tokens: 32}
scorers: [contains]
samples:
  - {id: refund, prompt: "How do I get a refund?", reference: form, tags: [money]}
  - {id: hours, prompt: "When are you open?", reference: "9"}
"""


def written(*changes: tuple[str, str]) -> WrittenSuite:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return WrittenSuite(parse_suite(text, source="test"), text)


def save(lake: Lake, *changes: tuple[str, str], note: str | None = None):
    return save_suite(lake, written(*changes), now=NOW, author="ada", note=note)


def test_versions_are_numbered_and_the_same_content_is_the_same_version(lake_anywhere) -> None:
    first = save(lake_anywhere)
    second = save(lake_anywhere, ("refund?", "refund now?"), note="clearer")
    version = lake_anywhere.version("silver.suites")
    # Neither comments nor the description decide what is asked.
    again = save(lake_anywhere, ("# Asked every week.\n", ""), ("of customers", "of all"))
    assert [(one.version_index, one.is_new) for one in (first, second, again)] == [(1, True), (2, True), (1, False)]
    assert lake_anywhere.version("silver.suites") == version  # not one commit
    # Content that changed while the author's label did not is worth a word.
    assert (first.same_label_index, second.same_label_index) == (None, 1)
    rows = list_suites(lake_anywhere).select("version_index", "version", "created_by", "change_note", "prompt_count")
    assert rows.rows() == [(1, "1.0", "ada", None, 2), (2, "1.0", "ada", "clearer", 2)]


def test_what_is_loaded_is_what_was_saved_comments_and_all(lake) -> None:
    saved = save(lake)
    suite, text = load_saved_suite(lake, "support")
    assert (suite.digest, text) == (saved.suite_digest, TEXT)
    prompts = read_prompts(lake, saved.suite_digest)
    assert prompts.select("sample_index", "sample_id", "reference", "scorers").rows() == [
        (0, "refund", "form", '[{"name":"contains","options":{}}]'),
        (1, "hours", "9", '[{"name":"contains","options":{}}]'),
    ]
    # The id of a prompt is the digest that its outputs carry.
    assert prompts["prompt_digest"].to_list() == [
        text_digest("How do I get a refund?"),
        text_digest("When are you open?"),
    ]
    assert prompts["tags"].to_list() == [["money"], []]


def test_versions_saved_at_once_have_no_gaps(lake) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: save(lake, ("1.0", f"2.{number % 6}")), range(12)))
    assert sorted(list_suites(lake)["version_index"]) == [1, 2, 3, 4, 5, 6]


def two_versions(lake: Lake) -> tuple[str, str]:
    return save(lake).suite_digest, save(lake, ('"1.0"', '"beta"')).suite_digest


@pytest.mark.parametrize(
    ("reference", "index"),
    [("support", 2), ("support@1", 1), ("support@2", 2), ("support@1.0", 1), ("support@beta", 2)],
)
def test_a_version_is_named_by_index_label_or_digest(lake, reference, index) -> None:
    digests = two_versions(lake)
    assert load_saved_suite(lake, reference).suite.digest == digests[index - 1]
    assert load_saved_suite(lake, digests[index - 1][:8]).suite.digest == digests[index - 1]


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        ("suport", "Did you mean support"),
        ("suport@1", "Did you mean support"),
        ("support@3", r"support@1 \("),
        ("abcdef1", "at least 8"),
        ("00000000", "suite list --all"),
        ("", "support"),
    ],
)
def test_a_wrong_name_is_told_with_what_there_is(lake, reference, hint) -> None:
    two_versions(lake)
    with pytest.raises(UserError, match=hint):
        load_saved_suite(lake, reference)


def test_a_number_that_is_one_versions_place_and_anothers_label_is_not_guessed(lake) -> None:
    save(lake, ('"1.0"', '"2"'))
    save(lake, ('"1.0"', '"3"'))
    with pytest.raises(UserError, match=r"could be version_index 2 .*support@1"):
        load_saved_suite(lake, "support@2")
    # There is no place 3 and no label 1.
    assert load_saved_suite(lake, "support@3").suite.version == "3"
    assert load_saved_suite(lake, "support@1").suite.version == "2"


def test_a_label_that_was_never_raised_does_not_hide_the_first_version(lake) -> None:
    first = save(lake, ('"1.0"', '"1"')).suite_digest
    save(lake, ('"1.0"', '"1"'), ("refund?", "refund now?"))
    assert load_saved_suite(lake, "support@1").suite.digest == first


def test_what_is_archived_is_read_by_name_and_asked_by_digest_alone(lake) -> None:
    old, new = two_versions(lake)
    (archived,) = archive_suite(lake, "support@beta", now=LATER, author="bob", reason="typo")
    assert archived["suite_digest"] == new
    assert load_saved_suite(lake, "support").suite.digest == old  # the newest that is not archived
    with pytest.raises(UserError, match=r"archived by bob on 2026-11-21: typo.*suite restore support@2"):
        load_saved_suite(lake, "support@2")
    assert load_saved_suite(lake, new[:12]).suite.digest == new
    assert load_saved_suite(lake, "support@2", purpose="read").suite.digest == new
    assert list_suites(lake)["version_index"].to_list() == [1]
    assert list_suites(lake, has_archived=True)["version_index"].to_list() == [1, 2]
    assert archive_suite(lake, "support@2", now=LATER, author="eve", reason=None) == []  # it is already


def test_a_bare_name_archives_and_restores_every_version_and_says_who_and_why(lake) -> None:
    two_versions(lake)
    assert len(archive_suite(lake, "support", now=NOW, author="bob", reason="sold")) == 2
    with pytest.raises(UserError, match="was archived by bob"):
        load_saved_suite(lake, "support")
    assert read_version(lake, "support")["version_index"] == 2
    assert len(restore_suite(lake, "support", now=LATER, author="eve", reason="bought back")) == 2
    row = read_version(lake, "support@1")
    assert (row["is_archived"], row["archived_by"], row["restored_by"], row["restore_reason"]) == (
        False, "bob", "eve", "bought back",
    )  # fmt: skip
    # A saved suite is as it was: archiving decides nothing about its content.
    assert save(lake).is_new is False


def test_secrets_are_taken_out_and_such_a_version_is_not_asked_from_the_lake(lake) -> None:
    secret = "sk-" + "a1" * 16
    saved = save(lake, ("How do I get a refund?", f"Why does {secret} not work?"), ("Questions", f"With {secret}"))
    assert saved.is_redacted
    rows = [lake.read(table).to_dicts() for table in ("silver.suites", "silver.prompts")]
    assert secret not in repr(rows)
    # The prompt as an import of its outputs would redact it, so that both have one digest.
    assert read_prompts(lake, saved.suite_digest)["prompt"][0] == "Why does [redacted] not work?"
    with pytest.raises(UserError, match="secrets taken out"):
        load_saved_suite(lake, "support")
    read = load_saved_suite(lake, "support", purpose="read").suite
    assert read.samples[0].prompt == "Why does [redacted] not work?"


def test_runs_are_counted_by_the_version_they_asked(lake) -> None:
    digest, _ = two_versions(lake)
    runs = lake.read("silver.runs").clear()
    row = dict.fromkeys(runs.columns) | {
        "run_id": "r", "run_date": NOW.date(), "source_kind": "benchlake", "file_sha256": "f", "content_digest": "c",
        "suite": "support", "backend": "b", "model": "m", "fingerprint": {"suite_digest": digest}, "code_version": {},
        "tags": [], "started_at": NOW, "status": "success",
    }  # fmt: skip
    lake.upsert("silver.runs", pl.DataFrame([row], schema=runs.schema))
    assert list_suites(lake)["run_count"].to_list() == [1, 0]
    with pytest.raises(UserError, match="Did you mean support"):
        list_suites(lake, suite="suport")


def changes(*edits: tuple[str, str]) -> list[tuple[str, ...]]:
    rows = diff_suites(written().suite, written(*edits).suite)
    return rows.select("change", "part", "sample_id", "field", "baseline", "candidate", "edits").rows()


def test_a_diff_names_every_change_once() -> None:
    assert changes(("How do I get", "Where do I ask for")) == [
        (
            "changed", "sample", "refund", "prompt", "How do I get a refund?", "Where do I ask for a refund?",
            "[-How-]{+Where+} do I [-get-]{+ask for+} a refund?",
        )
    ]  # fmt: skip
    assert changes(('reference: "9"', 'reference: "10", scorers: [numeric]')) == [
        ("changed", "sample", "hours", "reference", "9", "10", "[-9-]{+10+}"),
        (
            "changed", "sample", "hours", "scorers",
            '[{"name":"contains","options":{}}]', '[{"name":"numeric","options":{}}]', None,
        ),
    ]  # fmt: skip
    assert changes((', reference: "9"', ', reference: "9", tags: [time]'), ("32", "48")) == [
        ("changed", "sampling", None, "max_output_tokens", "32", "48", None),
        ("changed", "sample", "hours", "tags", "[]", '["time"]', None),
    ]
    assert changes(("id: hours", "id: times")) == [
        ("removed", "sample", "hours", "prompt", "When are you open?", None, None),
        ("added", "sample", "times", "prompt", None, "When are you open?", None),
    ]


def test_another_order_of_the_same_samples_is_a_change() -> None:
    first, second = TEXT.splitlines()[-2:]
    assert changes((f"{first}\n{second}", f"{second}\n{first}")) == [
        ("changed", "suite", None, "order of samples", '["refund","hours"]', '["hours","refund"]', None)
    ]


def test_edits_are_marked_where_they_are() -> None:
    assert word_edits("a b", "a b") == "a b"
    assert word_edits("", "new") == "{+new+}"


SAMPLES = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from("abc"), "prompt": st.sampled_from(["x", "y z"])},
        optional={
            "reference": st.sampled_from(["", "1"]),
            "tags": st.lists(st.sampled_from("tu"), max_size=1),
            "scorers": st.sampled_from([[], ["json_validity"]]),
        },
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda sample: sample["id"],
)
SUITES = st.builds(
    lambda samples, scorers, description, tokens: parse_suite(
        yaml.safe_dump(
            {
                "name": "s", "version": "1", "description": description, "samples": samples, "scorers": scorers,
                "sampling": {"max_output_tokens": tokens},
            }
        ),
        source="made",
    ),
    SAMPLES,
    st.sampled_from([[], ["json_validity"]]),
    st.sampled_from(["", "d"]),
    st.sampled_from([1, 2]),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(SUITES, SUITES)
def test_two_suites_have_no_changes_exactly_when_their_digests_are_equal(one: Suite, other: Suite) -> None:
    assert diff_suites(one, other).is_empty() == (one.digest == other.digest)
    assert diff_suites(one, one).is_empty()
