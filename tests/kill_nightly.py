"""Kill the night at random points, run it again, and compare with an undisturbed one.

`python -m tests.kill_nightly --times 20` prints what it did and exits 1 if a table differs. The test suite runs a few
rounds (tests/test_kill_nightly.py); the full twenty take some minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from lake.store import Lake
from lake.tables import CONTRACTS
from tests.openai_server import openai_server

ROOT = Path(__file__).parent.parent
NIGHT = [sys.executable, "-m", "assets.nightly"]
# A night of twelve prompts takes some ten seconds; one that is still there by then waits for something dead.
MAX_SECONDS = 120
SUITE = """\
version: "1"
name: kill-test
description: Twelve prompts for a server that answers by rule.
sampling: {temperature: 0, max_output_tokens: 16, top_k_logprobs: 2}
samples:
"""
# What depends on the clock, or on a digest of something that does, may differ between two nights; nothing else may.
CLOCKED = {
    "latency_ms", "time_to_first_token_ms", "started_at", "ended_at", "imported_at", "raw", "file_sha256",
    "content_digest", "input_digest", "input_versions", "uri", "size_bytes", "reject_id", "version", "error_message",
}  # fmt: skip
COMPARED = {
    "bronze.run_files": ("source_kind", "run_ids", "record_count", "reject_count"),
    # Backends answer several prompts at a time, so the order of lines in a run's file is not fixed.
    "bronze.raw_records": ("member", "run_id", "sample_id"),
    "silver.runs": None,
    "silver.outputs": None,
    "silver.output_tokens": None,
    "gold.output_diffs": None,
    "gold.token_divergences": None,
    "gold.token_positions": None,
    "gold.run_comparisons": None,
    "gold.gate_results": ("comparison_id", "gate", "family", "severity", "sample_count"),
}


def prepare(folder: Path, base_url: str) -> None:
    """A project whose night asks the loopback server as two backends."""
    samples = "".join(
        f'  - {{id: s{index}, prompt: "Say {index}", reference: "word{index}", scorers: [contains]}}\n'
        for index in range(12)
    )
    (folder / "kill.suite.yaml").write_text(SUITE + samples)
    (folder / "benchlake.toml").write_text(
        '[nightly]\nsuite = "kill.suite.yaml"\nbackends = ["llama.cpp", "transformers"]\n'
        + "".join(
            f'[backends."{name}"]\nengine = "openai"\nbase_url = "{base_url}"\nmodel = "{model}"\n'
            for name, model in (("llama.cpp", "a"), ("transformers", "b"))
        )
        # Without a model: its vectors are the same to the last bit, however a killed night cuts its batches.
        + '[embeddings]\nmodel = "hashing"\n'
        # Slow, and with tests of their own.
        + "[optimization]\nis_nightly = false\n[trends]\nsample_history = false\n"
    )


def night(folder: Path, *, kill_after: float | None = None) -> bool:
    """Run a night in `folder`; SIGKILL it after so many seconds. True if it ended by itself."""
    state = folder / "state"
    (state / "dagster").mkdir(parents=True, exist_ok=True)
    environ = {
        **os.environ,
        "BENCHLAKE_HOME": str(state),
        "DAGSTER_HOME": str(state / "dagster"),
        "PYTHONPATH": str(ROOT),
    }
    environ.pop("BENCHLAKE_LAKE", None)
    with (folder / "night.log").open("a") as log:
        child = subprocess.Popen(NIGHT, cwd=folder, env=environ, stdout=log, stderr=log, start_new_session=True)
        try:
            status = child.wait(timeout=kill_after or MAX_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            if kill_after is None:
                raise RuntimeError(f"a night hung for {MAX_SECONDS} s:\n{_log_end(folder)}") from None
            return False
    if status:
        raise RuntimeError(_log_end(folder))
    return True


def _log_end(folder: Path) -> str:
    return (folder / "night.log").read_text()[-4_000:]


def content(lake: Lake) -> dict[str, pl.DataFrame]:
    """Every compared table without what the clock decides, in a stable order."""
    found = {}
    for table, columns in COMPARED.items():
        names = columns or tuple(name for name in CONTRACTS[table].dtypes if name not in CLOCKED)
        rows = lake.read(table, columns=names)
        found[table] = pl.DataFrame({"row": sorted(map(repr, rows.iter_rows()))}, schema={"row": pl.String})
    return found


def broken_rules(lake: Lake) -> list[str]:
    """Duplicates and orphans, in words; empty when the lake is sound."""
    problems = []
    for table, contract in CONTRACTS.items():
        keys = lake.read(table, columns=contract.key)
        if keys.height != keys.unique().height:
            problems.append(f"{table} has {keys.height - keys.unique().height} duplicate rows")
    for child, parent, column in (
        ("silver.outputs", "silver.runs", "run_id"),
        ("silver.output_tokens", "silver.runs", "run_id"),
        ("bronze.raw_records", "bronze.run_files", "file_sha256"),
        ("gold.output_diffs", "gold.run_comparisons", "comparison_id"),
        ("gold.token_divergences", "gold.run_comparisons", "comparison_id"),
        ("gold.token_positions", "gold.token_divergences", "comparison_id"),
        ("gold.gate_results", "gold.run_comparisons", "comparison_id"),
    ):
        orphans = lake.read(child, columns=[column]).join(lake.read(parent, columns=[column]), on=column, how="anti")
        if orphans.height:
            problems.append(f"{orphans.height} rows of {child} have no {parent}")
    return problems


def differences(undisturbed: dict[str, pl.DataFrame], killed: dict[str, pl.DataFrame]) -> list[str]:
    """Tables whose content is not the same, in words."""
    return [
        f"{table}: {rows.height} rows undisturbed, {killed[table].height} after kills"
        for table, rows in undisturbed.items()
        if not rows.equals(killed[table])
    ]


def rounds(times: int, *, seed: int) -> list[str]:
    """One undisturbed night, then one night killed `times` times in all over fresh and half-done states."""
    generator = random.Random(seed)
    problems: list[str] = []
    with openai_server() as base_url, tempfile.TemporaryDirectory() as parent:
        calm = Path(parent, "calm")
        calm.mkdir()
        prepare(calm, base_url)
        began = time.monotonic()
        night(calm)
        length = time.monotonic() - began
        undisturbed = content(Lake.open(calm / "state" / "lake"))
        kills = attempt = 0
        while kills < times and attempt < 3 * times:
            folder = Path(parent, f"killed{attempt}")
            folder.mkdir()
            prepare(folder, base_url)
            attempt += 1
            # The first seconds are imports; nearly all kills are aimed at the part that writes.
            moments = []
            while kills < times and not night(folder, kill_after=(moment := generator.uniform(0.3, 1.0) * length)):
                kills += 1
                moments.append(f"{moment:.1f}")
            night(folder)
            lake = Lake.open(folder / "state" / "lake")
            found = [*broken_rules(lake), *differences(undisturbed, content(lake))]
            print(f"night {attempt}: killed after {', '.join(moments) or 'never'} s; {found or 'equal'}", flush=True)
            problems.extend(found)
        print(f"{kills} kills in {attempt} nights; an undisturbed night takes {length:.1f} s; {len(problems)} problems")
        if kills < times:
            problems.append(f"only {kills} of {times} nights were still running when they were to be killed")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    return 1 if rounds(options.times, seed=options.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
