"""The command line as a user meets it: words in, words and exit codes out."""

import json
import subprocess
import sys

import pytest


@pytest.fixture
def benchlake(tmp_path, monkeypatch):
    """Run the command line in a process of its own, in an empty folder."""
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("BENCHLAKE_LAKE", raising=False)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "studio.cli", *words], capture_output=True, text=True, cwd=tmp_path, check=False
        )

    return run


RUN_FILE = "\n".join(
    json.dumps(record)
    for record in [
        {
            "type": "run",
            "schema_version": 1,
            "suite": "tiny",
            "backend": "echo",
            "model": "none",
            "started_at": "2026-11-20T02:00:00Z",
        },
        {"type": "output", "sample_id": "a", "output": "yes", "status": "ok", "scores": {"exact_match": 1.0}},
        {"type": "output", "sample_id": "b", "output": "no", "status": "ok", "scores": {"exact_match": 0.0}},
        {"type": "end", "status": "success", "ended_at": "2026-11-20T02:00:05Z"},
    ]
)


def test_import_answers_with_counts_and_a_second_time_with_nothing_new(benchlake, tmp_path) -> None:
    (tmp_path / "run.jsonl").write_text(RUN_FILE)
    first = benchlake("import", "run.jsonl", "--json")
    assert (first.returncode, json.loads(first.stdout)) == (0, {"files": 1, "runs": 1, "samples": 2, "rejects": 0})
    again = benchlake("import", "run.jsonl", "--json")
    assert (again.returncode, json.loads(again.stdout)) == (0, {"files": 0, "runs": 0, "samples": 0, "rejects": 0})
    rows = benchlake("sql", "select sample_id, output from silver.outputs order by 1", "--format", "json")
    assert json.loads(rows.stdout) == [{"sample_id": "a", "output": "yes"}, {"sample_id": "b", "output": "no"}]
    runs = json.loads(benchlake("runs", "--json").stdout)
    assert [(run["suite"], run["backend"], run["output_count"], run["mean_score"]) for run in runs] == [
        ("tiny", "echo", 2, 0.5)
    ]


def test_a_bad_file_is_a_message_and_a_reject_not_a_traceback(benchlake, tmp_path) -> None:
    (tmp_path / "bad.json").write_bytes(b"\x00\xff not a run")
    result = benchlake("import", "bad.json", "--json")
    assert json.loads(result.stdout)["rejects"] == 1
    assert "bad.json" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["sql", "select * from silver.runz"], "runz"),
        (["sql", "drop table silver.runs"], "SELECT"),
        (["sql", "select 1", "--at", "yesterday"], "ISO 8601"),
        (["sql", "select 1", "--at", "silver.runz=1"], "silver.runs"),
        (["maintain", "silver.run"], "silver.runs"),
        (["import", "no/such/file"], "no/such/file"),
        (["gate", "--date", "soon"], "soon"),
        (["nonsense"], "nonsense"),
    ],
)
def test_bad_usage_says_what_was_wrong_and_exits_with_3(benchlake, words, hint) -> None:
    result = benchlake(*words)
    assert (result.returncode, hint in result.stderr, "Traceback" in result.stderr) == (3, True, False), result.stderr


def test_an_empty_lake_says_what_to_do_next(benchlake) -> None:
    assert "benchlake nightly" in benchlake("runs").stdout
    assert benchlake("gate").returncode == 2  # no evidence is inconclusive, never pass
    assert json.loads(benchlake("sql", "select * from gold.gate_results", "--json").stdout) == []


def test_configuration_mistakes_name_file_key_and_choices(benchlake, tmp_path) -> None:
    (tmp_path / "benchlake.toml").write_text('[nightly]\nbackends = ["llama.cp"]\n')
    result = benchlake("runs")
    assert result.returncode == 3
    assert "benchlake.toml" in result.stderr
    assert "llama.cpp" in result.stderr


def run_lines(run_id: str, backend: str, day: int, output: str) -> str:
    records = [
        {
            "type": "run",
            "run_id": run_id,
            "suite": "tiny",
            "backend": backend,
            "model": "m",
            "started_at": f"2026-11-{day:02}T02:00:00Z",
            "fingerprint": {"suite_digest": "s", "prompt_digest": "p"},
        },
        *(
            {
                "type": "output",
                "sample_id": f"s{n}",
                "output": output,
                "status": "ok",
                "latency_ms": 5.0,
                "scores": {"exact_match": float(output == "yes")},
            }
            for n in range(40)
        ),
        {"type": "end", "status": "success"},
    ]
    return "\n".join(map(json.dumps, records))


def test_gate_judges_what_was_imported_and_never_shows_an_older_date_instead(benchlake, tmp_path) -> None:
    for name, run_id, day, output in (("a", "r1", 1, "yes"), ("b", "r2", 2, "yes")):
        (tmp_path / f"{name}.jsonl").write_text(run_lines(run_id, "staging", day, output))
    benchlake("import", "a.jsonl", "b.jsonl")
    good = benchlake("gate")
    assert (good.returncode, "2026-11-02" in good.stdout) == (0, True), good.stdout  # r2 is no worse than r1
    (tmp_path / "c.jsonl").write_text(run_lines("r3", "staging", 3, "no"))
    benchlake("import", "c.jsonl")
    bad = benchlake("gate")
    assert (bad.returncode, "score_parity: fail" in bad.stdout) == (1, True), bad.stdout
    # A newer run that has no baseline: nothing is known about that date, whatever stood before.
    (tmp_path / "d.jsonl").write_text(run_lines("r4", "another", 4, "yes"))
    benchlake("import", "d.jsonl")
    unknown = benchlake("gate")
    assert (unknown.returncode, "2026-11-04" in unknown.stdout) == (2, True), unknown.stdout


def test_a_wrong_format_is_refused_and_does_not_stand_in_the_way_of_the_right_one(benchlake, tmp_path) -> None:
    (tmp_path / "run.jsonl").write_text(RUN_FILE)
    wrong = benchlake("import", "run.jsonl", "--format", "inspect")
    assert (wrong.returncode, "benchlake by its content" in wrong.stderr) == (3, True)
    assert json.loads(benchlake("import", "run.jsonl", "--json").stdout)["samples"] == 2
    assert len(json.loads(benchlake("runs", "--json").stdout)) == 1


def test_a_path_that_does_not_exist_is_bad_usage_even_beside_a_good_one(benchlake, tmp_path) -> None:
    (tmp_path / "run.jsonl").write_text(RUN_FILE)
    result = benchlake("import", "run.jsonl", "nope.jsonl", "--json")
    assert (result.returncode, json.loads(result.stdout)["runs"]) == (3, 1)


@pytest.mark.parametrize(
    ("line", "hint"), [('cron = "foo"', "five cron fields"), ('time_zone = "Mars/X"', "IANA"), ('suite = "x"', "suite")]
)
def test_a_night_that_cannot_start_says_why_before_anything_else(benchlake, tmp_path, line, hint) -> None:
    (tmp_path / "benchlake.toml").write_text(f"[nightly]\n{line}\n")
    result = benchlake("nightly")
    assert (result.returncode, hint in result.stderr, result.stdout) == (3, True, ""), result.stderr


def test_import_names_every_format_in_its_help() -> None:
    from typer.testing import CliRunner

    from pipelines.runs.importers import IMPORTERS
    from studio.cli import app

    told = CliRunner().invoke(app, ["import", "--help"], terminal_width=200).stdout
    assert [kind for kind in IMPORTERS if kind not in told] == []


def test_a_reader_who_leaves_is_not_a_gate_that_failed(tmp_path, monkeypatch) -> None:
    """1 would say so to a script that has `set -o pipefail`."""
    import errno

    from studio.cli import EXIT_READER_LEFT, main

    class Closed:
        def write(self, text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, "the reader has gone")

        def flush(self) -> None:
            """Nothing was written."""

    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "argv", ["benchlake", "runs"])
    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == EXIT_READER_LEFT


def test_tables_without_a_version_were_never_written_or_are_views(benchlake, tmp_path) -> None:
    (tmp_path / "run.jsonl").write_text(RUN_FILE)
    benchlake("import", "run.jsonl")
    rows = {row["table"]: row for row in json.loads(benchlake("tables", "--json").stdout)}
    assert (rows["silver.runs"]["rows"], rows["silver.runs"]["version"]) == (1, 1)
    assert (rows["gold.reports"]["rows"], rows["gold.reports"]["version"]) == (0, None)
    assert rows["silver.databits_current"]["grain"].startswith("View: ")
