"""What a comparison of runs says, and that it says the same whatever the order in which rows come."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import UserError
from lake.store import Lake
from lake.tables import contract_of
from pipelines.experiments.curves import align_curves, thin
from pipelines.experiments.reading import read_run_rows
from pipelines.experiments.run_diff import RunDiff, RunRows, diff_runs
from pipelines.runs.metric_names import metric_row
from tests.evidence.rows import START, output, output_rows, run, run_rows


def metrics(*rows: dict[str, Any]) -> pl.DataFrame:
    known = {"variant": "", "step": 0, "repeat_index": 0, "run_date": START.date(), "unit": "1"}
    return pl.DataFrame([known | row for row in rows], schema=contract_of("silver.run_metrics").dtypes)


def parameters(run_id: str, **values: tuple[str, str, float | None]) -> list[dict[str, Any]]:
    return [
        {"run_id": run_id, "parameter": name, "run_date": START.date(), "value": text, "value_type": kind,
         "number": number, "unit": None}
        for name, (text, kind, number) in values.items()
    ]  # fmt: skip


def rows_of(
    *runs: dict[str, Any],
    parameter_rows: list[dict[str, Any]] | None = None,
    metric_rows: pl.DataFrame | None = None,
    outputs: list[dict[str, Any]] | None = None,
    verdicts: list[dict[str, str]] | None = None,
) -> RunRows:
    return RunRows(
        runs=[
            {"parameters": None, "environment": None, "ended_at": None, "source_run_id": None, "error_message": None}
            | item
            for item in runs
        ],
        parameters=pl.DataFrame(parameter_rows or [], schema=contract_of("silver.run_params").dtypes),
        metrics=metrics() if metric_rows is None else metric_rows,
        outputs=pl.DataFrame(
            [{"time_to_first_token_ms": None} | item for item in outputs or []],
            schema={
                name: kind
                for name, kind in contract_of("silver.outputs").dtypes.items()
                if name in {*output(run("x"), 0, "y"), "time_to_first_token_ms"}
            },
        ),
        verdicts=pl.DataFrame(
            verdicts or [],
            schema=dict.fromkeys(("candidate_run_id", "gate", "severity", "verdict"), pl.String),
        ),
    )


def metric_of(diff: RunDiff, name: str, variant: str = "") -> Any:
    return next(item for item in diff.metrics if (item.metric, item.variant) == (name, variant))


def test_only_settings_that_mean_something_else_differ() -> None:
    found = diff_runs(
        rows_of(
            run("a"),
            run("b"),
            parameter_rows=[
                *parameters("a", lr=("0.1", "number", 0.1), seed=("1", "number", 1.0), name=("x", "text", None)),
                *parameters("b", lr=("0.10", "text", 0.1), seed=("2", "number", 2.0)),
            ],
        )
    )
    assert [setting.name for setting in found.differing() if setting.group == "parameter"] == ["name", "seed"]
    seed = next(setting for setting in found.settings if setting.name == "seed")
    assert (seed.values, seed.value_types) == (("1", "2"), ("number", "number"))
    assert next(setting for setting in found.settings if setting.name == "name").values == ("x", None)


def test_nested_environment_and_commits_are_settings() -> None:
    code = {"commit": "abc", "branch": "main", "pull_request": None, "is_dirty": True, "repository_url": None}
    found = diff_runs(
        rows_of(
            run("a", environment='{"gpu":{"count":1}}', code_version=code),
            run("b", environment='{"gpu":{"count":2}}', code_version=code | {"commit": "def"}),
        )
    )
    differing = {(setting.group, setting.name): setting.values for setting in found.differing()}
    assert differing == {("environment", "gpu.count"): ("1", "2"), ("code", "commit"): ("abc", "def")}
    assert ("code", "is_dirty", ("true", "true")) in {(s.group, s.name, s.values) for s in found.settings}


@pytest.mark.parametrize(
    ("direction", "values", "judgement", "relative"),
    [
        (True, (0.5, 0.6), "better", 0.2),
        (False, (0.5, 0.6), "worse", 0.2),
        (None, (0.5, 0.6), "different", 0.2),
        (True, (0.5, 0.5), "same", 0.0),
        (True, (0.0, 0.5), "better", None),
        (False, (-2.0, -3.0), "better", -0.5),
    ],
)
def test_better_and_worse_follow_the_direction(direction, values, judgement, relative) -> None:
    rows = metrics(
        *({"run_id": name, "metric": "m", "value": value, "is_higher_better": direction}
          for name, value in zip("ab", values, strict=True))
    )  # fmt: skip
    change = metric_of(diff_runs(rows_of(run("a"), run("b"), metric_rows=rows)), "m").changes[0]
    assert change.judgement == judgement
    assert change.absolute == pytest.approx(values[1] - values[0])
    assert change.relative == (None if relative is None else pytest.approx(relative))


def test_a_change_within_its_standard_errors_is_noise() -> None:
    rows = metrics(
        {"run_id": "a", "metric": "m", "value": 0.50, "standard_error": 0.03, "is_higher_better": True},
        {"run_id": "b", "metric": "m", "value": 0.55, "standard_error": 0.04, "is_higher_better": True},
    )
    change = metric_of(diff_runs(rows_of(run("a"), run("b"), metric_rows=rows)), "m").changes[0]
    # 0.05 with an error of sqrt(0.03^2 + 0.04^2) = 0.05.
    assert change.judgement == "within_noise"
    assert (change.low, change.high) == (pytest.approx(0.05 - 0.098, abs=1e-4), pytest.approx(0.05 + 0.098, abs=1e-4))


def test_a_metric_that_a_run_lacks_is_unknown_and_never_zero() -> None:
    rows = metrics({"run_id": "a", "metric": "loss", "value": 1.0, "is_higher_better": False})
    found = metric_of(diff_runs(rows_of(run("a"), run("b"), metric_rows=rows)), "loss")
    assert found.values == (1.0, None)
    assert found.changes[0].judgement == "unknown"


def test_a_metric_over_steps_counts_with_its_last_and_its_course_is_a_curve() -> None:
    rows = metrics(
        *({"run_id": name, "metric": "loss", "step": step, "value": 2.0 / (step + shift), "is_higher_better": False}
          for name, shift in (("a", 1), ("b", 2)) for step in range(10))
    )  # fmt: skip
    found = diff_runs(rows_of(run("a"), run("b"), metric_rows=rows))
    assert metric_of(found, "loss").values == (pytest.approx(0.2), pytest.approx(2 / 11))
    assert [(curve.run_id, curve.x[:2], curve.point_count) for curve in found.curves] == [
        ("a", (0.0, 1.0), 10),
        ("b", (0.0, 1.0), 10),
    ]


def test_curves_over_time_and_tokens_are_laid_over_each_other() -> None:
    rows = metrics(
        *(
            {"run_id": name, "metric": metric, "step": step, "value": value(step),
             "recorded_at": START + dt.timedelta(seconds=start + 2 * step)}
            for name, start in (("a", 0), ("b", 500))
            for step in range(3)
            for metric, value in (("loss", lambda step: 1.0 - step / 10), ("tokens_seen", lambda step: 100.0 * step))
        )
    )  # fmt: skip
    by_time = [curve.x for curve in align_curves(["a", "b"], rows, names=["loss"], axis="time")]
    by_tokens = [curve.x for curve in align_curves(["a", "b"], rows, names=["loss"], axis="tokens")]
    assert by_time == [(0.0, 2.0, 4.0)] * 2
    assert by_tokens == [(0.0, 100.0, 200.0)] * 2


@settings(deadline=None, max_examples=30)
@given(spike=st.integers(0, 9_999), points=st.integers(20, 500))
def test_a_spike_of_one_step_survives_thinning(spike: int, points: int) -> None:
    y = np.sin(np.arange(10_000) / 500)
    y[spike] = 9.0
    kept = thin(np.arange(10_000.0), y, points=points)
    assert spike in kept
    assert {0, 9_999} <= set(kept.tolist())
    assert len(kept) <= points + 4
    assert (np.diff(kept) > 0).all()


def test_outputs_are_summed_up_by_pair() -> None:
    a, b = run("a"), run("b")
    outputs = [output(a, index, "same") for index in range(4)] + [
        output(b, 0, "same"),
        output(b, 1, "other", scores=[{"scorer": "exact_match", "value": 0.0}]),
        output(b, 2, None),
        output(b, 3, "same", prompt_digest="another prompt"),
    ]
    found = diff_runs(rows_of(a, b, outputs=outputs))
    summary = found.outputs[1]
    assert (summary.output_count, summary.ok_count, summary.failed_count) == (4, 3, 1)
    assert (summary.paired_count, summary.identical_count, summary.mismatched_prompt_count) == (3, 1, 1)
    score = metric_of(found, "score", "exact_match")
    assert score.values == (1.0, 0.75)
    assert score.changes[0].judgement == "within_noise"
    assert metric_of(found, "failed_ratio").values == (0.0, 0.25)


def test_scores_that_fall_for_every_sample_are_worse() -> None:
    a, b = run("a"), run("b")
    worse = [{"scorer": "f1", "value": 0.2}]
    better = [{"scorer": "f1", "value": 0.8}]
    outputs = [output(item, i, "t", scores=score) for item, score in ((a, better), (b, worse)) for i in range(30)]
    change = metric_of(diff_runs(rows_of(a, b, outputs=outputs)), "score", "f1").changes[0]
    assert change.judgement == "worse"
    assert change.high is not None
    assert change.high < 0


def test_a_slice_has_its_own_metrics() -> None:
    a, b = run("a"), run("b")
    outputs = [
        output(item, index, "t", tags=["geo"] if index < 5 else [], scores=[{"scorer": "s", "value": float(index < 5)}])
        for item in (a, b)
        for index in range(10)
    ]
    found = diff_runs(rows_of(a, b, outputs=outputs), slices=["geo"])
    assert metric_of(found, "score", "s").values == (0.5, 0.5)
    assert metric_of(found, "score", "s [geo]").values == (1.0, 1.0)


def test_verdicts_are_counted_and_failed_gates_named() -> None:
    verdicts = [
        {"candidate_run_id": "b", "gate": "parity", "severity": "block", "verdict": "fail"},
        {"candidate_run_id": "b", "gate": "speed", "severity": "warn", "verdict": "fail"},
        {"candidate_run_id": "b", "gate": "errors", "severity": "block", "verdict": "pass"},
    ]
    (summary,) = diff_runs(rows_of(run("a"), run("b"), verdicts=verdicts)).verdicts
    assert (dict(summary.counts), summary.failed_gates) == ({"fail": 2, "pass": 1}, ("parity",))


@pytest.mark.parametrize("count", [0, 21])
def test_too_few_or_too_many_runs_are_refused(count: int) -> None:
    with pytest.raises(UserError, match="1 to 20"):
        diff_runs(rows_of(*(run(f"r{index}") for index in range(count))))
    with pytest.raises(UserError, match="different"):
        diff_runs(rows_of(run("a"), run("a")))


@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_the_order_of_rows_changes_no_byte(data: st.DataObject) -> None:
    a, b, c = run("a"), run("b"), run("c")
    values = data.draw(st.lists(st.floats(0, 1), min_size=12, max_size=12))
    outputs = [
        output(item, index, f"{value:.1f}", scores=[{"scorer": "s", "value": value}], latency_ms=10 + value)
        for item, part in ((a, values[:4]), (b, values[4:8]), (c, values[8:]))
        for index, value in enumerate(part)
    ]
    steps = [
        {"run_id": name, "metric": "m", "step": step, "repeat_index": repeat, "value": values[step + repeat]}
        for name in "abc"
        for step in range(3)
        for repeat in range(2)
    ]
    once = diff_runs(rows_of(a, b, c, outputs=outputs, metric_rows=metrics(*steps)))
    again = diff_runs(
        rows_of(
            a, b, c,
            outputs=data.draw(st.permutations(outputs)),
            metric_rows=metrics(*data.draw(st.permutations(steps))),
        )
    )  # fmt: skip
    assert once.as_json() == again.as_json()


def test_runs_are_read_in_the_order_asked_for_and_as_they_were(tmp_path) -> None:
    lake = Lake.open(tmp_path)
    a, b = run("a"), run("b")
    lake.upsert("silver.runs", run_rows(a, b))
    lake.upsert("silver.outputs", output_rows([output(a, 0, "x"), output(b, 0, "y")]))
    before = lake.versions(["silver.runs", "silver.outputs", "silver.run_metrics"])
    lake.upsert("silver.outputs", output_rows([output(b, 0, "x")]))
    row = metric_row("b", START.date(), "loss", 1.0)._asdict()
    lake.upsert("silver.run_metrics", pl.DataFrame([row], schema=contract_of("silver.run_metrics").dtypes))
    now, then = read_run_rows(lake, ["b", "a"]), read_run_rows(lake, ["b", "a"], at=before)
    assert [item["run_id"] for item in now.runs] == ["b", "a"]
    assert diff_runs(now).outputs[1].identical_count == 1
    assert diff_runs(then).outputs[1].identical_count == 0
    assert (now.metrics.height, then.metrics.height) == (1, 0)
    with pytest.raises(UserError, match="No run c"):
        read_run_rows(lake, ["a", "c"])
