"""One suite for every importer, then what each format alone must do."""

from __future__ import annotations

import copy
import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.identity import text_digest
from lake.tables import CONTRACTS
from lake.validation import validate
from pipelines.runs.importers import IMPORTERS, Importer, SourceGroup, detect_importer, frames, importer_of
from pipelines.runs.sources import Limits, identify, read_head
from tests.runs.run_files import (
    DATE_ID,
    FORMATS,
    Format,
    benchlake_file,
    benchlake_output,
    benchlake_run,
    inspect_json,
    inspect_sample,
    inspect_zip,
    json_lines,
    lm_eval_choice,
    lm_eval_name,
    lm_eval_results,
    lm_eval_sample,
    lm_eval_samples,
    make_zip,
)

SHARED = Path(os.environ.get("BENCHLAKE_SHARED_DATA", Path(__file__).parents[2] / "../shared/data"))
TABLES = {
    "silver.runs": "runs",
    "silver.outputs": "outputs",
    "silver.output_tokens": "output_tokens",
    "silver.run_metrics": "run_metrics",
    "bronze.raw_records": "raw_records",
    "bronze.rejects": "rejects",
}
each_format = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)


def read(*paths: Path, kind: str | None = None, limits: Limits | None = None) -> dict[str, pl.DataFrame]:
    """Rows of all tables from one group of files; every batch must keep its contracts."""
    limits = limits or Limits()
    files = tuple(identify(path, root=path.parent.resolve(), limits=limits) for path in paths)
    importer = importer_of(kind) if kind else detect_importer(read_head(files[0], limits=limits))
    assert importer is not None, "no importer knows the file"
    group = SourceGroup(source_kind=importer.source_kind, importer_version=importer.version, files=files)
    batches = list(importer.read(group, limits=limits))
    tables = {}
    for table, attribute in TABLES.items():
        rows = pl.concat([getattr(batch, attribute) for batch in batches])
        assert validate(CONTRACTS[table], rows).rejects.is_empty(), validate(CONTRACTS[table], rows).rejects
        tables[table] = rows
    return tables


def read_bytes(folder: Path, name: str, content: bytes, **options: Any) -> dict[str, pl.DataFrame]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return read(folder / name, **options)


def sample_ids(tables: dict[str, pl.DataFrame]) -> list[str]:
    return sorted(tables["silver.outputs"]["sample_id"])


def rules(tables: dict[str, pl.DataFrame]) -> list[str]:
    return tables["bronze.rejects"]["rule"].to_list()


def raw_text(tables: dict[str, pl.DataFrame]) -> str:
    unpacker = zstandard.ZstdDecompressor()
    return "\n".join(unpacker.decompress(raw).decode() for raw in tables["bronze.raw_records"]["raw"])


def everything(tables: dict[str, pl.DataFrame]) -> str:
    written = (tables[table].drop("raw", strict=False) for table in TABLES if table != "bronze.rejects")
    return "\n".join(
        [*(str(frame.to_dicts()) for frame in written), str(tables["bronze.rejects"].to_dicts()), raw_text(tables)]
    )


# Every format


@each_format
def test_good_files_land_whole(form: Format, tmp_path: Path) -> None:
    tables = read(form.write(tmp_path, form.good()))
    assert len(sample_ids(tables)) == 3
    assert rules(tables) == []
    assert tables["silver.runs"].height == 1
    outputs = tables["silver.outputs"]
    assert outputs["run_id"].unique().to_list() == tables["silver.runs"]["run_id"].to_list()
    assert outputs["prompt_digest"].to_list() == [text_digest(text) for text in outputs["prompt"]]
    assert outputs["output_digest"].to_list() == [text_digest(text) for text in outputs["output"]]
    assert outputs["scores"].list.len().to_list() == [1, 1, 1]


@each_format
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
        b'{"results": {"version": 3, "results": []}}',
        b"\x00\xff" * 99,
        make_zip({"a.txt": b"hello"}),
        b'{"type": "function", "name": "x"}',
        b'{"id": 1, "input": "x"}\n',
        '{"type": "run", "suite": "x"}'.encode("utf-16"),
    ],
)
def test_other_files_are_nobodys(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_bytes(content)
    file = identify(tmp_path / "run.jsonl", root=tmp_path.resolve(), limits=Limits())
    assert detect_importer(read_head(file, limits=Limits())) is None


@each_format
def test_reading_again_gives_the_same_rows(form: Format, tmp_path: Path) -> None:
    path = form.write(tmp_path, form.good())
    first, second = read(path), read(path)
    for table in TABLES:
        assert first[table].equals(second[table])


@each_format
def test_batches_are_bounded_and_do_not_change_the_rows(
    form: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = form.write(tmp_path, form.good(7))
    whole = read(path)
    monkeypatch.setattr(frames, "CHUNK_RECORDS", 2)
    importer = importer_of(form.source_kind)
    file = identify(path, root=tmp_path.resolve(), limits=Limits())
    group = SourceGroup(source_kind=importer.source_kind, importer_version=importer.version, files=(file,))
    batches = list(importer.read(group, limits=Limits()))
    assert max(batch.record_count for batch in batches) <= 2
    assert [batch.chunk for batch in batches] == list(range(len(batches)))
    assert all(batch.runs.is_empty() for batch in batches[:-1])
    for table, attribute in TABLES.items():
        assert pl.concat([getattr(batch, attribute) for batch in batches]).equals(whole[table])


@each_format
def test_unknown_keys_stay_in_the_raw_record(form: Format, tmp_path: Path) -> None:
    tables = read(form.write(tmp_path, [form.record(0) | {"left_over": {"deep": ["unseen-value"]}}]))
    assert "unseen-value" in raw_text(tables)


@each_format
def test_secrets_are_redacted_everywhere(form: Format, tmp_path: Path) -> None:
    hidden = {
        "model_base_url": "https://user:hunter2secret@example.org/v1",
        "request": {"headers": {"Authorization": "Bearer hunter2secret", "x-api-key": "hunter2secret"}},
        "error_message": "401 for https://example.org/?api_key=hunter2secret",
        "bad": float("nan"),
    }
    broken = {"error": {"message": "key sk-hunter2hunter2hunter2secret refused"}}
    tables = read(form.write(tmp_path, [form.record(0) | hidden, form.record(1) | broken | hidden]))
    assert len(sample_ids(tables)) == 2
    assert "hunter2" not in everything(tables)
    assert "[redacted]" in raw_text(tables)


@each_format
def test_nan_is_null_and_named_and_the_record_lands(form: Format, tmp_path: Path) -> None:
    field = {
        "benchlake": {"scores": {"exact_match": float("nan"), "f1": 0.5}},
        "lm_eval": {"exact_match": float("nan"), "f1": 0.5, "metrics": ["exact_match", "f1"]},
        "inspect": {"scores": {"exact_match": {"value": float("nan")}, "f1": {"value": 0.5}}},
    }[form.source_kind]
    tables = read(form.write(tmp_path, [form.record(0), form.record(1) | field, form.record(2)]))
    assert len(sample_ids(tables)) == 3
    assert tables["silver.outputs"]["scores"][1].to_list() == [{"scorer": "f1", "value": 0.5}]
    (rule,) = rules(tables)
    assert rule.endswith("finite")
    assert "exact_match" in rule


@each_format
def test_a_duplicate_sample_counts_once(form: Format, tmp_path: Path) -> None:
    if form.name == "log.eval":
        pytest.skip("a zip holds a member once")
    tables = read(form.write(tmp_path, [form.record(0), form.record(1), form.record(0)]))
    assert len(sample_ids(tables)) == 2
    assert rules(tables)[0] == "duplicate"


@each_format
def test_lone_surrogates_are_replaced(form: Format, tmp_path: Path) -> None:
    text = "a\ud800b"
    changed = {
        "benchlake": {"output": text},
        "lm_eval": {"resps": [[text]]},
        "inspect": {"output": {"completion": text}},
    }[form.source_kind]
    tables = read(form.write(tmp_path, [form.record(0) | changed]))
    assert tables["silver.outputs"]["output"].to_list() == ["a\ufffdb"]


@each_format
def test_a_truncated_file_gives_what_is_whole(form: Format, tmp_path: Path) -> None:
    content = form.pack(form.good(5))
    kept = (
        content.index(b'"s3"')
        if form.source_kind == "benchlake"
        else content.index(b"samples/3_")
        if (form.name == "log.eval")
        else content.index(b'"doc_id": 3' if form.is_lines else b'"id": 3')
    )
    tables = read_bytes(tmp_path, form.name, content[: kept + 40])
    assert [name.removeprefix("s") for name in sample_ids(tables)] == ["0", "1", "2"]
    assert "truncated" in rules(tables)
    if form.source_kind != "lm_eval":
        assert tables["silver.runs"]["status"].to_list() == ["started"]


@pytest.mark.parametrize("form", [form for form in FORMATS if form.is_lines], ids=lambda form: form.name)
def test_bad_lines_are_rejected_by_number_and_the_rest_lands(form: Format, tmp_path: Path) -> None:
    lines = form.pack(form.good(4)).splitlines()
    at = 1 if form.source_kind == "benchlake" else 0
    bad = [b'{"broken": ', b'{"encoding": "\xff\xfe"}', b"[1, 2]", b'{"huge": "' + b"x" * 5_000 + b'"}', b"[" * 3_000]
    content = b"\r\n".join([*lines[: at + 1], *bad, b"", *lines[at + 1 :]]) + b"\n"
    tables = read_bytes(tmp_path, form.name, content, limits=Limits(line_bytes=4_000))
    assert len(sample_ids(tables)) == 4
    assert rules(tables) == ["json", "encoding", "object", "line_bytes", "json"]
    assert tables["bronze.rejects"]["record_index"].to_list() == [at + 1 + n for n in range(5)]
    assert f"Line {at + 2}:" in tables["bronze.rejects"]["message"][0]


@pytest.mark.parametrize("form", [form for form in FORMATS if form.is_lines], ids=lambda form: form.name)
def test_a_bom_and_gzip_do_not_matter(form: Format, tmp_path: Path) -> None:
    import gzip

    content = form.pack(form.good())
    tables = read_bytes(tmp_path, form.name, gzip.compress(b"\xef\xbb\xbf" + content))
    assert len(sample_ids(tables)) == 3
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


@each_format
@settings(deadline=None, max_examples=60)
@given(mutations=st.lists(MUTATION, min_size=1, max_size=4), place=st.integers(0, 3))
def test_a_spoiled_record_never_raises_and_spares_the_others(
    form: Format, mutations: list[tuple[str, int, Any]], place: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    records = [form.record(index) for index in (10, 11, 12)]
    records.insert(place, mutate(form.record(13), mutations))
    tables = read(form.write(tmp_path_factory.mktemp("spoiled"), records), kind=form.source_kind)
    good = {"s10", "s11", "s12"} if form.source_kind == "benchlake" else {"10", "11", "12"}
    assert good <= set(sample_ids(tables))


@each_format
@settings(deadline=None, max_examples=60)
@given(at=st.floats(0, 1), junk=st.binary(max_size=6), kind=st.sampled_from(["cut", "insert", "overwrite"]))
def test_spoiled_bytes_never_raise(
    form: Format, at: float, junk: bytes, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = form.pack(form.good())
    place = int(at * len(content))
    rest = content[place + (len(junk) if kind == "overwrite" else 0) :] if kind != "cut" else b""
    read_bytes(tmp_path_factory.mktemp("bytes"), form.name, content[:place] + junk + rest, kind=form.source_kind)


@each_format
@settings(deadline=None, max_examples=40)
@given(at=st.integers(0, 400))
def test_a_cut_line_file_loses_the_cut_record_alone(
    form: Format, at: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = form.pack(form.good(4))
    size = len(content) * at // 400
    tables = read_bytes(tmp_path_factory.mktemp("cut"), form.name, content[:size], kind=form.source_kind)
    if form.is_lines:
        header = 1 if form.source_kind == "benchlake" else 0
        whole = max(content[:size].count(b"\n") - header, 0)
        assert len(sample_ids(tables)) >= min(whole, 4)


# Benchlake


def test_benchlake_fields_land(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, "run.jsonl", benchlake_file())
    run = tables["silver.runs"].row(0, named=True)
    assert run["run_id"] == "run-1"
    assert run["run_date"] == dt.date(2026, 3, 1)
    assert run["status"] == "success"
    assert run["tags"] == ["a", "b"]
    assert run["parameters"] == '{"temperature":0}'
    assert (run["fingerprint"]["suite_digest"], run["fingerprint"]["concurrency"]) == ("aa", 2)
    assert (run["code_version"]["commit"], run["code_version"]["is_dirty"]) == ("c0ffee", False)
    output = tables["silver.outputs"].row(0, named=True)
    assert (output["latency_ms"], output["time_to_first_token_ms"], output["input_token_count"]) == (12.5, 3.0, 5)
    tokens = tables["silver.output_tokens"].row(0, named=True)
    assert tokens["tokens"] == ["City", " 0"]
    assert tokens["token_ids"] == [7, None]
    assert tokens["token_bytes"] == [b"City", None]
    assert tokens["logprobs"] == [-0.1, None]
    assert tokens["top_k"] == [[{"token_id": 7, "token": "City", "logprob": -0.1}], None]
    assert tables["silver.run_metrics"].row(0)[1:6] == ("tokens_per_s", "", 0, dt.date(2026, 3, 1), 20.5)


def test_a_benchlake_file_without_a_run_still_lands(tmp_path: Path) -> None:
    content = b"broken\n" + json_lines([benchlake_output(0), benchlake_output(1)])
    tables = read_bytes(tmp_path, "run.jsonl", content)
    assert sample_ids(tables) == ["s0", "s1"]
    assert tables["silver.runs"]["suite"].to_list() == ["unknown"]
    assert rules(tables) == ["json", "header"]


def test_a_run_without_id_is_named_by_its_content(tmp_path: Path) -> None:
    header = benchlake_run()
    del header["run_id"]
    first = read_bytes(tmp_path / "a", "x.jsonl", json_lines([header]))["silver.runs"]["run_id"][0]
    again = read_bytes(tmp_path / "b", "y.jsonl", json_lines([header]))["silver.runs"]["run_id"][0]
    other = read_bytes(tmp_path / "c", "x.jsonl", json_lines([header | {"suite": "z"}]))["silver.runs"]["run_id"][0]
    assert first == again != other


def test_statuses_are_kept_and_unknown_words_named(tmp_path: Path) -> None:
    outputs = [
        benchlake_output(0, status="timeout", output=None),
        benchlake_output(1, status="weird"),
        benchlake_output(2, status=None, error_message="broke"),
    ]
    tables = read_bytes(tmp_path, "run.jsonl", json_lines([benchlake_run(), *outputs]))
    assert tables["silver.outputs"]["status"].to_list() == ["timeout", "error", "error"]  # unknown is not ok
    assert rules(tables) == ["status: vocabulary"]


# lm-evaluation-harness


def lm_eval_folder(folder: Path, files: dict[str, bytes]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in sorted(files)]


def test_results_and_samples_make_one_run_a_task(tmp_path: Path) -> None:
    files = {
        lm_eval_name(): lm_eval_results(("sums", "facts", "all")),
        lm_eval_name("sums"): lm_eval_samples(),
        lm_eval_name("facts"): lm_eval_samples(2),
    }
    tables = read(*lm_eval_folder(tmp_path / "org__tiny", files), kind="lm_eval")
    runs = tables["silver.runs"].sort("suite")
    assert runs["suite"].to_list() == ["all", "facts", "sums"]
    assert runs["model"].unique().to_list() == ["org/tiny"]
    assert runs["backend"].unique().to_list() == ["hf"]
    assert runs["engine"].unique().to_list() == ["transformers"]
    assert runs["engine_version"].unique().to_list() == ["5.23"]
    # 1772360000.5 s is 2026-03-01 10:13:20.5 UTC; the evaluation took 12.5 s, written as text.
    assert runs["started_at"][0] == dt.datetime(2026, 3, 1, 10, 13, 20, 500_000, tzinfo=dt.UTC)
    assert runs["ended_at"][0] - runs["started_at"][0] == dt.timedelta(seconds=12.5)
    assert runs["expected_sample_count"].to_list() == [3, 3, 3]
    assert runs["code_version"].struct.field("commit").unique().to_list() == ["beef01"]
    assert runs["content_digest"].n_unique() == 1
    metrics = tables["silver.run_metrics"].sort("run_id")
    assert metrics.height == 3
    assert metrics.select("metric", "variant", "value", "standard_error", "is_higher_better").unique().row(0) == (
        "exact_match",
        "",
        1.0,
        0.1,
        True,
    )
    counts = tables["silver.outputs"].group_by("run_id").len().join(runs, on="run_id").sort("suite")
    assert counts["len"].to_list() == [2, 3]


def test_samples_alone_land_under_the_same_run_as_with_results(tmp_path: Path) -> None:
    files = {lm_eval_name(): lm_eval_results(), lm_eval_name("sums"): lm_eval_samples()}
    both = lm_eval_folder(tmp_path / "tiny", files)
    alone = read(tmp_path / "tiny" / lm_eval_name("sums"))
    assert alone["silver.runs"]["suite"].to_list() == ["sums"]
    assert alone["silver.runs"]["model"].to_list() == ["tiny"]
    assert alone["silver.runs"]["status"].to_list() == ["started"]
    assert alone["silver.runs"]["run_id"].to_list() == read(*both)["silver.runs"]["run_id"].to_list()


def test_several_filters_become_scores_of_one_output(tmp_path: Path) -> None:
    rows = [lm_eval_sample(n, filter=f, exact_match=v) for f, v in (("none", 1.0), ("strict", 0.0)) for n in range(3)]
    tables = read_bytes(tmp_path, lm_eval_name("sums"), json_lines(rows))
    assert sample_ids(tables) == ["0", "1", "2"]
    expected = [{"scorer": "exact_match", "value": 1.0}, {"scorer": "exact_match,strict", "value": 0.0}]
    assert tables["silver.outputs"]["scores"].to_list() == [expected] * 3
    assert tables["bronze.raw_records"].height == 6
    assert rules(tables) == []


def test_one_named_filter_does_not_show_in_the_score(tmp_path: Path) -> None:
    # The document has a member of that name too, which must not be taken for the row's.
    row = lm_eval_sample(0, filter="strict", doc={"filter": "coffee"})
    tables = read_bytes(tmp_path, lm_eval_name("sums"), json_lines([row]))
    assert tables["silver.outputs"]["scores"][0].to_list() == [{"scorer": "exact_match", "value": 1.0}]


def test_multiple_choice_shows_the_chosen_and_the_right_text(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, lm_eval_name("yesno"), json_lines([lm_eval_choice(0)]))
    row = tables["silver.outputs"].row(0, named=True)
    assert (row["prompt"], row["output"], row["reference"]) == ("Is it?", " no", " yes")


def test_repeats_follow_the_first_answer(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, lm_eval_name("sums"), json_lines([lm_eval_sample(0, resps=[["a", "b"]])]))
    outputs = tables["silver.outputs"]
    assert outputs["output"].to_list() == ["a", "b"]
    assert outputs["repeat_index"].to_list() == [0, 1]
    assert outputs["scores"].list.len().to_list() == [1, 0]


def test_values_before_aggregation_and_rolling_requests_are_no_scores_or_answers(tmp_path: Path) -> None:
    row = lm_eval_sample(
        0,
        arguments={"gen_args_0": {"arg_0": "text"}},
        resps=[["-12.5"]],
        metrics=["word_perplexity"],
        word_perplexity=[-12.5, 3],
    )
    tables = read_bytes(tmp_path, lm_eval_name("wiki"), json_lines([row]))
    assert tables["silver.outputs"]["output"].to_list() == [None]
    assert tables["silver.outputs"]["scores"].list.len().to_list() == [0]
    assert rules(tables) == []


def test_a_random_model_name_is_not_taken_for_the_model(tmp_path: Path) -> None:
    results = lm_eval_results(config={"model": "dummy", "model_args": {}}, model_name="i82qcls7", model_source="dummy")
    tables = read_bytes(tmp_path, lm_eval_name(), results)
    assert tables["silver.runs"]["model"].to_list() == ["dummy"]


def test_files_of_an_invocation_belong_together(tmp_path: Path) -> None:
    importer: Importer = IMPORTERS["lm_eval"]
    other = f"samples_sums_{DATE_ID.replace('2026', '2025')}.jsonl"
    paths = lm_eval_folder(
        tmp_path, {lm_eval_name(): b"{}", lm_eval_name("sums"): b"{}", other: b"{}", "x.json": b"{}"}
    )
    files = {path.name: identify(path, root=tmp_path.resolve(), limits=Limits()) for path in paths}
    keys = {name: importer.group_key(file) for name, file in files.items()}
    assert keys[lm_eval_name()] == keys[lm_eval_name("sums")]
    assert len(set(keys.values())) == 3
    assert importer.companions(tmp_path / lm_eval_name()) == [tmp_path / lm_eval_name("sums")]


# Inspect


@pytest.mark.parametrize("method", [0, 8, 93])
def test_inspect_containers_agree(tmp_path: Path, method: int) -> None:
    samples = [inspect_sample(index) for index in range(3)]
    as_json = read_bytes(tmp_path, "log.json", inspect_json(samples))
    as_zip = read_bytes(tmp_path, "log.eval", inspect_zip(samples, method=method))
    for table in ("silver.outputs", "silver.output_tokens", "silver.run_metrics"):
        assert as_zip[table].equals(as_json[table])
    varying = ["file_sha256", "content_digest"]
    assert as_zip["silver.runs"].drop(varying).equals(as_json["silver.runs"].drop(varying))


def test_inspect_fields_land(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, "log.json", inspect_json([inspect_sample(0), inspect_sample(0, epoch=2)]))
    run = tables["silver.runs"].row(0, named=True)
    assert (run["run_id"], run["source_run_id"], run["suite"]) == ("eval-1", "night-1", "greetings")
    # 23:30 two hours west of Greenwich is 01:30 of the next day in UTC.
    assert run["run_date"] == dt.date(2026, 3, 2)
    assert (run["backend"], run["model"], run["expected_sample_count"]) == ("openai", "openai/tiny", 2)
    assert (run["code_version"]["commit"], run["code_version"]["is_dirty"]) == ("abc123", True)
    outputs = tables["silver.outputs"]
    assert outputs["repeat_index"].to_list() == [0, 1]
    row = outputs.row(0, named=True)
    assert (row["latency_ms"], row["input_token_count"], row["output_token_count"]) == (500.0, 8, 3)
    assert (row["prompt"], row["output"], row["reference"]) == ("Greet number 0", "Hello 0", "Hello")
    tokens = tables["silver.output_tokens"].row(0, named=True)
    assert (tokens["tokens"], tokens["token_ids"], tokens["token_bytes"]) == (["Hello"], [None], [b"H"])
    assert tokens["logprobs"] == [-0.2]
    assert tokens["top_k"] == [[{"token_id": None, "token": "Hi", "logprob": -0.3}]]
    metrics = {row["metric"]: row for row in tables["silver.run_metrics"].to_dicts()}
    assert (metrics["accuracy"]["value"], metrics["accuracy"]["standard_error"]) == (0.5, 0.25)
    assert metrics["accuracy"]["variant"] == "match"


@pytest.mark.parametrize(
    ("value", "scores"),
    [
        ("C", {"s": 1.0}),
        ("I", {"s": 0.0}),
        ("P", {"s": 0.5}),
        ("N", {"s": 0.0}),
        (True, {"s": 1.0}),
        (3, {"s": 3.0}),
        ("2.5", {"s": 2.5}),
        ("a label", {}),
        (None, {}),
        ({"a": "C", "b": {"c": 2}}, {"s.a": 1.0, "s.b.c": 2.0}),
        ([1, False], {"s.0": 1.0, "s.1": 0.0}),
    ],
)
def test_inspect_score_values(tmp_path: Path, value: object, scores: dict[str, float]) -> None:
    tables = read_bytes(tmp_path, "log.json", inspect_json([inspect_sample(0, scores={"s": {"value": value}})]))
    assert {score["scorer"]: score["value"] for score in tables["silver.outputs"]["scores"][0]} == scores
    assert rules(tables) == []


def test_edited_scores_count_as_edited(tmp_path: Path) -> None:
    score = {"value": "I", "history": [{"value": "I"}, {"value": "C"}, {"value": "UNCHANGED"}]}
    tables = read_bytes(tmp_path, "log.json", inspect_json([inspect_sample(0, scores={"s": score})]))
    assert tables["silver.outputs"]["scores"][0].to_list() == [{"scorer": "s", "value": 1.0}]


def test_attachments_and_messages_are_resolved(tmp_path: Path) -> None:
    key = "0123456789abcdef0123456789abcdef"
    sample = inspect_sample(
        0,
        input=[
            {"role": "system", "content": "Be kind"},
            {"role": "user", "content": [{"type": "text", "text": f"attachment://{key}"}, {"type": "image"}]},
        ],
        output={"choices": [{"message": {"content": f"attachment://{key}"}}]},
        target=["a", "b"],
        attachments={key: "a very long text"},
    )
    row = read_bytes(tmp_path, "log.json", inspect_json([sample]))["silver.outputs"].row(0, named=True)
    assert row["prompt"] == "[system]\nBe kind\n\n[user]\na very long text\n(image)"
    assert row["output"] == "a very long text"
    assert row["reference"] == '["a","b"]'


def test_errors_and_limits_become_statuses(tmp_path: Path) -> None:
    samples = [
        inspect_sample(0, error={"message": "broke", "traceback": "..."}, output={}),
        inspect_sample(1, limit={"type": "time", "limit": 5}),
        inspect_sample(2, limit={"type": "token", "limit": 5}),
    ]
    outputs = read_bytes(tmp_path, "log.json", inspect_json(samples))["silver.outputs"]
    assert outputs["status"].to_list() == ["error", "timeout", "ok"]
    assert outputs["error_message"].to_list() == ["broke", None, None]
    assert outputs["finish_reason"].to_list() == [None, "time", "token"]
    assert outputs["output"].to_list() == [None, "Hello 1", "Hello 2"]


def test_an_unfinished_log_is_a_started_run(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, "log.eval", inspect_zip([inspect_sample(0)], has_header=False))
    assert tables["silver.runs"]["status"].to_list() == ["started"]
    assert tables["silver.runs"]["run_id"].to_list() == ["eval-1"]
    assert sample_ids(tables) == ["0"]
    assert rules(tables) == []


@pytest.mark.parametrize(("status", "expected"), [("success", ["sample_count"]), ("cancelled", [])])
def test_a_finished_log_with_too_few_samples_says_so(tmp_path: Path, status: str, expected: list[str]) -> None:
    content = inspect_json([inspect_sample(0)], status=status, results={"total_samples": 5})
    tables = read_bytes(tmp_path, "log.json", content)
    assert rules(tables) == expected
    assert tables["silver.runs"]["expected_sample_count"].to_list() == [5]


def test_an_oversize_sample_is_left_out(tmp_path: Path) -> None:
    samples = [inspect_sample(0), inspect_sample(1, store={"blob": "x" * 20_000}), inspect_sample(2)]
    for name, content in {"log.json": inspect_json(samples), "log.eval": inspect_zip(samples)}.items():
        tables = read_bytes(tmp_path, name, content, limits=Limits(member_bytes=10_000))
        assert sample_ids(tables) == ["0", "2"]
        assert "member_bytes" in rules(tables)


# Real files


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f"real files are not at {path}: set BENCHLAKE_SHARED_DATA")
    return path


def test_real_lm_eval_files() -> None:
    tables = read(*sorted((shared("lm_eval") / "out" / "i82qcls7").iterdir()), kind="lm_eval")
    assert tables["silver.runs"]["suite"].sort().to_list() == ["tiny_gen", "tiny_mc"]
    assert tables["silver.outputs"].height == 6
    means = {row["metric"]: row["value"] for row in tables["silver.run_metrics"].to_dicts()}
    scores = tables["silver.outputs"].explode("scores").unnest("scores").group_by("scorer").agg(pl.col("value").mean())
    # What the harness aggregated is what we land, sample by sample.
    assert dict(scores.iter_rows()) == pytest.approx(means)
    assert rules(tables) == []


def test_real_inspect_logs() -> None:
    folder = shared("inspect")
    for path in sorted([*folder.glob("*.eval"), *folder.glob("*popularity.json"), folder / "log_formats.json"]):
        tables = read(path)
        promised = tables["silver.runs"]["expected_sample_count"][0]
        assert tables["silver.outputs"].height == promised
        assert rules(tables) == []
        accuracy = tables["silver.run_metrics"].filter(metric="accuracy")["value"].to_list()
        means = tables["silver.outputs"]["scores"].list.first().struct.field("value").mean()
        assert not accuracy or means == pytest.approx(accuracy[0])
