"""The timelines asset: a partition, the night, and what wakes late dates."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import dagster as dg
import pytest

from assets.timelines import TIMELINE_TABLES, timeline_feed_sensor, timelines
from pipelines.runs.steps import import_paths
from resources.installation import Installation
from tests.timelines.spans import BASE_NS, steps_of, trace_file

NOW = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
DAY_NS = 86_400_000_000_000


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Two nights of one training."""
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / ".benchlake"))
    monkeypatch.delenv("BENCHLAKE_LAKE", raising=False)
    trace_file(tmp_path / "first.json", steps_of([100, 110, 120]))
    trace_file(tmp_path / "second.json", steps_of([130, 140, 150]), base_ns=BASE_NS + DAY_NS)
    installation = Installation(folder=tmp_path)
    import_paths(installation.lake, [tmp_path / "first.json", tmp_path / "second.json"], now=NOW)
    return installation


def test_a_range_is_one_run_and_shows_sentence_and_pictures(installation: Installation) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        sensor = dg.build_sensor_context(instance=instance, resources={"installation": installation})
        asked = timeline_feed_sensor(sensor)
        assert isinstance(asked, dg.SensorResult)
        assert [request.tags for request in asked.run_requests or ()] == [
            {"dagster/asset_partition_range_start": "2026-11-20", "dagster/asset_partition_range_end": "2026-11-21"}
        ]
        result = dg.materialize(
            [timelines],
            instance=instance,
            resources={"installation": installation},
            tags=(asked.run_requests or [])[0].tags,
        )
        assert result.success
        events = result.asset_materializations_for_node("timelines")
        metadata = {".".join(event.asset_key.path): event.metadata for event in events}
        assert set(metadata) == set(TIMELINE_TABLES)
        told = metadata["gold.timeline_diffs"]
        assert "slower" in str(told["what got slower"].value)
        assert str(told["pictures"].value).count("data:image/svg+xml;base64,") == 2
        assert isinstance(timeline_feed_sensor(sensor), dg.SkipReason)


def test_dates_without_spans_are_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / ".benchlake"))
    with dg.DagsterInstance.ephemeral() as instance:
        found = dg.materialize(
            [timelines],
            instance=instance,
            resources={"installation": Installation(folder=tmp_path)},
            partition_key="2026-11-20",
        )
    assert found.success
