"""Exports: whole, described, and read back to the same rows."""

from __future__ import annotations

import csv
import json

import jsonschema
import orjson
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake.errors import UserError
from lake.store import Lake
from lake.tables import contract_of
from pipelines.experiments.every_eval_ever import export_runs
from pipelines.experiments.every_eval_ever_schemas import aggregate_schema, instance_schema
from pipelines.experiments.export_files import ENDINGS, writing
from pipelines.experiments.export_imports import import_export, is_export
from pipelines.experiments.export_schemas import NAMED, manifest_schema, row_schema, table_schemas
from pipelines.experiments.exports import EXPORTED_TABLES, TABLES_OF, export_tables, pin_export, tables_of
from tests.evidence.rows import DAY, START, output, output_rows, run, run_rows

HOSTILE = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\tx", "a\x00b\x1b[31m", "\u202eevil", "<script>", "", "'"]


@pytest.fixture
def lake(tmp_path) -> Lake:
    lake = Lake.open(tmp_path / "lake")
    first, second = run("first", tags=["nightly"]), run("second", started_at=START + DAY)
    lake.upsert("silver.runs", run_rows(first, second))
    outputs = [output(item, index, text) for item in (first, second) for index, text in enumerate(HOSTILE)]
    lake.upsert("silver.outputs", output_rows(outputs))
    tokens = contract_of("silver.output_tokens").sample(3).with_columns(run_date=pl.lit(START.date()))
    lake.upsert("silver.output_tokens", tokens)
    lake.append("silver.notes", contract_of("silver.notes").sample(2), token="notes")
    return lake


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_an_export_read_back_gives_the_same_rows_and_again_nothing(lake, tmp_path, form) -> None:
    result = export_tables(lake, tmp_path / "out", what=["project"], form=form, now=START)
    other = Lake.open(tmp_path / "other")
    assert is_export(tmp_path / "out")
    read = import_export(other, tmp_path / "out")
    assert (sum(read.rows.values()), read.reject_count) == (result.row_count, 0)
    for table in EXPORTED_TABLES:
        key = list(contract_of(table).key)
        assert other.read(table).sort(key).equals(lake.read(table).sort(key)), table
    versions = other.versions(EXPORTED_TABLES)
    assert import_export(other, tmp_path / "out").written_count == 0
    assert other.versions(EXPORTED_TABLES) == versions


@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), form=st.sampled_from(["json", "parquet"]))
def test_rows_of_any_table_come_back_as_they_were(tmp_path_factory, data, form) -> None:
    table = data.draw(st.sampled_from([name for name in EXPORTED_TABLES if name != "silver.output_tokens"]))
    contract = contract_of(table)
    lake, other = (Lake.open(tmp_path_factory.mktemp("lake")) for _ in range(2))
    rows = contract.sample(data.draw(st.integers(0, 4)))
    if contract.is_append_only:
        lake.append(table, rows, token="rows")
    else:
        lake.upsert(table, rows)
    out = tmp_path_factory.mktemp("out") / "export"
    what = next(word for word, tables in TABLES_OF.items() if table in tables)
    export_tables(lake, out, what=[what], form=form, now=START)
    import_export(other, out)
    key = list(contract.key)
    assert other.read(table).sort(key).equals(lake.read(table).sort(key))


def test_the_manifest_keeps_its_schema_and_says_what_there_is(lake, tmp_path) -> None:
    export_tables(lake, tmp_path / "out", what=["runs", "outputs"], form="json", words=["tag=nightly"], now=START)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    jsonschema.validate(manifest, manifest_schema(), cls=jsonschema.Draft202012Validator)
    files = {item["table"]: item for item in manifest["files"]}
    assert files["silver.runs"]["row_count"] == 1
    assert files["silver.outputs"]["row_count"] == len(HOSTILE)
    assert files["silver.runs"]["delta_version"] == lake.version("silver.runs")
    assert all(item["is_filtered"] for item in files.values())


def test_every_line_keeps_the_schema_of_its_table(lake, tmp_path) -> None:
    export_tables(lake, tmp_path / "out", what=["project"], form="json", now=START)
    seen = 0
    for table, schema in table_schemas().items():
        validator = jsonschema.Draft202012Validator(schema)
        for line in (tmp_path / "out" / f"{table}.jsonl").read_bytes().splitlines():
            validator.validate(orjson.loads(line))
            seen += 1
    assert seen > 20


@pytest.mark.parametrize("table", EXPORTED_TABLES)
def test_rows_of_any_content_keep_their_schema_and_others_do_not(table, tmp_path) -> None:
    contract = contract_of(table)
    with writing(tmp_path, "rows", contract, form="json") as writer:
        writer.add(contract.sample(3))
    validator = jsonschema.Draft202012Validator(row_schema(contract))
    rows = [orjson.loads(line) for line in (tmp_path / "rows.jsonl").read_bytes().splitlines()]
    for row in rows:
        validator.validate(row)
    assert not validator.is_valid(rows[0] | {"surprise": 1})
    assert not validator.is_valid({name: value for name, value in rows[0].items() if name != contract.key[0]})


def test_every_named_schema_is_a_schema() -> None:
    for name, made in NAMED.items():
        jsonschema.Draft202012Validator.check_schema(made())
        assert made()["title"], name


def test_no_cell_of_a_csv_is_a_formula(lake, tmp_path) -> None:
    export_tables(lake, tmp_path / "out", what=["outputs"], form="csv", now=START)
    with (tmp_path / "out" / "silver.outputs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * len(HOSTILE)
    for row in rows:
        for cell in row.values():
            assert not cell.startswith(("=", "+", "@", "\t", "\r"))
            assert "\x1b" not in cell


@pytest.mark.parametrize("form", list(ENDINGS))
def test_a_killed_write_leaves_nothing_that_looks_whole(tmp_path, form) -> None:
    contract = contract_of("silver.notes")

    def killed() -> None:
        with writing(tmp_path, "silver.notes", contract, form=form) as writer:
            writer.add(contract.sample(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]


def test_a_folder_with_something_in_it_is_refused(lake, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(UserError, match="not empty"):
        export_tables(lake, tmp_path / "out", what=["runs"], form="json", now=START)


@pytest.mark.parametrize(("what", "message"), [([], "Say what"), (["rums"], "runs")])
def test_unknown_words_are_told(what, message) -> None:
    with pytest.raises(UserError, match=message):
        tables_of(what)


def test_a_pinned_export_can_be_made_again(lake, tmp_path) -> None:
    result = export_tables(lake, tmp_path / "out", what=["runs"], form="json", now=START)
    pin_export(lake, result, name="paper", now=START)
    assert lake.read("silver.pins")["holder"].unique().to_list() == ["export:paper"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda entry, path: path.write_bytes(path.read_bytes() + b"\n"), "sha256"),
        (lambda entry, path: path.unlink(), "not there"),
        (lambda entry, path: entry.update(name="../../secret.jsonl"), "out of the export"),
        (lambda entry, path: entry.update(table="silver.pins"), "not a table"),
    ],
)
def test_a_spoilt_file_is_a_reject_and_the_others_land(lake, tmp_path, spoil, reason) -> None:
    out = tmp_path / "out"
    export_tables(lake, out, what=["runs", "outputs"], form="json", now=START)
    manifest = json.loads((out / "manifest.json").read_text())
    entry = next(item for item in manifest["files"] if item["table"] == "silver.outputs")
    spoil(entry, out / entry["name"])
    (out / "manifest.json").write_text(json.dumps(manifest))
    other = Lake.open(tmp_path / "other")
    result = import_export(other, out)
    assert other.row_count("silver.runs") == 2
    assert other.row_count("silver.outputs") == 0
    assert result.reject_count == 1
    assert reason in other.read("bronze.rejects")["message"][0]


@pytest.mark.parametrize("line", [b"[]", b"{", b'{"run_id": 1}', b"null", b'{"run_date": "no date"}'])
def test_rows_that_nobody_exported_are_rejects(lake, tmp_path, line) -> None:
    import hashlib

    out = tmp_path / "out"
    export_tables(lake, out, what=["runs"], form="json", now=START)
    manifest = json.loads((out / "manifest.json").read_text())
    entry = manifest["files"][0]
    (out / entry["name"]).write_bytes(line + b"\n")
    entry["sha256"] = hashlib.sha256(line + b"\n").hexdigest()
    (out / "manifest.json").write_text(json.dumps(manifest))
    other = Lake.open(tmp_path / "other")
    assert import_export(other, out).reject_count == 1
    assert other.row_count("silver.runs") == 0
    assert other.row_count("bronze.rejects") == 1


def test_a_csv_or_a_newer_export_is_told_why_it_cannot_be_read(lake, tmp_path) -> None:
    export_tables(lake, tmp_path / "csv", what=["runs"], form="csv", now=START)
    with pytest.raises(UserError, match="json or parquet"):
        import_export(lake, tmp_path / "csv")
    manifest = json.loads((tmp_path / "csv" / "manifest.json").read_text()) | {"schema_version": 2}
    (tmp_path / "csv" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="schema_version 2"):
        import_export(lake, tmp_path / "csv")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"kind": "other"}'])
def test_other_folders_are_no_export(tmp_path, content) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    assert not is_export(tmp_path)
    assert not is_export(tmp_path / "nowhere")


def test_runs_for_every_eval_ever(lake, tmp_path) -> None:
    result = export_runs(lake, tmp_path / "out", ["status=*"], organization="us", library_version="1", now=START)
    assert (result.run_count, result.sample_row_count, result.unscored_run_count) == (2, 2 * len(HOSTILE), 0)
    aggregates = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")]
    for aggregate in aggregates:
        jsonschema.validate(aggregate, aggregate_schema(), cls=jsonschema.Draft202012Validator)
        (found,) = aggregate["evaluation_results"]
        assert found["score_details"]["score"] == 1.0
        assert found["metric_config"]["score_type"] == "binary"
        detail = aggregate["detailed_evaluation_results"]
        lines = (tmp_path / "out" / detail["file_path"]).read_bytes().splitlines()
        assert len(lines) == detail["total_rows"]
        for line in lines:
            jsonschema.validate(json.loads(line), instance_schema(), cls=jsonschema.Draft202012Validator)
        first = json.loads(lines[0])
        assert first["evaluation_id"] == aggregate["evaluation_id"]
        assert first["evaluation"] == {"score": 1.0, "is_correct": True}


def test_a_run_without_scores_stays_behind(lake, tmp_path) -> None:
    silent = run("silent")
    lake.upsert("silver.runs", run_rows(silent))
    lake.upsert("silver.outputs", output_rows([output(silent, 0, "x", scores=[])]))
    result = export_runs(lake, tmp_path / "out", ["silent"], organization="us", library_version="1", now=START)
    assert (result.run_count, result.unscored_run_count) == (0, 1)
    assert list((tmp_path / "out").iterdir()) == []
