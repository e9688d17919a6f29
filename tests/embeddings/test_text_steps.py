"""Texts follow their tables and vectors follow the texts: what is new is embedded once, what went goes."""

import json

import polars as pl
import pytest

from lake.identity import text_digest
from lake.tables import contract_of
from lake.tables.embeddings import TEXT_SOURCES
from pipelines.embeddings import text_steps
from pipelines.embeddings.sources import SOURCES
from pipelines.embeddings.text_steps import EMBEDDINGS, TEXTS, collect_texts, embed_texts
from pipelines.embeddings.texts import text_of_json, vector_id, vector_ids
from tests.embeddings.rows import CountingEmbedder, prompt_rows

PROMPTS = "silver.prompts"


def texts(lake) -> dict[tuple[str, str], str]:
    rows = lake.read(TEXTS)
    assert rows["vector_id"].to_list() == [vector_id(digest) for digest in rows["text_digest"]]
    assert rows["text_digest"].to_list() == [text_digest(text) for text in rows["text"]]
    return {(row["text_source"], row["subject_id"]): row["text"] for row in rows.iter_rows(named=True)}


def embedded(lake) -> set[str]:
    return set(lake.read(EMBEDDINGS)["text_digest"])


def digests(*words: str) -> set[str]:
    return set(map(text_digest, words))


def sampled(table: str, rows: list[dict[str, object]]) -> pl.DataFrame:
    """Rows of a table with what matters given and the rest as the contract allows."""
    frame = contract_of(table).sample(len(rows))
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return frame.with_columns(pl.Series(name, values, dtype=frame.schema[name]) for name, values in columns.items())


def databit(name: str, version: int, content: object, *, is_deleted: bool = False, modality: str = "text") -> dict:
    text = json.dumps(content)
    return {
        "databit_id": name,
        "version": version,
        "content": text,
        "content_digest": text_digest(text),
        "modality": [modality],
        "is_deleted": is_deleted,
    }


def test_sources_name_columns_that_their_tables_have() -> None:
    assert tuple(source.name for source in SOURCES) == TEXT_SOURCES
    for source in SOURCES:
        assert {source.subject, source.content, *source.columns} <= set(contract_of(source.table).dtypes)


def test_prompts_are_collected_embedded_and_followed(lake) -> None:
    embedder = CountingEmbedder()
    lake.upsert(PROMPTS, prompt_rows(["refund?", "hours?"]))
    lake.upsert(PROMPTS, prompt_rows(["refund?"], suite="other"))  # the same prompt in two suites is one text
    assert collect_texts(lake).written_count == 2
    assert embed_texts(lake, embedder).embedded_count == 2
    assert set(texts(lake).values()) == {"refund?", "hours?"}
    assert embedded(lake) == digests("refund?", "hours?")
    row = lake.read(EMBEDDINGS).row(0, named=True)
    assert (row["model_name"], row["revision"], row["dimension"], row["is_normalised"]) == ("hashing", "one", 384, True)

    versions = lake.versions(lake.tables())
    assert (collect_texts(lake).written_count, embed_texts(lake, embedder).embedded_count) == (0, 0)
    assert lake.versions(lake.tables()) == versions  # not one commit

    lake.replace(PROMPTS, prompt_rows(["closing?"]), where={"suite": "support"})
    result = collect_texts(lake)
    assert (result.written_count, result.removed_count) == (1, 1)  # hours? is gone, refund? stands in the other suite
    result = embed_texts(lake, embedder)
    assert (result.embedded_count, result.removed_count) == (1, 1)
    assert embedded(lake) == digests("refund?", "closing?")
    assert [len(asked) for asked in embedder.asked] == [2, 1]


def test_of_a_unit_the_newest_version_counts_and_a_retracted_one_is_gone(lake) -> None:
    lake.upsert("silver.databits", sampled("silver.databits", [databit("a", 1, "first"), databit("b", 1, {"q": "x"})]))
    collect_texts(lake)
    assert texts(lake) == {("databits", "a"): "first", ("databits", "b"): "x"}
    lake.upsert("silver.databits", sampled("silver.databits", [databit("a", 2, "second")]))
    collect_texts(lake)
    assert texts(lake)["databits", "a"] == "second"
    gone = [databit("a", 3, "second", is_deleted=True), databit("c", 1, "cat.png", modality="image")]
    lake.upsert("silver.databits", sampled("silver.databits", gone))
    assert collect_texts(lake).removed_count == 1
    assert texts(lake) == {("databits", "b"): "x"}


def test_an_example_is_found_by_its_inputs_and_by_its_output(lake) -> None:
    inputs = {"question": "Why?", "count": 3}
    row = {"example_id": "e", "inputs": json.dumps(inputs), "expected_output": "Because.", "is_deleted": False}
    lake.upsert("silver.examples", sampled("silver.examples", [row]))
    collect_texts(lake)
    assert texts(lake) == {("example_inputs", "e"): "question: Why?\ncount: 3", ("example_outputs", "e"): "Because."}
    lake.upsert("silver.examples", sampled("silver.examples", [{**row, "is_deleted": True}]))
    collect_texts(lake)
    assert texts(lake) == {}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('"plain"', "plain"),
        ('{"question":"Why?"}', "Why?"),
        ('{"a":"x","b":{"d":1,"c":[2]}}', 'a: x\nb: {"c":[2],"d":1}'),
        ("[1,2]", "[1,2]"),
        ("{}", "{}"),
        ("not json", "not json"),
        ('{"n":123456789012345678901234567890}', "1.2345678901234568e+29"),  # further digits mean nothing to a model
    ],
)
def test_json_becomes_what_people_search_for(content, text) -> None:
    assert text_of_json(content) == text


def test_a_text_has_one_number_wherever_it_is_computed() -> None:
    digest = text_digest("a")
    column = pl.DataFrame({"digest": [digest]}).select(vector_ids(pl.col("digest"))).item()
    assert column == vector_id(digest) == int(digest, 16) >> 196  # 256 bits less 60


def test_a_crash_loses_one_batch(lake, monkeypatch) -> None:
    monkeypatch.setattr(text_steps, "BATCH_TEXTS", 3)
    words = [f"word{number}" for number in range(8)]
    lake.upsert(PROMPTS, prompt_rows(words))
    collect_texts(lake)
    with pytest.raises(RuntimeError, match="the power went"):
        embed_texts(lake, CountingEmbedder(until=2))
    assert len(embedded(lake)) == 6
    told = []
    again = CountingEmbedder()
    result = embed_texts(lake, again, on_progress=lambda *facts: told.append(facts))
    assert (result.embedded_count, result.reused_count) == (2, 6)
    assert embedded(lake) == digests(*words)
    assert told == [(0, 2, "embedding texts")]


def test_another_revision_embeds_anew_and_leaves_no_cursor_behind(lake) -> None:
    lake.upsert(PROMPTS, prompt_rows(["refund?", "hours?"]))
    collect_texts(lake)
    embed_texts(lake, CountingEmbedder())
    assert embed_texts(lake, CountingEmbedder(revision="two")).embedded_count == 2
    assert set(lake.read(EMBEDDINGS)["revision"]) == {"two"}
    consumers = lake.read("silver.cursors")["consumer"].to_list()
    assert [name for name in consumers if name.startswith("embeddings:")] == ["embeddings:hashing@two"]


def test_looking_at_everything_mends_what_the_feeds_did_not_tell(lake) -> None:
    embedder = CountingEmbedder()
    lake.upsert(PROMPTS, prompt_rows(["refund?", "hours?"]))
    collect_texts(lake)
    embed_texts(lake, embedder)
    lake.remove(EMBEDDINGS, lake.read(EMBEDDINGS).head(1))  # somebody's hand
    assert embed_texts(lake, embedder).embedded_count == 0
    assert embed_texts(lake, embedder, mode="all").embedded_count == 1
    lake.remove(TEXTS, lake.read(TEXTS).head(1))
    assert collect_texts(lake).written_count == 0
    assert collect_texts(lake, mode="all").written_count == 1


def test_many_changes_at_once_are_found_as_few_are(lake, monkeypatch) -> None:
    embedder = CountingEmbedder()
    lake.upsert(PROMPTS, prompt_rows([f"w{number}" for number in range(30)]))
    collect_texts(lake)
    embed_texts(lake, embedder)
    monkeypatch.setattr(text_steps, "_MAX_LISTED", 3)
    lake.replace(PROMPTS, prompt_rows([f"w{number}" for number in range(10, 50)]), where={"suite": "support"})
    assert collect_texts(lake).written_count == 20
    result = embed_texts(lake, embedder)
    assert (result.embedded_count, result.removed_count) == (20, 10)
    assert embedded(lake) == digests(*(f"w{number}" for number in range(10, 50)))
