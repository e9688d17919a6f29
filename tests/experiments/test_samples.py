"""The samples in docs/samples keep their schemas, can be imported, and are what today's code writes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import orjson
import pytest
import yaml

from lake.store import Lake
from pipelines.experiments.export_imports import import_export
from pipelines.experiments.export_schemas import NAMED, table_schemas
from pipelines.experiments.reading import read_run_rows
from pipelines.experiments.run_diff import diff_runs
from pipelines.runs.run_schema import json_schema
from pipelines.runs.steps import import_paths
from studio.documentation import DOCS
from tests.evidence.rows import START

SAMPLES = DOCS / "samples"


def validate(content: object, schema: dict[str, object]) -> None:
    jsonschema.Draft202012Validator(schema).validate(content)


@pytest.mark.parametrize("name", ["scenario", "decision"])
def test_what_people_write_keeps_its_schema(name: str) -> None:
    validate(yaml.safe_load((SAMPLES / f"{name}.yaml").read_text("utf-8")), NAMED[name]())


@pytest.mark.parametrize("path", sorted((SAMPLES / "runs").iterdir()), ids=lambda path: path.stem)
def test_runs_keep_their_schema(path: Path) -> None:
    for line in path.read_bytes().splitlines():
        validate(orjson.loads(line), json_schema())


def test_the_export_keeps_the_schemas_of_its_tables() -> None:
    validate(json.loads((SAMPLES / "export" / "manifest.json").read_text()), NAMED["export"]())
    schemas = table_schemas()
    lines = 0
    for path in (SAMPLES / "export").glob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            validate(orjson.loads(line), schemas[path.stem])
            lines += 1
    assert lines > 40


def test_the_exchange_files_keep_their_schemas() -> None:
    folder = SAMPLES / "every-eval-ever"
    for path in folder.glob("*.json"):
        validate(json.loads(path.read_text()), NAMED["every-eval-ever-run"]())
    for path in folder.glob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            validate(orjson.loads(line), NAMED["every-eval-ever-sample"]())
    assert len(list(folder.iterdir())) == 4


def test_the_comparison_is_what_the_runs_give_today(tmp_path) -> None:
    lake = Lake.open(tmp_path)
    import_paths(lake, [SAMPLES / "runs"], root=SAMPLES / "runs", now=START)
    found = diff_runs(read_run_rows(lake, ["sample-baseline", "sample-candidate"]))
    assert orjson.loads(found.as_json()) == orjson.loads((SAMPLES / "comparison.json").read_bytes())
    validate(orjson.loads(found.as_json()), NAMED["comparison"]())


def test_the_export_is_read_back(tmp_path) -> None:
    lake = Lake.open(tmp_path)
    result = import_export(lake, SAMPLES / "export")
    assert (result.rows["silver.runs"], result.rows["silver.outputs"], result.reject_count) == (2, 12, 0)
