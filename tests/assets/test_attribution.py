"""The job `attribute` in Dagster after a small optimisation, with a model that is a rule."""

import base64
import warnings
from contextlib import contextmanager

import dagster as dg
import pytest

import resources.language_models
from assets.attribution import attributed_runs
from assets.definitions import build_defs
from resources.config import Config
from resources.installation import Installation
from tests.attribution.learnt import LetterEmbedder, learn, stock
from tests.optimization.fakes import RuleEngine


@pytest.fixture
def installation(tmp_path, monkeypatch):
    """One run that has ended; `installation.engine` answers."""
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("DSPY_CACHEDIR", str(tmp_path / "dspy"))
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "true")
    monkeypatch.delenv("BENCHLAKE_LAKE", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import dspy.teleprompt  # noqa: F401
    made = Installation(folder=tmp_path)
    made.engine = RuleEngine()
    made.openings = 0
    made.embedder = LetterEmbedder()

    @contextmanager
    def opened(name, models, *, state_dir, seed):
        made.openings += 1
        yield made.engine

    monkeypatch.setattr(resources.language_models, "open_language_model", opened)
    learn(stock(made.lake), engine=made.engine)
    return made


def attribute(installation, *, tags=None, **config):
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [attributed_runs],
            instance=instance,
            tags=tags,
            resources={"installation": installation},
            run_config={"ops": {"attributed_runs": {"config": config}}},
        )
    assert result.success
    return {
        event.asset_key.path[-1]: event.materialization.metadata for event in result.get_asset_materialization_events()
    }


def test_jobs_and_the_night_hold_the_room_s_assets(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "state"))
    defs = build_defs(folder=tmp_path)
    for job in ("attribute", "backfill_attribution", "nightly"):
        keys = {key.to_user_string() for key in defs.resolve_job_def(job).asset_layer.executable_asset_keys}
        assert {"gold/attributions", "gold/attribution_deltas", "gold/attribution_evaluations"} <= keys


def test_the_night_values_new_runs_by_vectors_and_by_asking_and_credits_units(installation) -> None:
    metadata = attribute(installation)
    methods = installation.lake.read("gold.attributions")["method"].value_counts()
    # Forty-two examples that could have been shown, three demos, and the units of either.
    assert dict(methods.iter_rows()) == {"knn_shapley": 42, "leave_one_out": 3, "lineage_rollup": 45}
    assert "indistinguishable from 0" in metadata["attributions"]["methods"].value
    assert "outputs are no classes" in metadata["attributions"]["methods"].value
    picture = metadata["attributions"]["ValuesChart"].value
    assert base64.b64decode(picture.partition("base64,")[2].rstrip(")")).startswith(b"<svg")


def test_a_second_night_and_a_backfill_ask_and_write_nothing(installation) -> None:
    attribute(installation)
    asked, tables = len(installation.engine.requests), ("gold.attributions", "gold.attribution_evaluations")
    versions = installation.lake.versions(tables)
    assert attribute(installation)["attributions"]["runs"].value == "none is new"
    backfilled = attribute(installation, tags={"benchlake/recompute": "all"})
    assert backfilled["attributions"]["runs"].value == 1
    assert "stood already" in backfilled["attributions"]["methods"].value
    assert (len(installation.engine.requests), installation.lake.versions(tables)) == (asked, versions)
    assert installation.openings == 1


def test_a_model_that_is_down_keeps_the_run_for_the_next_night(installation) -> None:
    def fail(request):
        raise ConnectionError("no server")

    answer, installation.engine.complete = installation.engine.complete, fail
    told = attribute(installation)["attributions"]["methods"].value
    assert "answered no item: no server" in told.replace("\\", "")
    assert installation.lake.read("gold.attributions")["method"].unique().to_list() == ["knn_shapley"]
    installation.engine.complete = answer
    attribute(installation)
    assert "leave_one_out" in installation.lake.read("gold.attributions")["method"].to_list()


def test_a_night_without_time_for_asking_leaves_the_model_alone(installation) -> None:
    installation.config = Config.model_validate({"attribution": {"budget_seconds": 0}})
    attribute(installation)
    assert (installation.openings, installation.lake.row_count("gold.attribution_evaluations")) == (0, 0)
    assert attribute(installation)["attributions"]["runs"].value == "none is new"


def test_the_launchpad_s_words_are_those_of_the_plan(installation) -> None:
    attribute(installation, runs=["latest"], methods=["shapley_exact"], max_items=4)
    rows = installation.lake.read("gold.attributions", where={"unit_kind": "example"})
    assert (set(rows["method"]), set(rows["sample_count"])) == ({"shapley_exact"}, {4})
