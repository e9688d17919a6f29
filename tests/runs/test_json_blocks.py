from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.runs.json_blocks import Block, split_blocks
from pipelines.runs.json_parts import Part
from pipelines.runs.sources import SourceError


def in_pieces(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


def collected(content: bytes, **options: int) -> tuple[list[Any], str | None]:
    """Blocks and parts, and the rule of the failure that ended them."""
    found: list[Any] = []
    parts = split_blocks(
        in_pieces(content, options.get("piece", 100)),
        opened="rows",
        part_bytes=options.get("limit", 1 << 20),
        clean=lambda raw: raw,
        block_bytes=options.get("block", 400),
    )
    try:
        for part in parts:
            found.append(part)  # noqa: PERF402  # what came before a failure counts
    except SourceError as error:
        return found, error.rule
    return found, None


def values_of(blocks: list[Block]) -> list[Any]:
    return [value for block in blocks for value in (block.values or map(orjson.loads, block.parts))]


ROWS = [{"n": n, "args": {"list": [{"n": "}, {"}, {"n": [n]}], "text": 'a "quoted" \\ {'}} for n in range(60)]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("piece", [1, 7, 100, 10_000])
def test_blocks_hold_every_element_once_and_in_order(indent: int | None, piece: int) -> None:
    found, failure = collected(json.dumps({"rows": ROWS, "after": [1]}, indent=indent).encode(), piece=piece)
    blocks = [part for part in found if isinstance(part, Block)]
    assert failure is None
    assert values_of(blocks) == ROWS
    assert len(blocks) > 5
    assert [block.first_index for block in blocks[1:]] == [block.end_index for block in blocks[:-1]]
    assert found[-1] == Part("after", None, found[-1].raw)
    assert all(orjson.loads(b"[" + block.raw + b"]") == block.values for block in blocks)


def test_blocks_do_not_depend_on_how_the_bytes_arrive() -> None:
    content = json.dumps({"rows": ROWS}).encode()
    assert collected(content, piece=1) == collected(content, piece=333) == collected(content, piece=1 << 20)


@pytest.mark.parametrize("ending", [b"]", b"", b",", b",\n", b" , ]"])
def test_a_bare_array_needs_no_end(ending: bytes) -> None:
    found, failure = collected(json.dumps(ROWS).encode()[:-1] + ending)
    assert (values_of(found), failure) == (ROWS, None)


def test_an_array_in_an_object_needs_its_end() -> None:
    found, failure = collected(json.dumps({"rows": ROWS}).encode()[:-2])
    assert (values_of(found), failure) == (ROWS, "truncated")


def test_a_cut_element_ends_the_reading_after_those_before_it() -> None:
    content = json.dumps(ROWS).encode()
    found, failure = collected(content[: content.index(b'"n": 41') + 12])
    assert (values_of(found), failure) == (ROWS[:41], "truncated")


def parts_of(blocks: list[Block]) -> list[bytes | None]:
    return [
        part for block in blocks for part in (block.parts if block.values is None else map(orjson.dumps, block.values))
    ]


def parses(part: bytes | None) -> bool:
    try:
        return part is not None and orjson.loads(part) is not None
    except orjson.JSONDecodeError:
        return False


@pytest.mark.parametrize("bad", [b'{"n": "a"b"}', b'{"n": {}', b'{"n": NaN}', b'{"n": "\x01"}', b'{"n": [}', b"{n}"])
def test_a_broken_element_costs_no_other(bad: bytes) -> None:
    rows = [json.dumps({"n": n}).encode() for n in range(50)]
    found, failure = collected(b'{"rows": [' + b", ".join([*rows[:20], bad, *rows[20:]]) + b"]}", block=200)
    parts = parts_of(found)
    assert failure is None
    assert [orjson.loads(part)["n"] for part in parts if part and parses(part)] == list(range(50))
    assert parts[20] == bad


def test_a_bracket_too_many_ends_the_reading_after_those_before_it() -> None:
    found, failure = collected(b'[{"n": 1}, {"n": 2}}, {"n": 3}]')
    assert (values_of(found), failure) == ([{"n": 1}, {"n": 2}], "json")


def test_an_element_over_the_limit_is_told_and_stepped_over() -> None:
    rows = [*ROWS[:3], {"n": ["x"] * 3_000}, *ROWS[3:]]
    found, failure = collected(json.dumps(rows).encode(), limit=2_000)
    parts = parts_of(found)
    assert failure is None
    assert parts[3] is None
    assert [orjson.loads(part) for part in parts if part is not None] == ROWS


def test_what_is_handed_out_has_been_cleaned() -> None:
    parts = split_blocks(
        in_pieces(json.dumps({"key": "hush", "rows": [*ROWS, {"n": "hush"}]}).encode(), 100),
        opened="rows",
        part_bytes=1 << 20,
        clean=lambda raw: raw.replace(b"hush", b"clean"),
        block_bytes=400,
    )
    assert not any(b"hush" in part.raw for part in parts if part.raw is not None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(JSON, max_size=12),
    piece=st.integers(1, 40),
    block=st.integers(8, 200),
    indent=st.sampled_from([None, 1]),
)
def test_any_array_is_read_as_a_parser_reads_it(rows: list[Any], piece: int, block: int, indent: int | None) -> None:
    content = json.dumps({"rows": rows, "after": 1}, indent=indent).encode()
    found, failure = collected(content, piece=piece, block=block)
    assert failure is None
    assert values_of([part for part in found if isinstance(part, Block)]) == rows
