"""What others ask of embeddings: vectors of texts, texts near a text, and an index that is never the problem."""

import datetime as dt

import numpy as np
import pytest

from lake.errors import UserError
from pipelines.embeddings.freshness import measure_lag
from pipelines.embeddings.index_files import MANIFEST
from pipelines.embeddings.service import EmbeddingService
from tests.embeddings.rows import CountingEmbedder, prompt_rows

PROMPTS = "silver.prompts"
WORDS = ["refund of a parcel", "opening hours of the shop", "parcel was not delivered", "change my password"]


@pytest.fixture
def service(lake, tmp_path):
    lake.upsert(PROMPTS, prompt_rows(WORDS))
    return another(lake, tmp_path)


def another(lake, tmp_path) -> EmbeddingService:
    """A service as another process would have it."""
    embedders = {None: CountingEmbedder(), "other": CountingEmbedder(revision="other")}
    return EmbeddingService(lake, open_embedder=embedders.__getitem__, indexes=tmp_path / "indexes")


def found(service, text, **options) -> list[str]:
    return service.search(text, **options).rows["text"].to_list()


def test_vectors_of_texts_have_unit_length(service) -> None:
    vector = service.compute_embedding("refund")
    assert vector.shape == (384,)
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert service.compute_embeddings(["a", "b"], model="other").shape == (2, 384)


def test_the_nearest_texts_come_first_with_the_version_that_was_searched(service, lake) -> None:
    assert service.search("parcel").rows.is_empty()  # nothing is embedded yet, and nothing breaks
    result = service.update()
    assert (result.texts.written_count, result.vectors.embedded_count, result.index.vector_count) == (4, 4, 4)
    answer = service.search("parcel", count=2)
    assert set(answer.rows["text"]) == {"refund of a parcel", "parcel was not delivered"}
    assert answer.rows["rank"].to_list() == [1, 2]
    assert answer.version == answer.newest_version == lake.version("silver.embeddings")


def test_a_search_can_be_held_to_a_source_or_to_some_subjects(service) -> None:
    service.update()
    assert found(service, "parcel", text_source="prompts", count=1)[0] in WORDS
    assert found(service, "parcel", text_source="databits") == []
    only = service.search("hours").rows.filter(text=WORDS[1])["subject_id"].to_list()
    assert found(service, "parcel", subject_ids=only) == [WORDS[1]]
    assert found(service, "parcel", subject_ids=[]) == []
    with pytest.raises(UserError, match="Did you mean prompts"):
        service.search("parcel", text_source="promts")


def test_another_process_brings_the_index_further_and_this_one_sees_it(service, lake, tmp_path) -> None:
    service.update()
    assert found(service, "invoice", count=1) != ["a copy of the invoice"]
    lake.upsert(PROMPTS, prompt_rows(["a copy of the invoice"], suite="more"))
    another(lake, tmp_path).update()
    assert found(service, "invoice", count=1) == ["a copy of the invoice"]


def test_an_index_that_was_thrown_away_is_built_when_it_is_needed(service, lake, tmp_path) -> None:
    service.update()
    before = found(service, "password")
    for path in service.folder.iterdir():
        path.unlink()
    assert found(service, "password") == before
    (service.folder / MANIFEST).write_text("{")
    assert found(another(lake, tmp_path), "password") == before


def test_the_lag_is_told_in_versions_and_seconds(service, lake, tmp_path) -> None:
    def lag(stage: str, *, later: float = 0) -> dict:
        now = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=later)
        rows = measure_lag(lake, service.embedder, tmp_path / "indexes", now=now)
        return rows.filter(stage=stage).row(0, named=True)

    assert lag("prompts")["lag_versions"] == lake.version(PROMPTS) + 1
    assert 3600 <= lag("prompts", later=3600)["lag_seconds"] < 3700
    assert lag("index")["note"] == ""  # there is nothing to index
    service.update()
    for stage in ("prompts", "embeddings", "index", "databits"):
        assert (lag(stage)["lag_versions"], lag(stage)["lag_seconds"]) == (0, 0)
    lake.remove("silver.embeddings", lake.read("silver.embeddings").head(1))
    assert (lag("index")["lag_versions"], lag("embeddings")["lag_versions"]) == (1, 0)
    service.sync()
    assert lag("index")["lag_versions"] == 0
    (service.folder / MANIFEST).unlink()
    assert "there is none yet" in lag("index")["note"]
