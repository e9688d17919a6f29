"""The examples of docs/querying.md, run as they stand."""

from __future__ import annotations

import re

import pytest

from lake.store import Lake
from studio.documentation import DOCS
from tests.evidence.rows import run, run_rows

PAGE = (DOCS / "querying.md").read_text("utf-8")
EXAMPLES = {
    title: code
    for title, code in re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
    if title != "Spark"
}


@pytest.fixture
def lake(tmp_path, monkeypatch) -> Lake:
    monkeypatch.chdir(tmp_path)
    lake = Lake.open(tmp_path / ".benchlake" / "lake")
    lake.upsert("silver.runs", run_rows(run("one"), run("two")))
    return lake


@pytest.mark.parametrize("title", EXAMPLES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_example_reads_the_same_rows(lake, title: str) -> None:
    names: dict[str, object] = {}
    exec(compile(EXAMPLES[title], title, "exec"), names)
    found = next(names[name] for name in ("new", "before", "found", "runs") if name in names)
    if title == "An earlier version":
        assert found.version() == 0
        return
    rows = found.read_all() if hasattr(found, "read_all") else found
    assert len(rows) == 2


def test_the_page_names_the_engines_it_promises() -> None:
    assert set(EXAMPLES) == {"Polars", "pandas", "pyarrow", "DuckDB", "The change feed", "An earlier version"}
