"""The trends asset, its checks by policy, and the job that acknowledges."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import dagster as dg
import pytest

from assets.trends import TREND_TABLES, acknowledge_change, trend_groups, trends
from resources.installation import Installation
from tests.trends.series import put_runs, stepped


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / ".benchlake"))
    monkeypatch.delenv("BENCHLAKE_LAKE", raising=False)
    (tmp_path / "benchlake.toml").write_text("[trends]\nsample_history = false\nalarm_days = 3650\n")
    return Installation(folder=tmp_path)


def checked(installation: Installation, instance: dg.DagsterInstance) -> dict[str, dg.AssetCheckEvaluation]:
    result = dg.materialize([trends, trend_groups], instance=instance, resources={"installation": installation})
    assert result.success
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def test_a_confirmed_regression_stands_until_it_is_acknowledged(installation: Installation) -> None:
    lake = installation.lake
    put_runs(lake, stepped((20, 100), (14, 120)), metric="mean_score")
    put_runs(lake, stepped((20, 100), (14, 120)), first=100, metric="latency_ms", backend="b")
    with dg.DagsterInstance.ephemeral() as instance:
        found = checked(installation, instance)
        assert {name for name, each in found.items() if not each.passed} == {"quality_regressions", "speed_regressions"}
        # The shipped severities.
        assert found["quality_regressions"].severity == dg.AssetCheckSeverity.ERROR
        assert found["speed_regressions"].severity == dg.AssetCheckSeverity.WARN
        for change_id in lake.read("gold.trend_regressions")["change_id"]:
            config = {"change_id": change_id, "reason": "meant", "author": "ada"}
            result = acknowledge_change.execute_in_process(
                instance=instance,
                run_config={"ops": {"acknowledge_one": {"config": config}}},
                resources={"installation": installation},
            )
            assert result.success
        assert all(each.passed for each in checked(installation, instance).values())


def test_the_first_night_has_a_sample_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / ".benchlake"))
    installation = Installation(folder=tmp_path)
    result = dg.materialize([trends], resources={"installation": installation})
    events = {
        ".".join(event.asset_key.path): event.metadata for event in result.asset_materializations_for_node("trends")
    }
    assert set(events) == set(TREND_TABLES)
    told = events["gold.trend_regressions"]
    assert "sample" in str(told["newest changes"].value)
    assert sum("data:image/svg+xml" in str(entry.value) for entry in told.values()) == 3
    assert installation.lake.row_count("gold.trend_regressions") > 0
    assert dt.datetime.now(dt.UTC) > installation.lake.read("gold.trend_series")["ordered_at"].max()
