"""The ways that make reading fast give what the plain ways give: looking for secrets, cutting JSON, listing zips."""

from __future__ import annotations

import gc
import io
import json
import sys
import zipfile
from datetime import timedelta, timezone
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.runs import sources, zip_directory
from pipelines.runs.archives import open_archive
from pipelines.runs.importers import packing
from pipelines.runs.importers.columns import as_lists, as_series
from pipelines.runs.importers.packing import RecordPacker, compress_records
from pipelines.runs.interpreter import tuned_interpreter
from pipelines.runs.json_parts import JsonCursor, split_object
from pipelines.runs.redaction import are_suspect, is_suspect, redact, redact_lines
from pipelines.runs.scanning import ScannedPieces, scan_ahead
from pipelines.runs.sources import Limits, SourceError, identify
from pipelines.runs.zip_directory import read_directory
from tests.runs.formats import TABLES, Tables, read
from tests.runs.run_files import inspect_header, inspect_sample, make_zip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Everything that the rules of redaction are about, and what may stand between.
WORDS = """
    authorization Proxy-Authorization api_key APIKEY my-api-key x-api-key access_token hf-token token input_tokens
    secret client_secret secret-key_id passwd password passphrase private_key set-cookie cookie credential credentials
    aws_access_key_id key sig signature bearer Basic sk- pk- task-specific hf_ ghp_ github_pat_ AKIA AIza xoxb-
    https:// https:\\/\\/ user:pw@host value name aaaaaaaaaaaa B9B9B9B9B9B9B9B9B9B9 0123456789
    ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ 12 é
""".split()  # noqa: SIM905 - a list of forty words is read as a text
SIGNS = ['"', '\\"', ":", ",", "=", "?", "&", " ", "\t", "\n", "\v", "\f", "[", "]", "{", "}", "'", "-", "_", "\\"]
TEXTS = st.lists(st.sampled_from(WORDS) | st.sampled_from(SIGNS), max_size=14).map(
    lambda parts: "".join(parts).encode()
)


@settings(deadline=None, max_examples=500)
@given(texts=st.lists(TEXTS | st.none(), max_size=4))
def test_lines_are_redacted_as_each_alone_would_be(texts: list[bytes | None]) -> None:
    assert redact_lines(texts) == [None if text is None else redact(text) for text in texts]
    for text in texts:
        assert text is None or redact(text) == text or is_suspect(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}',
        b'{"prompt": "Is it a secret? A basic question: the cookie jar, a task-specific password, API keys"}',
        b'{"metadata": {"key": "C major"}, "tokenizer": "x", "url": "https://example.org/a?page=1"}',
    ],
)
def test_what_evaluation_logs_say_all_the_time_is_no_suspect(text: bytes) -> None:
    assert not is_suspect(text)


@settings(deadline=None, max_examples=100)
@given(texts=st.lists(TEXTS, max_size=12), stretch=st.integers(1, 60), has_failure=st.booleans())
def test_blocks_are_looked_at_ahead_in_order(texts: list[bytes], stretch: int, *, has_failure: bool) -> None:
    def blocks() -> Iterator[bytes]:
        yield from texts
        if has_failure:
            raise SourceError("truncated", "cut")

    found: list[tuple[bytes, bool]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.runs.scanning._STRETCH_BYTES", stretch)
        if has_failure:
            with pytest.raises(SourceError, match="cut"):
                found.extend(scan_ahead(blocks(), text=bytes))
        else:
            found.extend(scan_ahead(blocks(), text=bytes))
    assert found == list(zip(texts, are_suspect(texts), strict=True))


@settings(deadline=None, max_examples=150)
@given(
    text=st.lists(TEXTS, min_size=1, max_size=8).map(b"".join),
    piece=st.integers(1, 40),
    seam=st.integers(0, 40),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_stretch_that_is_called_clean_is_clean(
    text: bytes, piece: int, seam: int, place: tuple[float, float]
) -> None:
    start, end = sorted(int(part * len(text)) for part in place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.runs.scanning._SEAM_BYTES", seam)
        pieces = ScannedPieces(iter([text[at : at + piece] for at in range(0, len(text), piece)]))
        for number, given_piece in enumerate(pieces):
            begin = number * piece
            if begin <= end <= begin + len(given_piece) and pieces.is_clean(start - begin, end - begin):
                assert redact(text[start:end]) == text[start:end]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(max_size=5)
    | st.sampled_from(['"', "\\", "]}", "{", "\n  }"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
LAYOUTS = st.sampled_from([None, 0, 1, 2, 4, "\t"])


@settings(deadline=None, max_examples=200)
@given(
    elements=st.lists(st.tuples(JSON, LAYOUTS, st.booleans()), max_size=6),
    layout=LAYOUTS,
    sizes=st.lists(st.integers(1, 60), max_size=30),
)
def test_elements_are_the_same_with_and_without_guessing_their_end(
    elements: list[tuple[Any, int | str | None, bool]], layout: int | str | None, sizes: list[int]
) -> None:
    # Each element in its own layout, some with NaN, which the fast parser refuses.
    texts = [
        json.dumps([float("nan"), value] if is_odd else {"x": value}, indent=indent)
        for value, indent, is_odd in elements
    ]
    outer = json.dumps({"before": 1, "samples": ["@"] * len(texts), "after": {"y": []}}, indent=layout)
    content = outer.replace('"@"', "%s").replace("%s", "\0").encode()
    for text in texts:
        content = content.replace(b"\0", text.encode(), 1)
    parts = list(split_object(iter(cut(content, sizes)), opened="samples", part_bytes=10_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JsonCursor, "take_indented", lambda _: None)
        plain = list(split_object(iter(cut(content, sizes)), opened="samples", part_bytes=10_000))
    assert [part[:3] for part in parts] == [part[:3] for part in plain]
    assert [part.raw for part in parts if part.index is not None] == [text.encode() for text in texts]
    for part in parts:
        assert part.raw is not None
        assert part.value is None or part.value == json.loads(part.raw)


def test_indented_elements_are_found_by_guessing() -> None:
    content = json.dumps({"samples": [{"n": n, "deep": {"m": [1, {}]}} for n in range(9)]}, indent=2).encode()
    parts = list(split_object(iter(cut(content, [40] * 40)), opened="samples", part_bytes=10_000))
    assert [part.value["n"] for part in parts] == list(range(9))


def test_why_a_file_breaks_off_is_told_after_a_look_ahead() -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"samples": [\n  {"n": 1\n  },\n  {"n"'
        raise SourceError("gzip", "The gzip stream is broken.")

    found = []
    with pytest.raises(SourceError, match="gzip stream"):
        found.extend(split_object(pieces(), opened="samples", part_bytes=100))
    assert [part.value for part in found] == [{"n": 1}]


def cut(content: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(content[at : at + size])
        at += size
    return [*pieces, content[at:]]


HIDDEN = "sk-hunter2hunter2hunter2hunter2"


@settings(deadline=None, max_examples=15)
@given(piece_bytes=st.integers(40, 3_000), layout=LAYOUTS, comes_first=st.booleans())
def test_a_json_log_gives_the_same_rows_however_it_is_cut(
    piece_bytes: int, layout: int | str | None, tmp_path_factory: pytest.TempPathFactory, *, comes_first: bool
) -> None:
    samples = [inspect_sample(index) for index in range(6)]
    samples[2]["output"]["completion"] = f"use {HIDDEN} now"
    samples[4]["scores"]["match"]["value"] = float("nan")
    samples.append(inspect_sample(3))
    header = inspect_header(6)
    log = {"samples": samples, **header} if comes_first else {**header, "samples": samples, "tags": ["late"]}
    path = tmp_path_factory.mktemp("log") / "log.json"
    path.write_text(json.dumps(log, indent=layout))
    whole = read(path)
    assert whole["silver.outputs"]["sample_id"].to_list() == ["0", "1", "2", "3", "4", "5"]
    assert whole["silver.outputs"]["output"][2] == "use [redacted] now"
    assert sorted(whole["bronze.rejects"]["rule"]) == ["duplicate", "scores.match.value: finite"]
    assert whole["silver.runs"]["tags"].to_list() == [["night"] if comes_first else ["late", "night"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_PIECE_BYTES", piece_bytes)
        patch.setattr("pipelines.runs.scanning._STRETCH_BYTES", 2_000)
        patch.setattr("pipelines.runs.scanning._SEAM_BYTES", 500)
        pieces: Tables = read(path)
    for table in TABLES:
        assert pieces[table].equals(whole[table]), table


NAMES = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs",)), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(
    contents=st.dictionaries(NAMES, st.binary(max_size=60), max_size=6),
    comment=st.binary(max_size=3),
    prefix=st.binary(max_size=3),
    spoil=st.none() | st.tuples(st.floats(0, 1), st.integers(0, 255)),
)
def test_a_zip_is_listed_as_zipfile_lists_it(
    contents: dict[str, bytes], comment: bytes, prefix: bytes, spoil: tuple[float, int] | None
) -> None:
    stream = io.BytesIO(prefix)
    stream.seek(0, 2)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
        archive.comment = comment
    packed = bytearray(stream.getvalue())
    if spoil is not None:
        packed[int(spoil[0] * (len(packed) - 1))] = spoil[1]
    found = read_directory(io.BytesIO(packed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zip_directory, "_read_plain", lambda _: None)
        expected = read_directory(io.BytesIO(packed))
    assert found == expected
    if spoil is None:
        assert [member.name for member in found.members] == list(contents)


def test_a_zip_of_very_many_members_is_listed_without_zipfile(monkeypatch: pytest.MonkeyPatch) -> None:
    # More than 65,535 members need the long form of the end.
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number in range(65_540):
            archive.writestr(str(number), b"")
    monkeypatch.delattr(zipfile, "ZipFile")
    members = read_directory(stream).members
    assert [members[0].name, members[-1].name, len(members)] == ["0", "65539", 65_540]


@pytest.mark.parametrize("is_sized", [True, False])
def test_zstd_members_are_read_whole_in_frames_of_any_kind(tmp_path: Path, *, is_sized: bool) -> None:
    frame = zstandard.ZstdCompressor(write_content_size=is_sized)
    content = b"a sample " * 50
    two_frames = frame.compress(content[:200]) + frame.compress(content[200:])
    for packed in (frame.compress(content), two_frames):
        blank = make_zip({"a": content}, method=93)
        was = zstandard.ZstdCompressor().compress(content)
        (tmp_path / "a.zip").write_bytes(_with_member(blank, was, packed))
        file = identify(tmp_path / "a.zip", root=tmp_path.resolve(), limits=Limits())
        with open_archive(file, limits=Limits()) as archive:
            assert archive.read(archive.members[0]) == content


def _with_member(archive: bytes, was: bytes, packed: bytes) -> bytes:
    """The zip with other packed bytes in its only member, and their size put right in all three places."""
    at = archive.index(was)
    size = len(packed).to_bytes(4, "little")
    local = archive[:18] + size + archive[22:at] + packed
    entry = bytearray(archive[at + len(was) :])
    entry[20:24] = size
    entry[-6:-2] = len(local).to_bytes(4, "little")
    return local + bytes(entry)


@settings(deadline=None, max_examples=50)
@given(records=st.lists(st.binary(max_size=200), max_size=30), block=st.integers(1, 500))
def test_each_record_is_a_frame_of_its_own_in_order(records: list[bytes], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_BLOCK_BYTES", block)
        packer = RecordPacker()
        for record in records:
            packer.add(record)
        assert (packer.count, packer.byte_count) == (len(records), sum(map(len, records)))
        frames = packer.take()
    assert [zstandard.ZstdDecompressor().decompress(frame) for frame in frames] == records
    assert frames == compress_records(records)
    assert (packer.count, packer.byte_count, packer.take()) == (0, 0, [])


def _offset(minutes: int) -> timezone:
    return timezone(timedelta(minutes=minutes))


VALUES: list[tuple[pl.DataType, st.SearchStrategy[Any]]] = [
    (pl.String(), st.text(st.characters(exclude_categories=("Cs",)), max_size=5)),
    (pl.Binary(), st.binary(max_size=5)),
    (pl.Int64(), st.integers(-(2**63), 2**63 - 1)),
    (pl.Int32(), st.integers(0, 9)),
    (pl.Float64(), st.floats(allow_nan=False)),
    (pl.Boolean(), st.booleans()),
    (pl.Date(), st.dates()),
    # A moment at which clocks were put back equals nothing in another zone (PEP 495), itself included: fixed offsets.
    (pl.Datetime("us", "UTC"), st.datetimes(timezones=st.integers(-720, 720).map(_offset))),
]


@pytest.mark.parametrize(("dtype", "values"), VALUES, ids=[str(dtype) for dtype, _ in VALUES])
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_columns_hold_what_they_were_made_of(
    dtype: pl.DataType, values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.none() | st.lists(st.none() | values, max_size=3), max_size=5))
    flat = [value for row in rows for value in row or ()]
    items = as_series("x", flat, dtype)
    assert (items.name, items.dtype, items.to_list()) == ("x", dtype, flat)
    lists = as_lists("y", items, rows)
    assert (lists.name, lists.dtype, lists.to_list()) == ("y", pl.List(dtype), rows)


def test_whole_numbers_may_be_written_as_floats_and_texts_may_not() -> None:
    assert as_series("n", [3.0, None], pl.Int64()).to_list() == [3, None]
    with pytest.raises(ValueError, match="int64"):
        as_series("n", ["3"], pl.Int64())


def test_python_is_as_it_was_after_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    freeze, unfreeze = gc.freeze, gc.unfreeze
    # Counted by call, since objects that are frozen may still go, and be fewer a moment later.
    monkeypatch.setattr(gc, "freeze", lambda: (calls.append("freeze"), freeze()))
    monkeypatch.setattr(gc, "unfreeze", lambda: (calls.append("unfreeze"), unfreeze()))
    interval = sys.getswitchinterval()
    with tuned_interpreter():
        assert gc.get_freeze_count() > 0
        assert sys.getswitchinterval() < interval
        with tuned_interpreter():
            pass
        assert calls == ["freeze"]
    assert calls == ["freeze", "unfreeze"]
    assert gc.get_freeze_count() == 0
    assert sys.getswitchinterval() == pytest.approx(interval)
