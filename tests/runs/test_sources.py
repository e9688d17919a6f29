from __future__ import annotations

import gzip
import json
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.runs.archives import open_archive
from pipelines.runs.json_parts import split_object
from pipelines.runs.records import RecordError, as_count, as_instant, as_number, parse_json
from pipelines.runs.redaction import redact, redact_lines
from pipelines.runs.sources import (
    Limits,
    SourceError,
    SourceFile,
    identify,
    packing_of,
    read_head,
    read_lines,
    read_pieces,
    walk_files,
)
from tests.runs.run_files import make_zip

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Limits(line_bytes=100, member_bytes=10_000, expansion=10, expansion_floor_bytes=1_000)


def source(path: Path, content: bytes) -> SourceFile:
    path.write_bytes(content)
    return identify(path, root=path.parent.resolve(), limits=Limits())


def cut(content: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(content[at : at + size])
        at += size
    return [*pieces, content[at:]]


@settings(deadline=None, max_examples=100)
@given(
    lines=st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=20),
    sizes=st.lists(st.integers(1, 40), max_size=20),
    is_closed=st.booleans(),
)
@example(lines=[b"\xef\xbb\xbf"], sizes=[], is_closed=False)
def test_lines_do_not_depend_on_how_the_bytes_arrive(lines: list[bytes], sizes: list[int], *, is_closed: bool) -> None:
    content = b"\n".join(lines) + (b"\n" if is_closed and lines else b"")
    blocks = list(read_lines(iter(cut(content, sizes)), line_bytes=100))
    expected = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    assert [line for block in blocks for line in block.lines] == expected
    assert [block.first_index for block in blocks] == [
        sum(len(earlier.lines) for earlier in blocks[:n]) for n in range(len(blocks))
    ]


@pytest.mark.parametrize("piece", [7, 50, 10_000])
def test_a_huge_line_is_stepped_over(piece: int) -> None:
    content = b"one\n" + b"x" * 5_000 + b"\nthree"
    pieces = (content[at : at + piece] for at in range(0, len(content), piece))
    blocks = list(read_lines(pieces, line_bytes=100))
    assert [line for block in blocks for line in block.lines] == [b"one", None, b"three"]
    assert blocks[-1].is_cut


def test_gzip_is_unpacked_and_a_cut_one_gives_what_it_has(tmp_path: Path) -> None:
    content = b"".join(b'{"n": %d}\n' % n for n in range(5_000))
    whole = source(tmp_path / "a.jsonl.gz", gzip.compress(content) + gzip.compress(b"more\n"))
    assert b"".join(read_pieces(whole, limits=Limits())) == content + b"more\n"
    broken = source(tmp_path / "b.jsonl.gz", gzip.compress(content)[:-200])
    got = []
    with pytest.raises(SourceError, match="ends in the middle"):
        got.extend(read_pieces(broken, limits=Limits()))
    assert content.startswith(b"".join(got))
    assert len(b"".join(got)) > 1_000


def test_a_gzip_bomb_is_stopped(tmp_path: Path) -> None:
    bomb = source(tmp_path / "bomb.gz", gzip.compress(b"0" * 3_000_000))
    with pytest.raises(SourceError, match="unpack"):
        list(read_pieces(bomb, limits=SMALL))


@pytest.mark.parametrize("method", [0, 8, 93])
def test_members_come_back_in_every_compression(tmp_path: Path, method: int) -> None:
    members = {"header.json": b"{}", "samples/1_epoch_1.json": os.urandom(3_000)}
    with open_archive(source(tmp_path / "a.zip", make_zip(members, method=method)), limits=Limits()) as archive:
        assert {member.name: archive.read(member) for member in archive.members} == members


@pytest.mark.parametrize("method", [8, 93])
def test_a_declared_bomb_is_not_unpacked(tmp_path: Path, method: int) -> None:
    bomb = source(tmp_path / "bomb.zip", make_zip({"a": b"0" * 100_000}, method=method))
    with pytest.raises(SourceError, match="unpack") as caught, open_archive(bomb, limits=SMALL):
        pass
    assert caught.value.rule == "expansion"


@pytest.mark.parametrize("method", [8, 93])
def test_a_bomb_that_lies_about_its_size_is_stopped(tmp_path: Path, method: int) -> None:
    packed = make_zip({"a": b"0" * 100_000}, method=method, declared={"a": 50})
    with open_archive(source(tmp_path / "bomb.zip", packed), limits=SMALL) as archive:
        with pytest.raises(SourceError) as caught:
            archive.read(archive.members[0])
        assert caught.value.rule == "size"


def test_overlapping_members_are_a_bomb(tmp_path: Path) -> None:
    packed = bytearray(make_zip({"a": b"0123456789", "b": b"0123456789"}, method=0))
    second = packed.rindex(b"PK\x01\x02")
    packed[second + 42 : second + 46] = bytes(4)
    with (
        pytest.raises(SourceError, match="overlap"),
        open_archive(source(tmp_path / "b.zip", bytes(packed)), limits=Limits()),
    ):
        pass


def test_a_zip_without_directory_gives_its_whole_members(tmp_path: Path) -> None:
    packed = make_zip({"a": b"first", "b": b"second" * 10, "c": b"third" * 10}, method=0)
    broken = source(tmp_path / "cut.zip", packed[: packed.index(b"third") + 7])
    with open_archive(broken, limits=Limits()) as archive:
        assert archive.is_truncated
        assert [archive.read(member) for member in archive.members[:2]] == [b"first", b"second" * 10]
        with pytest.raises(SourceError):
            archive.read(archive.members[2])


def test_a_damaged_member_is_noticed(tmp_path: Path) -> None:
    packed = make_zip({"a": b"0123456789"}, method=0).replace(b"0123456789", b"0123X56789", 1)
    with open_archive(source(tmp_path / "a.zip", packed), limits=Limits()) as archive:
        (member,) = archive.members
        with pytest.raises(SourceError, match="checksum"):
            archive.read(member)


def test_links_out_of_the_root_special_files_and_absent_ones_are_refused(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out.txt"
    inside.mkdir()
    outside.write_text("secret")
    (inside / "link").symlink_to(outside)
    os.mkfifo(inside / "pipe")
    (inside / "loop").symlink_to(inside / "loop")
    for name, rule in {
        "link": "inside_root",
        "../out.txt": "inside_root",
        "pipe": "regular_file",
        "absent": "readable",
        "loop": "readable",
    }.items():
        with pytest.raises(SourceError) as caught:
            identify(inside / name, root=inside.resolve(), limits=Limits())
        assert caught.value.rule == rule


def test_too_large_a_file_is_not_even_hashed(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"0" * 11)
    with pytest.raises(SourceError, match="limit is 10"):
        identify(path, root=tmp_path.resolve(), limits=Limits(file_bytes=10))


def test_walking_skips_hidden_and_partial_names(tmp_path: Path) -> None:
    for name in ("b/x.json", "a.json", ".hidden", ".git/y.json", "c.json.partial", "d.partial.json", "e.partial-1"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    assert [str(path.relative_to(tmp_path)) for path in walk_files(tmp_path)] == ["a.json", "b/x.json"]


def test_the_head_knows_packing_and_first_record(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfnot json\n{"a": 1}\n'
    for name, packed, packing in (("p", content, "plain"), ("g", gzip.compress(content), "gzip")):
        head = read_head(source(tmp_path / name, packed), limits=Limits())
        assert (head.packing, head.record) == (packing, {"a": 1})
    zipped = source(tmp_path / "z", make_zip({"m": b""}))
    assert packing_of(zipped) == "zip"
    assert read_head(zipped, limits=Limits()).members == {"m"}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=8)
    | st.sampled_from(['"', "\\", "]}", "{"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(
    value=st.dictionaries(st.sampled_from(["a", "b", "samples", "z"]), JSON, max_size=4),
    indent=st.sampled_from([None, 2]),
    sizes=st.lists(st.integers(1, 20), max_size=30),
)
def test_parts_of_an_object_are_its_members(value: dict[str, object], indent: int | None, sizes: list[int]) -> None:
    content = json.dumps(value, indent=indent, ensure_ascii=False).encode()
    found: dict[str, object] = {}
    if isinstance(value.get("samples"), list):
        found["samples"] = []
    for part in split_object(iter(cut(content, sizes)), opened="samples", part_bytes=10_000):
        assert part.raw is not None
        if part.index is None:
            found[part.key] = json.loads(part.raw)
        else:
            samples = found["samples"]
            assert isinstance(samples, list)
            assert part.index == len(samples)
            samples.append(json.loads(part.raw))
    assert found == value


def test_a_cut_object_gives_the_parts_before_the_cut_and_oversize_ones_as_none() -> None:
    content = json.dumps({"a": 1, "samples": [{"n": 1}, {"n": "x" * 5_000, "m": [1] * 50}, {"n": 3}]}).encode()
    parts = list(split_object(iter(cut(content, [100] * 60)), opened="samples", part_bytes=3_000))
    assert [part.raw for part in parts] == [b"1", b'{"n": 1}', None, b'{"n": 3}']
    got = []
    with pytest.raises(SourceError, match="ends in the middle"):
        got.extend(split_object(iter([content[:40]]), opened="samples", part_bytes=3_000))
    assert [part.raw for part in got] == [b"1", b'{"n": 1}']


def test_json_of_other_tools() -> None:
    value, faults = parse_json(b'{"a": {"b": [1, NaN, -Infinity]}, "s": "x\\ud800y"}')
    assert value == {"a": {"b": [1, None, None]}, "s": "x\ufffdy"}
    assert [fault.rule for fault in faults] == ["a.b[1]: finite", "a.b[2]: finite"]
    for raw, rule in {b'{"a": "\xff"}': "encoding", b"{": "json", b"[" * 100_000: "json"}.items():
        with pytest.raises(RecordError) as caught:
            parse_json(raw)
        assert caught.value.rule == rule


def test_fields_that_hold_anything() -> None:
    faults = []
    assert as_number("1.5", "f", faults) == 1.5
    assert as_number(True, "f", faults) == 1.0
    assert as_count(3.0, "f", faults) == 3
    assert as_instant("2026-01-01T00:00:00", "f", faults) == as_instant(1767225600, "f", faults)
    assert not faults
    for value in (float("inf"), "x", [], 10**400):
        assert as_number(value, "f", faults) is None
    for value in (-1, 2**63, True, "3", 1.5):
        assert as_count(value, "f", faults) is None
    for value in ("yesterday", 1e300, {}):
        assert as_instant(value, "f", faults) is None
    assert len(faults) == 12


SECRETS = {
    b'{"model_base_url": "https://user:hunter2secret@host/v1?api_key=hunter2secret&x=1"}': b"https://[redacted]@host/v1",
    b'{"headers": {"Authorization": "Bearer hunter2secret"}}': b'"Authorization": "[redacted]"',
    b'{"OPENAI_API_KEY": "hunter2\\"secret"}': b'"OPENAI_API_KEY": "[redacted]"}',
    b'{"args": "model=m,api_key=hunter2secret,x=1"}': b",x=1",
    b'{"h": [["authorization", "Basic hunter2secret"], ["accept", "json"]]}': b'["accept", "json"]',
    b'{"h": {"name": "Authorization", "value": "hunter2secret"}}': b'"name": "Authorization"',
    b'{"body": "{\\"api_key\\": \\"hunter2secret\\", \\"n\\": 1}"}': b'\\"n\\": 1}"}',
    b'{"password": ["hunter2secret"]}': b'{"password": ["[redacted]"]}',
    b'{"text": "use sk-hunter2secrethunter2secret now"}': b'"use [redacted] now"',
    b'{"u": "https:\\/\\/a:hunter2secret@host"}': b"@host",
}


@pytest.mark.parametrize(("raw", "kept"), SECRETS.items())
def test_secrets_are_taken_out_and_the_rest_stays_json(raw: bytes, kept: bytes) -> None:
    json.loads(raw)
    for cleaned in (redact(raw), redact_lines([b"{}", raw, None])[1]):
        assert cleaned is not None
        assert b"hunter2" not in cleaned
        assert kept in cleaned
        json.loads(cleaned)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"token": "the", "tokens": ["a"], "token_id": 5, "logprob": -1}',
        b'{"prompt": "The secret of a good password is length. My key is a note: key = C major. mail me@example.org"}',
        b'{"input_token_count": 5, "url": "https://example.org/a@b?page=2"}',
    ],
)
def test_ordinary_words_are_left_alone(raw: bytes) -> None:
    assert redact(raw) == raw


@settings(deadline=None, max_examples=100)
@given(value=JSON)
def test_redaction_keeps_json_readable_and_is_stable(value: object) -> None:
    raw = json.dumps({"api_key": value, "password": str(value)}).encode()
    once = redact(raw)
    json.loads(once)
    assert redact(once) == once
    assert redact_lines([raw]) == [once]
