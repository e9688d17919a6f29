"""Importing the light path never loads the heavy libraries; each cost seconds when it was measured."""

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "transformers",
    "sentence_transformers",
    "dspy",
    "great_expectations",
    "litellm",
    "pandas",
    "faiss",
    "xllamacpp",
    "sklearn",
)


def loaded_after(code: str) -> set[str]:
    """Top-level modules in sys.modules after running `code` in a fresh interpreter."""
    script = f"{code}\nimport sys\nprint('\\n'.join({{name.partition('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import benchlake", (*HEAVY, "dagster", "polars", "duckdb", "deltalake", "pydantic", "pyarrow")),
        ("import studio.cli", (*HEAVY, "dagster", "polars", "duckdb", "deltalake", "rich", "pyarrow")),
        ("import lake.store, lake.query, lake.maintenance", (*HEAVY, "dagster")),
        ("import resources.installation, resources.contract_checks", (*HEAVY, "dagster")),
        ("import pipelines.runs.steps, pipelines.evidence.steps", (*HEAVY, "dagster")),
        ("import pipelines.embeddings.service, resources.embedders", (*HEAVY, "dagster", "onnxruntime", "tokenizers")),
        ("import assets.definitions", HEAVY),
    ],
    ids=["python face", "command line", "lake", "resources", "pipelines", "embeddings", "code location"],
)
def test_import_is_light(code: str, forbidden: tuple[str, ...]) -> None:
    assert loaded_after(code) & set(forbidden) == set()


def test_sql_from_the_command_line_loads_neither_dagster_nor_torch(tmp_path) -> None:
    code = (
        f"import os, sys; os.environ['BENCHLAKE_HOME'] = {str(tmp_path)!r}\n"
        "sys.argv = ['benchlake', 'sql', 'select count(*) as n from silver.runs', '--json']\n"
        "from studio.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert stop.code == 0, stop.code"
    )
    loaded = loaded_after(code)
    assert "duckdb" in loaded
    # pyarrow.dataset, through which DuckDB prunes files, imports pandas where it is installed.
    assert loaded & ({*HEAVY, "dagster"} - {"pandas"}) == set()
