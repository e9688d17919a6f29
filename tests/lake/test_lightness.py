"""Reading and writing the lake from a program costs Polars, Delta and DuckDB, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# Not pandas: pyarrow.dataset, through which SQL reads, loads it in 0.3 s where it is installed.
HEAVY = [
    "dagster",
    "torch",
    "transformers",
    "sentence_transformers",
    "dspy",
    "great_expectations",
    "litellm",
    "sklearn",
    "scipy",
    "faiss",
]
CODE = """
import sys
from lake.store import Lake
lake = Lake.open(sys.argv[1])
lake.move_cursor("c", {"silver.runs": 3})
lake.move_cursor("c", {"silver.runs": 4})
assert lake.sql("select version from silver.cursors").rows() == [(4,)]
assert lake.changes("silver.cursors", 0).height == 3
lake.maintain("silver.cursors")
print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_using_the_lake_loads_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE, str(tmp_path)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(done.stdout.split())
    assert {"polars", "deltalake", "duckdb"} <= loaded
    assert loaded & set(HEAVY) == set()
