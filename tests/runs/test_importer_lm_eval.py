from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from pipelines.runs.importers import IMPORTERS, Importer
from pipelines.runs.sources import Limits, identify
from tests.runs.formats import read, read_bytes, rules, sample_ids, shared
from tests.runs.run_files import (
    DATE_ID,
    json_lines,
    lm_eval_choice,
    lm_eval_name,
    lm_eval_results,
    lm_eval_sample,
    lm_eval_samples,
)


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


def test_real_lm_eval_files() -> None:
    tables = read(*sorted((shared("lm_eval") / "out" / "i82qcls7").iterdir()), kind="lm_eval")
    assert tables["silver.runs"]["suite"].sort().to_list() == ["tiny_gen", "tiny_mc"]
    assert tables["silver.outputs"].height == 6
    means = {row["metric"]: row["value"] for row in tables["silver.run_metrics"].to_dicts()}
    scores = tables["silver.outputs"].explode("scores").unnest("scores").group_by("scorer").agg(pl.col("value").mean())
    # What the harness aggregated is what we land, sample by sample.
    assert dict(scores.iter_rows()) == pytest.approx(means)
    assert rules(tables) == []
