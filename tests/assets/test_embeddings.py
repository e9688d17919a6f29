"""The embeddings room in Dagster: texts, vectors and index are made in order, and the check says how fresh they are."""

import dagster as dg
import pytest

from assets.embeddings import RECOMPUTE_TAG, TABLES, VECTOR_SEARCH, embedded_texts, freshness, sync_to_vector_search
from resources.config import Config
from resources.embedding_models.configuration import EmbeddingsConfig
from resources.installation import Installation
from resources.state import State
from tests.embeddings.rows import prompt_rows


@pytest.fixture
def installation(tmp_path) -> Installation:
    config = Config(embeddings=EmbeddingsConfig(model="hashing", max_lag_seconds=0))
    state = State(home=tmp_path / "state", lake_uri=str(tmp_path / "lake"))
    return Installation(folder=tmp_path, state=state, config=config)


def materialised(installation: Installation, **tags: str) -> dict[str, dict[str, object]]:
    """Metadata of the room's assets after a run, by asset, and what the check found."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [embedded_texts, sync_to_vector_search, freshness],
            instance=instance,
            resources={"installation": installation},
            tags=tags,
        )
    facts = {
        event.asset_key.to_user_string(): {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
    }
    (check,) = result.get_asset_check_evaluations()
    return facts | {"check": {"passed": check.passed} | {k: v.value for k, v in check.metadata.items()}}


def test_a_run_embeds_what_is_new_and_the_check_tells_the_lag(installation) -> None:
    lake = installation.lake
    lake.upsert("silver.prompts", prompt_rows(["refund", "hours"]))
    facts = materialised(installation)
    assert facts["silver/texts"]["written"] == 2
    assert facts["silver/embeddings"]["embedded"] == 2
    index = facts[VECTOR_SEARCH.to_user_string()]
    assert (index["mode"], index["dagster/row_count"]) == ("rebuilt", 2)
    assert (facts["check"]["passed"], facts["check"]["lag in versions"]) == (True, 0)
    assert [lake.row_count(table) for table in TABLES] == [2, 2]

    again = materialised(installation)
    assert (again["silver/embeddings"]["embedded"], again[VECTOR_SEARCH.to_user_string()]["mode"]) == (0, "unchanged")
    everything = materialised(installation, **{RECOMPUTE_TAG: "all"})
    assert everything["silver/embeddings"]["known already"] == 2
    assert everything[VECTOR_SEARCH.to_user_string()]["mode"] == "rebuilt"


def test_an_index_that_is_behind_fails_its_check(installation) -> None:
    installation.lake.upsert("silver.prompts", prompt_rows(["refund"]))
    result = freshness(installation)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert result.metadata["lag in versions"].value == installation.lake.version("silver.prompts") + 1
    assert result.metadata["lag in seconds"].value > 0
    assert "| prompts | silver.prompts |" in result.metadata["stages"].value
