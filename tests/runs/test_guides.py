"""Guides are docs that are checked: columns exist, commands are there, and the examples of our own format run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import polars as pl
import pytest

import benchlake
from lake.tables import CONTRACTS
from pipelines.runs.importers import IMPORTERS
from pipelines.runs.importers.guides.benchlake import GUIDE
from pipelines.runs.metric_names import METRIC_NAMES
from studio.format_pages import format_index, format_page, metric_page
from tests.runs.formats import read_bytes, rules

each = pytest.mark.parametrize("kind", sorted(IMPORTERS))


@each
def test_a_guide_teaches_how_to_make_and_import_files(kind: str) -> None:
    guide = IMPORTERS[kind].guide
    assert "```sh" in guide.how_to
    assert "benchlake import" in guide.how_to
    assert len(guide.fields) >= 5
    assert all((guide.title, guide.reads, guide.versions, guide.recognised_by))
    assert all(surprise.endswith(".") for surprise in guide.surprises)


@each
def test_columns_that_a_guide_names_exist(kind: str) -> None:
    for field in IMPORTERS[kind].guide.fields:
        layer, table, *column = field.column.split(".")
        contract = CONTRACTS[f"{layer}.{table}"]
        assert [name for name in column[:1] if name not in contract.dtypes] == [], field.column
        struct = contract.dtypes[column[0]] if len(column) > 1 else None
        if isinstance(struct, pl.Struct):
            assert column[1] in {member.name for member in struct.fields}, field.column


@each
def test_a_page_names_every_field_and_links_to_its_table(kind: str) -> None:
    guide = IMPORTERS[kind].guide
    page = format_page(kind, guide)
    assert f"--format {kind}" in page
    for field in guide.fields:
        layer, table, *_ = field.column.split(".")
        assert f"[`{field.column}`](../tables/{layer}.{table}.md)" in page


def test_the_index_lists_every_importer_and_the_metrics_every_name() -> None:
    index = format_index({kind: importer.guide for kind, importer in IMPORTERS.items()})
    assert [kind for kind in IMPORTERS if f"(formats/{kind}.md)" not in index] == []
    page = metric_page()
    assert [name for name in METRIC_NAMES if f"| `{name}` |" not in page] == []


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE.how_to, re.DOTALL)
    exec(compile(example, "docs", "exec"), {})
    lake = benchlake.open_lake(tmp_path)
    assert lake.runs("suite=support")["status"].to_list() == ["success"]
    assert lake.read("silver.run_metrics", where={"metric": "loss"})["step"].to_list() == [10]


def test_the_example_for_other_languages_is_a_file_that_is_read(tmp_path: Path) -> None:
    (example,) = re.findall(r"```sh\n(.*?)```", GUIDE.how_to, re.DOTALL)
    script = example.partition("benchlake import")[0]
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True)
    tables = read_bytes(tmp_path, "again.jsonl", (tmp_path / "run.jsonl").read_bytes())
    assert rules(tables) == []
    assert tables["silver.outputs"]["output"].to_list() == ["4"]
    assert tables["silver.runs"]["status"].to_list() == ["success"]
