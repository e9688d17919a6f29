"""The example store in Dagster: jobs by their launchpad's config, checks, and the chart of effects."""

import dagster as dg
import pytest

from assets.definitions import build_defs
from pipelines.examples.drafts import ExampleDraft
from pipelines.examples.importing import ensure_examples
from pipelines.examples.store import ExampleStore
from pipelines.examples.usages import Usage, record_usages
from resources.installation import Installation
from resources.state import State
from tests.examples.rows import AUTHOR, NOW

CHECKS = {"index_lag", "duplicates", "licence"}


@pytest.fixture
def installation(tmp_path) -> Installation:
    """A folder whose embeddings need no model."""
    (tmp_path / "benchlake.toml").write_text('[embeddings]\nmodel = "hashing"\n')
    return Installation(folder=tmp_path, state=State(home=tmp_path / "state", lake_uri=str(tmp_path / "lake")))


@pytest.fixture
def run(installation):
    """Run a job with this test's installation."""

    def execute(job: str, config: dict | None = None) -> dg.ExecuteInProcessResult:
        with dg.DagsterInstance.ephemeral() as instance:
            resolved = build_defs(folder=installation.folder).resolve_job_def(job)
            return resolved.execute_in_process(
                instance=instance, resources={"installation": installation}, run_config=config
            )

    return execute


def test_files_are_imported_as_a_job(run, installation) -> None:
    path = installation.folder / "a.jsonl"
    path.write_text('{"question": "red?", "answer": "yes"}\nnonsense\n')
    config = {"files": [str(path)], "function_name": "qa", "tags": ["new"]}
    result = run("import_examples", {"ops": {"import_example_files": {"config": config}}})
    assert result.success
    facts = result.asset_materializations_for_node("import_example_files")[0].metadata
    assert (facts["created_count"].value, facts["rejected_count"].value) == (1, 1)
    row = ExampleStore(installation.lake).list().rows.row(0, named=True)
    assert (row["function_name"], row["tags"]) == ("qa", ["new"])


def test_rebuilding_estimates_everything_again_and_checks_say_what_they_found(run, installation) -> None:
    lake = installation.lake
    drafts = [
        ExampleDraft(example_id=name, inputs={"q": question}, expected_output=name)
        for name, question in (("first", "same?"), ("second", "same?"), ("third", "other?"))
    ]
    ensure_examples(lake, drafts, now=NOW, author=AUTHOR)
    uses = [
        Usage(
            example_id="third",
            consumer_kind="evaluation",
            consumer_id="run",
            sample_id=f"s{number}",
            outcome_score=1.0,
            baseline_score=0.0,
            used_at=NOW,
        )
        for number in range(30)
    ]
    record_usages(lake, uses)
    result = run("rebuild_examples")
    assert result.success
    facts = result.asset_materializations_for_node("example_effects")[0].metadata
    assert facts["helps"].value == 1
    assert facts["EffectivenessChart"].value.startswith("![effects of examples](data:image/svg+xml")
    assert lake.read("silver.examples", where={"example_id": "third"})["usage_count"].to_list() == [30]
    found = {one.check_name: one for one in result.get_asset_check_evaluations() if one.check_name in CHECKS}
    assert {name: one.passed for name, one in found.items()} == {
        "index_lag": False, "duplicates": False, "licence": True,
    }  # fmt: skip
    assert found["index_lag"].metadata["missing from the vector index"].value == 3
    assert found["duplicates"].metadata["duplicates"].value == 1
    run("sync_index")
    again = {one.check_name: one.passed for one in run("rebuild_examples").get_asset_check_evaluations()}
    assert again["index_lag"]


def test_candidates_are_extracted_as_a_job(run) -> None:
    config = {"ops": {"extract_candidates": {"config": {"run_id": "nobody"}}}}
    with pytest.raises(Exception, match="no run 'nobody'"):
        run("extract_examples", config)
