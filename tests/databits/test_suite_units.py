"""A suite, what it is right with, and what was wrong with outputs become units that know where they are from."""

import datetime as dt

import polars as pl
import pytest

from lake.store import Lake
from lake.tables import contract_of
from pipelines.databits.lineage_steps import ancestors_of, update_lineage
from pipelines.databits.quality_steps import QUALITY, score_units
from pipelines.databits.reading import read_current, read_version
from pipelines.databits.revising import Changes, revise_databit
from pipelines.databits.suite_units import suite_unit_id, update_suite_units
from pipelines.databits.units import DATABITS, DatabitKey, parse_content
from pipelines.runs.suite_registry import save_suite
from pipelines.runs.suites import WrittenSuite, parse_suite
from tests.databits.units import NOON, hand

TEXT = """
name: small
version: "1"
samples:
  - {id: japan, prompt: "What is the capital of Japan?", reference: Tokyo, scorers: [contains], tags: [fact]}
  - {id: free, prompt: "Write a poem."}
"""
DAY = dt.date(2026, 11, 20)


def save(lake: Lake, text: str = TEXT) -> str:
    written = WrittenSuite(parse_suite(text, source="test"), text)
    return save_suite(lake, written, now=NOON, author="ann").suite_digest


def land(lake: Lake, digest: str, *outputs: tuple[str, str, float], run_id: str = "run") -> None:
    """A run of the suite with (sample, output, score) each."""
    runs = contract_of("silver.runs").sample(1).with_columns(
        run_id=pl.lit(run_id), suite=pl.lit("small"), model=pl.lit("tiny"),
        fingerprint=pl.col("fingerprint").struct.with_fields(suite_digest=pl.lit(digest)),
    )  # fmt: skip
    lake.upsert("silver.runs", runs)
    rows = [
        {
            "run_id": run_id, "sample_id": sample, "repeat_index": 0, "run_date": DAY, "status": "ok",
            "prompt": "What is the capital of Japan?", "output": output, "reference": "Tokyo",
            "scores": [{"scorer": "contains", "value": score}], "tags": [],
        }
        for sample, output, score in outputs
    ]  # fmt: skip
    lake.upsert("silver.outputs", pl.DataFrame(rows, schema_overrides={"repeat_index": pl.Int32}))


def update(lake: Lake) -> dict[str, int]:
    result = update_suite_units(lake, now=NOON, licenses={"small": "MIT"})
    return {role: count for role, count in result.written_by_role.items() if count}


def test_prompts_references_wrong_outputs_and_corrections_become_units_once(lake: Lake) -> None:
    digest = save(lake)
    land(lake, digest, ("japan", "It is Kyoto.", 0.0))
    land(lake, digest, ("japan", "It is Tokyo.", 1.0), run_id="right")
    land(lake, digest, ("japan", "It is Kyoto.", 0.0), run_id="again")
    assert update(lake) == {"prompt": 2, "reference": 1, "output": 1, "correction": 1}
    version = lake.version(DATABITS)
    assert update(lake) == {}
    assert lake.version(DATABITS) == version
    pair = suite_unit_id("small", "japan", "correction", output="It is Kyoto.")
    row = read_version(lake, pair)
    assert parse_content(row["content"]) == {
        "prompt": "What is the capital of Japan?",
        "chosen": "Tokyo",
        "rejected": "It is Kyoto.",
    }
    wrong = read_version(lake, suite_unit_id("small", "japan", "output", output="It is Kyoto."))
    assert wrong["quality_scores"] == [{"scorer": "contains", "value": 0.0}]
    assert wrong["attribution"]["creator"] == "tiny"
    update_lineage(lake)
    relatives = ancestors_of(lake, [DatabitKey(pair, 1)]).select("ancestor_id", "depth").rows()
    assert sorted(depth for _, depth in relatives) == [1, 1, 2]
    assert dict(relatives)[suite_unit_id("small", "japan", "prompt")] == 2


def test_runs_of_suites_that_are_not_saved_are_left_alone(lake: Lake) -> None:
    save(lake)
    land(lake, "f" * 64, ("japan", "It is Kyoto.", 0.0))
    assert update(lake) == {"prompt": 2, "reference": 1}


def test_a_new_version_of_a_suite_revises_what_changed_in_it(lake: Lake) -> None:
    save(lake)
    update(lake)
    prompt = suite_unit_id("small", "free", "prompt")
    revise_databit(lake, prompt, Changes(content="Write a long poem."), expected_version=1, hand=hand())
    save(lake, TEXT.replace("capital of Japan?", "capital city of Japan?"))
    assert update(lake) == {"prompt": 1, "reference": 1}
    assert read_version(lake, suite_unit_id("small", "japan", "reference"))["version"] == 2
    assert read_version(lake, prompt)["content"] == '"Write a long poem."'


def test_leakage_is_no_fault_of_what_was_made_from_a_suite(lake: Lake) -> None:
    digest = save(lake)
    land(lake, digest, ("japan", "It is Kyoto.", 0.0))
    update(lake)
    revise_databit(
        lake, suite_unit_id("small", "free", "prompt"), Changes(content="x"), expected_version=1, hand=hand()
    )
    update_lineage(lake)
    score_units(lake)
    leaks = lake.read(QUALITY, where={"scorer": "leakage_ratio"})
    assert leaks.height == lake.row_count(DATABITS)
    assert leaks["value"].null_count() == leaks.height


@pytest.mark.parametrize("name", ["prompt", "reference"])
def test_units_are_found_by_their_search_keys(lake: Lake, name: str) -> None:
    save(lake)
    update(lake)
    found = read_current(lake).filter(pl.col("search_keys").list.contains(f"role={name}"))
    assert set(found["search_keys"][0]) >= {"suite=small", f"role={name}"}
