import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evidence.json_diff import (
    MAX_JSON_CHANGES,
    MAX_JSON_CHARACTERS,
    MAX_JSON_DEPTH,
    JsonChange,
    compact,
    describe,
    diff_json,
    parse_container,
)

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-1000, 1000), st.sampled_from([0.5, 1e3, -2.25]), st.text(max_size=4)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=4)),
)
CONTAINERS = st.one_of(st.lists(VALUES, max_size=4), st.dictionaries(st.text(max_size=3), VALUES, max_size=4))
law = settings(deadline=None, max_examples=150)


def changes(baseline: str, candidate: str) -> list[tuple]:
    return [tuple(change) for change in diff_json(parse_container(baseline), parse_container(candidate))]


def shuffled(value, choose):
    """The same value with the keys of every object in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], choose) for key in choose(list(value))}
    return [shuffled(one, choose) for one in value] if isinstance(value, list) else value


@given(CONTAINERS, st.randoms(use_true_random=False), st.sampled_from([None, 2]))
@law
def test_key_order_layout_and_a_fence_make_no_difference(value, random, indent):
    other = shuffled(value, lambda keys: random.sample(keys, len(keys)))
    fenced = f"```json\n{json.dumps(other, indent=indent)}\n```"
    assert changes(json.dumps(value), fenced) == []


@given(CONTAINERS, CONTAINERS)
@law
def test_there_is_a_change_exactly_where_the_values_differ(left, right):
    ours, theirs = (parse_container(json.dumps(value)) for value in (left, right))
    found = diff_json(ours, theirs)
    assert (found == ()) == (compact(ours) == compact(theirs))
    assert (found == ()) == (diff_json(theirs, ours) == ())
    # Equal for Python, with true kept apart from 1: the oracle.
    assert (found == ()) == (_typed(left) == _typed(right))


def _typed(value):
    if isinstance(value, dict):
        return {key: _typed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_typed(one) for one in value]
    return ("number", float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value


@given(st.dictionaries(st.text(max_size=3), SCALARS, min_size=1, max_size=5), st.data())
@law
def test_a_key_that_went_is_one_path_removed(value, data):
    gone = data.draw(st.sampled_from(sorted(value)))
    rest = {key: one for key, one in value.items() if key != gone}
    (change,) = diff_json(parse_container(json.dumps(value)), parse_container(json.dumps(rest)))
    assert (change.change, change.path) == ("removed", "/" + gone.replace("~", "~0").replace("/", "~1"))


@pytest.mark.parametrize(
    ("baseline", "candidate", "expected"),
    [
        ('{"a": 1}', '{"a": 1.0}', []),
        ('{"a": 1000}', '{"a": 1e3}', []),
        ('{"a": 1}', '{"a": 2}', [("/a", "changed", 1, 2)]),
        ('{"a": -1}', '{"a": -2}', [("/a", "changed", -1, -2)]),
        ('{"a": true}', '{"a": 1}', [("/a", "changed", True, 1)]),
        ('{"a": "x"}', '{"a": "X"}', [("/a", "changed", "x", "X")]),
        ('{"a": null}', "{}", [("/a", "removed", None, None)]),
        ("[1, 2, 3]", "[1, 9, 2, 3]", [("/1", "added", None, 9)]),
        ("[1, 2, 3]", "[2, 3]", [("/0", "removed", 1, None)]),
        ('[{"a": 1}, {"b": 2}]', '[{"a": 1}, {"b": 3}]', [("/1/b", "changed", 2, 3)]),
        ('{"x/y": {"~": 1}}', '{"x/y": {"~": 2}}', [("/x~1y/~0", "changed", 1, 2)]),
        ("{}", "[]", [("", "changed", {}, [])]),
    ],
)
def test_changes_by_hand(baseline, candidate, expected):
    assert changes(baseline, candidate) == expected


def test_the_order_of_elements_counts():
    # Either of the two may be the one that moved.
    assert sorted(change[1] for change in changes("[1, 2]", "[2, 1]")) == ["added", "removed"]


@pytest.mark.parametrize(
    "text",
    ["42", '"x"', "null", "[1, 2", '{"a": 1, "a": 2}', "[NaN]", "{'a': 1}", "", "prose [1]", "``` \nx\n```",
     "[1e99999999999999999999]", "[" * (MAX_JSON_DEPTH + 1) + "]" * (MAX_JSON_DEPTH + 1),
     f"[{' ' * MAX_JSON_CHARACTERS}]"],
)  # fmt: skip
def test_what_is_no_object_or_array_is_prose(text):
    assert parse_container(text) is None


def test_numbers_are_compared_exactly_and_without_growing():
    long = "1" * 40
    assert changes(f"[{long}1]", f"[{long}2]") != []
    assert changes("[1e1000000]", "[10e999999]") == []
    assert compact([Decimal("1e1000000"), Decimal("0.250"), Decimal("-0"), Decimal("1E+2")]) == "[1e1000000,0.25,0,100]"


def test_a_list_of_changes_has_an_end():
    ours, theirs = ({str(number): number + add for number in range(MAX_JSON_CHANGES + 50)} for add in (0, 1))
    assert len(changes(json.dumps(ours), json.dumps(theirs))) == MAX_JSON_CHANGES


def test_a_change_in_one_line():
    assert describe(JsonChange("/a", "changed", Decimal("1.0"), "x"), limit=9) == '/a changed: 1 \u2192 "x"'
    assert describe(JsonChange("/a", "removed", None), limit=9) == "/a removed: null"
    assert describe(JsonChange("", "added", candidate=["abcdef"]), limit=4) == '/ added: ["ab\u2026'
