from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import UserError
from pipelines.runs.backends import SamplingParameters
from pipelines.runs.suites import load_suite, parse_suite

SHIPPED = Path(__file__).parents[2] / "resources" / "defaults" / "starter.suite.yaml"

SMALL = """
name: small
version: 2
sampling: {max_output_tokens: 8, temperature: 0}
scorers: [contains]
samples:
  - id: a
    prompt: What is 2 + 3?
    reference: "5"
    scorers: [{numeric: {tolerance: 0.5}}, contains]
    tags: [arithmetic]
  - {id: b, prompt: Say yes, reference: "yes"}
  - {id: c, prompt: Say anything, scorers: []}
"""


def _parse(text: str):
    return parse_suite(text, source="my.yaml")


def test_a_suite_is_read() -> None:
    suite = _parse(SMALL)
    assert (suite.name, suite.version) == ("small", "2")
    assert suite.parameters == SamplingParameters(max_output_tokens=8)
    first, second, third = suite.samples
    assert [use.name for use in suite.uses_of(first)] == ["numeric", "contains"]
    assert first.scorers[0].options == {"tolerance": 0.5}
    # The suite's own scorers are for samples that name none; an empty list is a choice.
    assert [use.name for use in suite.uses_of(second)] == ["contains"]
    assert suite.uses_of(third) == ()


def test_the_digest_does_not_see_comments_order_of_keys_or_how_yaml_was_written() -> None:
    other = """
# The same suite.
scorers:
- contains
samples:
- tags:
  - arithmetic
  reference: '5'
  scorers:
  - numeric:
      tolerance: 0.5
  - contains   # whole words
  prompt: "What is 2 + 3?"
  id: a
- {reference: "yes", prompt: Say yes, id: b, scorers: [contains: {}]}
- {id: c, prompt: Say anything, scorers: []}
description: Words for people.
sampling: {temperature: 0.0, max_output_tokens: 8}
version: "2"
name: small
"""
    assert _parse(other).digest == _parse(SMALL).digest


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("version: 2", "version: 3"),
        ('"5"', '"6"'),
        ("tolerance: 0.5", "tolerance: 0.25"),
        ("[arithmetic]", "[sums]"),
        ("max_output_tokens: 8", "max_output_tokens: 9"),
        ("Say yes", "Say Yes"),
    ],
)
def test_the_digest_sees_everything_that_is_asked_or_scored(before: str, after: str) -> None:
    changed = SMALL.replace(before, after)
    assert changed != SMALL
    assert _parse(changed).digest != _parse(SMALL).digest


def test_the_prompt_digest_sees_ids_and_prompts_alone() -> None:
    small = _parse(SMALL).prompt_digest
    assert _parse(SMALL.replace('"5"', '"6"').replace("version: 2", "version: 3")).prompt_digest == small
    assert _parse(SMALL.replace("Say yes", "Say Yes")).prompt_digest != small
    assert _parse(SMALL.replace("id: b", "id: bb")).prompt_digest != small


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "my.yaml is no suite: it must be a mapping"),
        ("- a", "my.yaml is no suite"),
        ("name: [", "my.yaml is not valid YAML"),
        ("name: a\nname: b\nversion: 1\nsamples: []", "the key 'name' stands there twice"),
        ("!!python/object/apply:os.system [ls]", "my.yaml is not valid YAML"),
        ("name: a\nversion: 1", "samples: Field required; add it"),
        ("name: a\nversion: 1\nsamples: []", "samples: is empty"),
        ("name: a\nversion: 1\nsamples: {a: b}", "samples: .*write a list"),
        ("name: a\nversion: true\nsamples: [{id: a, prompt: p}]", "version: .*in quotes"),
        ("name: a\nversion: 1\nschema_version: 2\nsamples: [{id: a, prompt: p}]", r"schema_version: .*1 \(got 2\)"),
        (
            "name: a\nversion: 1\nsamples: [{id: a, prompt: p, refrence: x}]",
            r"samples\[0\] \('a'\).refrence: .*spelling",
        ),
        ("name: a\nversion: 1\nsamples: [{id: a, prompt: p, reference: no}]", "reference: .*got False.*in quotes"),
        ("name: a\nversion: 1\nsamples: [{id: 3, prompt: p}]", "id: .*got 3.*in quotes"),
        ("name: a\nversion: 1\nsamples: [{id: a, prompt: ''}]", "prompt: .*at least 1 character"),
        ("name: a\nversion: 1\nsamples: [{id: a, prompt: p}, {id: a, prompt: q}]", "the id 'a' is used 2 times"),
        ('name: a\nversion: 1\nsamples: [{id: a, prompt: "\\ud800"}]', "prompt: .*half of a surrogate pair"),
        ('name: a\nversion: 1\nsamples: [{id: a, prompt: p, reference: "\\ud800"}]', "reference: .*surrogate pair"),
        ("name: a\nversion: 1\nsamples: [{id: a, prompt: p, scorers: [exact]}]", "Did you mean exact_match"),
        (
            "name: a\nversion: 1\nsamples: [{id: a, prompt: p, scorers: [contains]}]",
            "scorer contains needs one; add it",
        ),
        (
            "name: a\nversion: 1\nsamples: [{id: a, prompt: p, reference: x, scorers: [contains, contains]}]",
            "contains is asked for 2 times",
        ),
        ("name: a\nversion: 1\nsamples: [{id: a, prompt: p, scorers: [regex]}]", "regex needs the option pattern"),
        (
            "name: a\nversion: 1\nsamples: [{id: a, prompt: p, reference: (, scorers: [regex]}]",
            "not a regular expression",
        ),
        (
            "name: a\nversion: 1\nsamples: [{id: a, prompt: p, reference: five, scorers: [numeric]}]",
            "has no number for the scorer numeric",
        ),
        (
            "name: a\nversion: 1\nsamples: [{id: a, prompt: p, scorers: [{json_validity: {keys: [a]}}]}]",
            "no option of scorer json_validity named 'keys'",
        ),
        ("name: a\nversion: 1\nsampling: {temperature: 1}\nsamples: [{id: a, prompt: p}]", "needs a seed"),
        ("name: a\nversion: 1\nsampling: {temperature: .nan}\nsamples: [{id: a, prompt: p}]", "sampling.temperature"),
    ],
)
def test_a_wrong_suite_is_refused_with_file_key_and_remedy(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        _parse(text)
    assert "my.yaml" in str(caught.value)


def test_many_faults_are_counted_not_listed() -> None:
    samples = ", ".join(f"{{id: a{index}}}" for index in range(9))
    with pytest.raises(UserError, match="and 4 more"):
        _parse(f"name: a\nversion: 1\nsamples: [{samples}]")


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.yaml cannot be read"):
        load_suite(tmp_path / "none.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: \xff")
    with pytest.raises(UserError, match=r"binary.yaml is not UTF-8 text \(byte 6\)"):
        load_suite(binary)


@settings(deadline=None, max_examples=200)
@given(text=st.text(alphabet="{}[]:-,&*!|>#'\"\n abname1~\ud800\x00", max_size=60))
def test_any_text_is_a_suite_or_a_user_error(text: str) -> None:
    with suppress(UserError):
        assert _parse(text).samples


def test_the_shipped_suite_is_forty_varied_prompts() -> None:
    suite = load_suite(SHIPPED)
    tags = {tag for sample in suite.samples for tag in sample.tags}
    assert len(suite.samples) == 40
    assert {"fact", "copy", "arithmetic", "classification", "format", "json"} <= tags
    assert all(suite.uses_of(sample) for sample in suite.samples)
    assert {use.name for sample in suite.samples for use in suite.uses_of(sample)} == {
        "exact_match", "contains", "regex", "numeric", "token_f1", "json_validity",
    }  # fmt: skip
