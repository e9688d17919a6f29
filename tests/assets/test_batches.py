"""The job `ask_suites` as it is launched from the Dagster UI: typed config in, one batch out."""

import dagster as dg
import pytest

from assets.batches import AskSuites, logged_counts
from assets.definitions import build_defs
from pipelines.runs.batches import BatchCell
from resources.config import Config
from resources.installation import Installation
from resources.state import State
from tests.kill_nightly import prepare
from tests.openai_server import openai_server


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a suite of twelve prompts and two backends on a loopback server."""
    folder = tmp_path_factory.mktemp("project")
    with openai_server() as base_url:
        prepare(folder, base_url)
        yield folder


@pytest.fixture
def installation(project, tmp_path) -> Installation:
    return Installation(folder=project, state=State(home=tmp_path / "state", lake_uri=str(tmp_path / "lake")))


@pytest.fixture
def ask(project):
    """Launch the job with a config, as the launchpad does."""
    with dg.DagsterInstance.ephemeral() as instance:

        def launch(installation: Installation, **config: object) -> dg.ExecuteInProcessResult:
            return (
                build_defs(folder=project)
                .resolve_job_def("ask_suites")
                .execute_in_process(
                    instance=instance,
                    raise_on_error=False,
                    resources={"installation": installation},
                    run_config={"ops": {"asked_suites": {"config": config}}},
                )
            )

        yield launch


def test_the_launchpad_offers_what_a_batch_has(project) -> None:
    assert list(AskSuites.to_config_schema().config_type.fields) == [
        "suites", "backends", "repeats", "tags", "batch", "jobs",
    ]  # fmt: skip
    with pytest.raises(dg.DagsterInvalidConfigError, match="repeat"):
        build_defs(folder=project).resolve_job_def("ask_suites").execute_in_process(
            run_config={"ops": {"asked_suites": {"config": {"repeat": 2}}}}
        )


def test_a_batch_is_asked_imported_and_shown_and_taken_up_by_its_name(ask, installation) -> None:
    config = {"suites": ["kill.suite.yaml"], "backends": ["llama.cpp", "transformers"], "repeats": 2, "tags": ["exp"]}
    first = ask(installation, **config, batch="sweep")
    assert first.success
    lake = installation.lake
    assert (lake.row_count("silver.runs"), lake.row_count("silver.outputs")) == (2, 48)
    assert lake.read("silver.runs")["tags"][0].to_list()[1] == "exp"
    shown = {event.asset_key.to_user_string(): event.metadata for event in _materialisations(first)}
    assert "24 of 24" in shown["silver/batch_runs"]["cells"].value
    assert {"silver/suites", "silver/prompts", "silver/runs"} <= set(shown)
    versions = lake.versions(["silver.runs", "silver.outputs", "silver.batch_runs", "silver.suites"])
    assert ask(installation, **config, batch="sweep").success
    assert lake.versions(list(versions)) == versions  # nothing was asked again


def test_without_config_it_asks_what_the_night_asks_under_the_name_of_the_run(ask, installation) -> None:
    result = ask(installation)
    assert result.success
    rows = installation.lake.read("silver.batch_runs")
    assert set(rows["batch"]) == {f"dagster-{result.run_id[:8]}"}
    assert sorted(rows["backend"]) == sorted(installation.config.nightly.backends)


def test_a_cell_that_fails_fails_the_step_after_its_rows_are_shown(ask, installation, project) -> None:
    broken = installation.config.backends["transformers"].model_copy(update={"api_key_variable": "NO_SUCH_KEY"})
    backends = {**installation.config.backends, "transformers": broken}
    config = Config.load(project).model_copy(update={"backends": backends})
    result = ask(Installation(folder=project, state=installation.state, config=config), batch="mixed")
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "1 of 2 runs did not finish" in failure.step_failure_data.error.message
    assert sorted(installation.lake.read("silver.batch_runs")["state"]) == ["failed", "finished"]
    assert "silver/batch_runs" in {event.asset_key.to_user_string() for event in _materialisations(result)}


def test_the_log_is_told_how_far_a_cell_is_every_quarter_of_a_minute() -> None:
    seconds, said = [0.0], []
    tell = logged_counts(said.append, ticks=lambda: seconds[0])
    cell = BatchCell(
        run_id="r", suite="s", suite_digest="d", backend="b", backend_digest="e", commit=None, repeats=1,
        expected_count=9,
    )  # fmt: skip
    for seconds[0], answered in ((1.0, 1), (15.0, 2), (16.0, 3), (31.0, 4)):
        tell(cell, answered)
    assert said == ["s on b: 2 of 9 outputs", "s on b: 4 of 9 outputs"]


def _materialisations(result: dg.ExecuteInProcessResult) -> list[dg.AssetMaterialization]:
    return [event.materialization for event in result.all_events if event.is_step_materialization]
