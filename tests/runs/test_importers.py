"""One suite for every importer; what each format alone must do is in test_importer_<kind>.py."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.identity import text_digest
from lake.tables import CONTRACTS
from pipelines.runs.importers import IMPORTERS, detect_importer, frames, importer_of
from pipelines.runs.sources import Limits, identify, read_head
from tests.runs.formats import (
    TABLES,
    Format,
    declared_formats,
    everything,
    group_of,
    raw_text,
    read,
    read_bytes,
    rules,
)
from tests.runs.run_files import make_zip

FORMATS = declared_formats()


def each(*, where: str | None = None) -> pytest.MarkDecorator:
    """Every format, or those that have something."""
    chosen = [form for form in FORMATS if where is None or getattr(form, where)]
    return pytest.mark.parametrize("form", chosen, ids=str)


def test_every_importer_is_under_test() -> None:
    assert {form.source_kind for form in FORMATS} == set(IMPORTERS)


@each()
def test_good_files_land_whole(form: Format, tmp_path: Path) -> None:
    tables = read(form.write(tmp_path, form.good()))
    assert set(form.identities(0, 1, 2)) <= set(form.landed(tables))
    assert rules(tables) == []
    runs = tables["silver.runs"]
    assert runs.height >= 1
    for table in ("silver.outputs", "silver.output_tokens", "silver.run_metrics", "silver.run_params", "silver.spans"):
        assert set(tables[table]["run_id"]) <= set(runs["run_id"]), f"{table} has rows of no run"
        assert tables[table].select(CONTRACTS[table].key).is_duplicated().sum() == 0
    outputs = tables["silver.outputs"]
    for name in ("prompt", "output"):
        digests = [None if text is None else text_digest(text) for text in outputs[name]]
        assert outputs[f"{name}_digest"].to_list() == digests
    form.good_tables(tables)


@each()
def test_only_its_own_importer_detects_a_file(form: Format, tmp_path: Path) -> None:
    path = form.write(tmp_path, form.good())
    head = read_head(identify(path, root=tmp_path.resolve(), limits=Limits()), limits=Limits())
    assert [kind for kind, importer in IMPORTERS.items() if importer.detects(head)] == [form.source_kind]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"hello",
        b"{}",
        b"[]",
        b'{"a": 1}',
        b"[1, 2, 3]",
        b'{"results": {}}',
        b"\x00\xff" * 99,
        make_zip({"a.txt": b"hello"}),
        b'{"type": "function", "name": "x"}',
        b'{"id": 1, "input": "x"}\n',
        b"dear all,\nsee you at 5, or at 6\n",
        b"name,city\nann,rome\n",
        b"SQLite format 3\x00" + bytes(4096),
        '{"type": "run", "suite": "x"}'.encode("utf-16"),
    ],
)
def test_other_files_are_nobodys(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_bytes(content)
    file = identify(tmp_path / "run.jsonl", root=tmp_path.resolve(), limits=Limits())
    assert detect_importer(read_head(file, limits=Limits())) is None


@each()
def test_reading_again_gives_the_same_rows(form: Format, tmp_path: Path) -> None:
    path = form.write(tmp_path, form.good())
    first, second = read(path), read(path)
    for table in TABLES:
        assert first[table].equals(second[table])


@each(where="is_streamed")
def test_batches_are_bounded_and_do_not_change_the_rows(
    form: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = form.write(tmp_path, form.good(7))
    whole = read(path)
    monkeypatch.setattr(frames, "CHUNK_RECORDS", 2)
    batches = list(importer_of(form.source_kind).read(group_of(path), limits=Limits()))
    assert max(batch.record_count for batch in batches) <= 2
    assert [batch.chunk for batch in batches] == list(range(len(batches)))
    for table, attribute in TABLES.items():
        assert pl.concat([getattr(batch, attribute) for batch in batches]).equals(whole[table])


@each()
def test_unknown_keys_stay_in_the_raw_record(form: Format, tmp_path: Path) -> None:
    records = [form.record(0) | {"left_over": {"deep": ["unseen-value"]}}, form.record(1)]
    assert "unseen-value" in raw_text(read(form.write(tmp_path, records)))


@each()
def test_secrets_are_redacted_everywhere(form: Format, tmp_path: Path) -> None:
    clean, spoiled = form.secret(form.record(0)), form.secret(form.record(1))
    tables = read(form.write(tmp_path, [clean, spoiled]))
    assert set(form.identities(0, 1)) <= set(form.landed(tables))
    assert "hunter2" not in everything(tables)
    assert "[redacted]" in raw_text(tables)


@each(where="nan")
def test_nan_is_null_and_named_and_the_record_lands(form: Format, tmp_path: Path) -> None:
    assert form.nan is not None
    tables = read(form.write(tmp_path, [form.record(0), form.nan(form.record(1)), form.record(2)]))
    assert set(form.identities(0, 2)) <= set(form.landed(tables))
    assert [rule for rule in rules(tables) if not rule.endswith("finite")] == []
    assert len(rules(tables)) == 1


@each(where="has_duplicates")
def test_a_duplicate_counts_once(form: Format, tmp_path: Path) -> None:
    tables = read(form.write(tmp_path, [form.record(0), form.record(1), form.record(0)]))
    landed = form.landed(tables)
    assert [identity for identity in landed if identity in form.identities(0, 1)] == form.identities(0, 1)
    assert rules(tables)[0] == "duplicate"


@each(where="surrogate")
def test_lone_surrogates_are_replaced(form: Format, tmp_path: Path) -> None:
    assert form.surrogate is not None
    tables = read(form.write(tmp_path, [form.surrogate(form.record(0))]))
    assert "a\ufffdb" in everything(tables)


@each(where="cut_before")
def test_a_truncated_file_gives_what_is_whole(form: Format, tmp_path: Path) -> None:
    assert form.cut_before is not None
    content = form.pack(form.good(5))
    tables = read_bytes(tmp_path, form.name, content[: form.cut_before(content)])
    landed = set(form.landed(tables))
    assert set(form.identities(0, 1, 2)) <= landed
    assert form.identity(4) not in landed
    assert "truncated" in rules(tables)


@each(where="is_lines")
def test_bad_lines_are_rejected_by_number_and_the_rest_lands(form: Format, tmp_path: Path) -> None:
    lines = form.pack(form.good(4)).splitlines()
    at = form.header_lines
    bad = [b'{"broken": ', b'{"encoding": "\xff\xfe"}', b"[1, 2]", b'{"huge": "' + b"x" * 9_000 + b'"}', b"[" * 3_000]
    content = b"\r\n".join([*lines[: at + 1], *bad, b"", *lines[at + 1 :]]) + b"\n"
    tables = read_bytes(tmp_path, form.name, content, limits=Limits(line_bytes=8_000))
    assert set(form.identities(0, 1, 2, 3)) <= set(form.landed(tables))
    assert rules(tables) == ["json", "encoding", "object", "line_bytes", "json"]
    assert tables["bronze.rejects"]["record_index"].to_list() == [at + 1 + n for n in range(5)]
    assert f"Line {at + 2}:" in tables["bronze.rejects"]["message"][0]


@each(where="is_lines")
def test_a_bom_and_gzip_do_not_matter(form: Format, tmp_path: Path) -> None:
    content = form.pack(form.good())
    tables = read_bytes(tmp_path, form.name, gzip.compress(b"\xef\xbb\xbf" + content))
    assert set(form.identities(0, 1, 2)) <= set(form.landed(tables))
    assert rules(tables) == []


ANYTHING = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1e308,
        float("nan"),
        float("inf"),
        2**70,
        "",
        "x",
        "NaN",
        [],
        {},
        [[]],
        [None],
        {"a": [1]},
        {"value": {"a": {"b": 1}}},
        [["-1", "x"]],
        "\ud800",
        [{"token": 5, "bytes": [999], "logprob": "x", "top_k": 3}],
        json.loads("[" * 60 + "]" * 60),
    ]
)
MUTATION = st.one_of(
    st.tuples(st.just("swap"), st.integers(0, 40), ANYTHING),
    st.tuples(st.just("drop"), st.integers(0, 40), st.none()),
    st.tuples(st.just("add"), st.integers(0, 40), ANYTHING),
)


def mutate(record: dict[str, Any], mutations: list[tuple[str, int, Any]]) -> dict[str, Any]:
    record = copy.deepcopy(record)
    for kind, place, shared_value in mutations:
        value = copy.deepcopy(shared_value)
        targets = [record, *(item for item in record.values() if isinstance(item, dict))]
        target = targets[place % len(targets)]
        keys = sorted(target)
        if kind == "add":
            target[f"extra{place}"] = value
        elif keys and kind == "swap":
            target[keys[place % len(keys)]] = value
        elif keys:
            del target[keys[place % len(keys)]]
    return record


@each()
@settings(deadline=None, max_examples=50)
@given(mutations=st.lists(MUTATION, min_size=1, max_size=4), place=st.integers(0, 3))
def test_a_spoiled_record_never_raises_and_spares_the_others(
    form: Format, mutations: list[tuple[str, int, Any]], place: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    records = [form.record(index) for index in (10, 11, 12)]
    records.insert(place, mutate(form.record(13), mutations))
    tables = read(form.write(tmp_path_factory.mktemp("spoiled"), records), kind=form.source_kind)
    assert set(form.identities(10, 11, 12)) <= set(form.landed(tables))


@each()
@settings(deadline=None, max_examples=50)
@given(at=st.floats(0, 1), junk=st.binary(max_size=6), kind=st.sampled_from(["cut", "insert", "overwrite"]))
def test_spoiled_bytes_never_raise(
    form: Format, at: float, junk: bytes, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = form.pack(form.good())
    place = int(at * len(content))
    rest = content[place + (len(junk) if kind == "overwrite" else 0) :] if kind != "cut" else b""
    read_bytes(tmp_path_factory.mktemp("bytes"), form.name, content[:place] + junk + rest, kind=form.source_kind)


@each(where="is_lines")
@settings(deadline=None, max_examples=40)
@given(at=st.integers(0, 400))
def test_a_cut_line_file_loses_the_cut_record_alone(
    form: Format, at: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = form.pack(form.good(4))
    size = len(content) * at // 400
    tables = read_bytes(tmp_path_factory.mktemp("cut"), form.name, content[:size], kind=form.source_kind)
    whole = min(max(content[:size].count(b"\n") - form.header_lines, 0), 4)
    assert set(form.identities(*range(whole))) <= set(form.landed(tables))
