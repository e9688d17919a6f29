"""The job `optimize` in Dagster, with a model that is a rule."""

import base64
import warnings
from contextlib import contextmanager

import dagster as dg
import pytest

import resources.language_models
from assets.definitions import build_defs
from assets.optimization import kept_templates, optimized_templates
from resources.installation import Installation
from tests.optimization.fakes import RuleEngine


@pytest.fixture
def installation(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("DSPY_CACHEDIR", str(tmp_path / "dspy"))
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "true")
    monkeypatch.delenv("BENCHLAKE_LAKE", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import dspy.teleprompt  # noqa: F401

    @contextmanager
    def opened(name, models, *, state_dir, seed):
        state_dir.mkdir(parents=True, exist_ok=True)
        yield CopyingEngine()

    monkeypatch.setattr(resources.language_models, "open_language_model", opened)
    return Installation(folder=tmp_path)


def optimize(installation, instance, **config):
    """The room's assets without the checks of their contracts, which cost more than all else and are tested alone."""
    return dg.materialize(
        [kept_templates, optimized_templates],
        instance=instance,
        resources={"installation": installation},
        run_config={"ops": {"optimized_templates": {"config": config}}},
    )


def test_the_job_and_the_night_hold_the_room_s_assets(installation, tmp_path) -> None:
    defs = build_defs(folder=tmp_path)
    for job in ("optimize", "nightly"):
        keys = {key.to_user_string() for key in defs.resolve_job_def(job).asset_layer.executable_asset_keys}
        assert {"silver/templates", "gold/dspy_runs", "gold/dspy_trials", "gold/dspy_programs"} <= keys


class CopyingEngine(RuleEngine):
    """Knows the demo's house style once it has seen a demo of it."""

    def _answer(self, request):
        from resources.demo_template import demo_examples

        known = {draft.inputs["message"]: draft.expected_output for draft in demo_examples()}
        shown = len(request.messages) > 1
        message = next(text for text in known if text in request.messages[-1].text)
        return {"order": known[message] if shown else "?"}


def test_the_night_s_plan_leaves_templates_runs_trials_programs_and_uses(installation, tmp_path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = optimize(installation, instance)
        observed = instance.fetch_observations(dg.AssetKey(["gold", "dspy_trials"]), limit=20).records
    assert result.success
    lake = installation.lake
    assert lake.read("silver.templates").sort("version_index").select("template", "state").rows() == [
        ("transport-orders", "active"), ("transport-orders", "pending"),
    ]  # fmt: skip
    (run,) = lake.read("gold.dspy_runs").to_dicts()
    assert (run["state"], run["conclusion"], run["test_count"]) == ("finished", "improved", 24)
    assert lake.row_count("gold.dspy_trials") == len(observed) == 4
    assert lake.row_count("gold.dspy_programs") == 2
    uses = lake.read("silver.example_usages")
    # One candidate of eight demos on eight validation items.
    assert (uses.height, set(uses["consumer_kind"])) == (64, {"optimization_run"})
    materialised = {
        event.asset_key.to_user_string(): event.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    picture = materialised["gold/dspy_trials"]["TrialChart"].value
    assert base64.b64decode(picture.partition("base64,")[2].rstrip(")")).startswith(b"<svg")
    assert "difference" in materialised["gold/dspy_runs"]["outcome"].value


def test_a_night_with_nothing_new_asks_nothing(installation, tmp_path) -> None:
    for _ in range(2):
        with dg.DagsterInstance.ephemeral() as instance:
            assert optimize(installation, instance).success
    lake = installation.lake
    assert lake.row_count("gold.dspy_runs") == 1
    assert lake.read("gold.dspy_runs")["attempt_count"].to_list() == [1]


def test_the_launchpad_s_words_are_those_of_the_plan(installation, tmp_path) -> None:
    import datetime as dt

    from resources.demo_template import save_demo

    save_demo(installation.lake, now=dt.datetime.now(dt.UTC), author="ada")
    config = {"template": "transport-orders", "optimizer": "labeled_few_shot", "labeled_demo_count": 2, "max_test": 5}
    with dg.DagsterInstance.ephemeral() as instance:
        optimize(installation, instance, **config, budget_calls=500)
    (run,) = installation.lake.read("gold.dspy_runs").to_dicts()
    assert (run["optimizer"], run["test_count"], run["budget_calls"]) == ("labeled_few_shot", 5, 500)
