import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import UserError
from pipelines.databits.units import Draft, canonical_text, parse_content, parse_key, readable_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(
        st.characters(exclude_categories=["Cs"])
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(VALUES)
@settings(deadline=None, max_examples=80)
def test_any_json_value_comes_back_from_its_canonical_text(value) -> None:
    assert parse_content(canonical_text(value)) == value


def test_equal_values_have_one_text_whatever_the_order_of_their_keys() -> None:
    assert canonical_text({"b": 1, "a": [True, None]}) == canonical_text({"a": [True, None], "b": 1})


@pytest.mark.parametrize("value", [math.nan, {"a": [math.inf]}, b"bytes", {1, 2}, "\ud800"])
def test_what_is_no_json_value_is_refused_rather_than_changed(value) -> None:
    with pytest.raises(UserError, match="must be a JSON value"):
        canonical_text(value)


def test_whole_numbers_beyond_64_bits_keep_every_digit() -> None:
    text = canonical_text({"n": 2**80 + 1})
    assert text == '{"n":1208925819614629174706177}'
    assert parse_content(text) == {"n": 2**80 + 1}


def test_a_draft_is_the_same_unit_by_source_else_by_content() -> None:
    assert Draft(content=1, source="a").key_id() == Draft(content=2, source="a").key_id()
    assert Draft(content={"a": 1}).key_id() == Draft(content={"a": 1}).key_id() != Draft(content={"a": 2}).key_id()
    assert Draft(content=1, source="a", databit_id="own").key_id() == "own"


def test_readable_text_is_what_is_said_without_the_form() -> None:
    assert readable_text('{"prompt":"What?","scores":[1,2.5],"none":null,"ok":true}') == "What?\n1\n2.5\ntrue"
    assert readable_text('"plain"') == "plain"


def test_a_key_is_an_id_with_or_without_a_version() -> None:
    assert parse_key("abc@2") == ("abc", 2)
    assert parse_key("abc") == ("abc", None)
    with pytest.raises(UserError, match="whole number from 1"):
        parse_key("abc@x")
