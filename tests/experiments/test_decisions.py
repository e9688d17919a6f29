"""The ledger: revisions that stay, statuses that follow each other, and KPIs that are asked again."""

from __future__ import annotations

import datetime as dt

import pytest

from lake.errors import ConflictError, UserError
from lake.store import Lake
from pipelines.experiments.decision_checks import check_decisions, newest_checks, tables_of
from pipelines.experiments.decisions import (
    DECISIONS,
    DecisionEntry,
    Kpi,
    entry_of,
    filter_decisions,
    find_decision,
    newest_revisions,
    parse_entry,
    record_decision,
    revise_decision,
)
from pipelines.runs.remarks import Act
from tests.evidence.rows import DAY, START, output, output_rows, run, run_rows

KPI = Kpi(
    name="failed answers",
    query="select avg((status = 'error')::int) from silver.outputs where run_id = 'run-a'",
    comparison="<=",
    threshold=0.1,
    unit="ratio",
)
ENTRY = {
    "title": "Ship the 8-bit cache",
    "problem": "Memory runs out at 32 requests.",
    "decision": "Use it by default.",
    "alternatives": [
        {"name": "8-bit cache", "pros": ["half the memory"], "cons": ["slower"], "run_ids": ["run-b"]},
        {"name": "fewer requests"},
    ],
    "run_ids": ["run-a"],
    "tags": ["compression"],
    "links": ["https://example.org/1"],
}


def act(day: int = 0, author: str = "ada", reason: str | None = None) -> Act:
    return Act(author=author, at=START + day * DAY, reason=reason)


@pytest.fixture
def lake(tmp_path) -> Lake:
    lake = Lake.open(tmp_path)
    a, b = run("run-a"), run("run-b")
    lake.upsert("silver.runs", run_rows(a, b))
    lake.upsert("silver.outputs", output_rows([output(a, index, "x") for index in range(10)]))
    return lake


def accepted(lake: Lake, kpi: Kpi | None = KPI) -> str:
    entry = parse_entry(ENTRY | {"status": "accepted"}, source="test")
    return str(record_decision(lake, DecisionEntry(**{**vars_of(entry), "kpi": kpi}), act=act())["decision_id"])


def vars_of(entry: DecisionEntry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in entry.__dataclass_fields__}


def test_an_entry_comes_back_as_it_was_written(lake) -> None:
    entry = parse_entry(ENTRY, source="test")
    row = record_decision(lake, entry, act=act())
    assert entry_of(find_decision(lake, row["decision_id"])) == entry_of(row)
    standing = find_decision(lake, row["decision_id"][:8])
    assert standing["author"] == "ada"
    assert standing["alternatives"][0]["run_ids"] == ["run-b"]
    assert {item["table"] for item in standing["input_versions"]} == {"silver.runs", "silver.outputs"}


def test_recording_the_same_twice_is_one_decision(lake) -> None:
    entry = parse_entry(ENTRY, source="test")
    record_decision(lake, entry, act=act())
    with pytest.raises(ConflictError):
        record_decision(lake, entry, act=act())
    assert lake.row_count(DECISIONS) == 1


def test_what_a_decision_rests_on_survives_maintenance(lake) -> None:
    record_decision(lake, parse_entry(ENTRY, source="test"), act=act())
    assert set(lake.read("silver.pins")["table"]) == {"silver.runs", "silver.outputs"}


def test_revisions_stay_and_the_newest_counts(lake) -> None:
    decision_id = record_decision(lake, parse_entry(ENTRY, source="test"), act=act())["decision_id"]
    revise_decision(lake, decision_id, {"status": "accepted"}, act=act(1, "bob", "reviewed"))
    rows = lake.read(DECISIONS).sort("revision_index")
    assert rows["status"].to_list() == ["proposed", "accepted"]
    assert rows["change_note"].to_list() == [None, "reviewed"]
    assert newest_revisions(rows)["status"].to_list() == ["accepted"]
    assert rows["author"].to_list() == ["ada", "ada"]
    assert rows["recorded_by"].to_list() == ["ada", "bob"]


@pytest.mark.parametrize(("first", "then"), [("superseded", "proposed"), ("superseded", "reverted")])
def test_a_status_follows_only_from_some(lake, first: str, then: str) -> None:
    decision_id = record_decision(lake, parse_entry(ENTRY, source="test"), act=act())["decision_id"]
    revise_decision(lake, decision_id, {"status": first}, act=act(1))
    with pytest.raises(UserError, match=f"{first} cannot become {then}"):
        revise_decision(lake, decision_id, {"status": then}, act=act(2))


def test_two_people_cannot_revise_the_same_revision(lake) -> None:
    decision_id = record_decision(lake, parse_entry(ENTRY, source="test"), act=act())["decision_id"]
    revise_decision(lake, decision_id, {"tags": ("a",)}, act=act(1, "bob"), expected_revision=1)
    with pytest.raises(ConflictError, match="bob revised it"):
        revise_decision(lake, decision_id, {"tags": ("b",)}, act=act(2), expected_revision=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"title": ""}, "title"),
        ({"kpi": {"name": "x", "query": "select 1", "comparison": "==", "threshold": 1}}, r"kpi\.comparison"),
        ({"alternatives": [{"pros": []}]}, r"alternatives\.0\.name"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_broken_entry_is_told_with_its_field(change, message) -> None:
    with pytest.raises(UserError, match=message):
        parse_entry(ENTRY | change, source="decision.yaml")


def test_a_run_that_is_not_there_is_refused(lake) -> None:
    with pytest.raises(UserError, match="nowhere"):
        record_decision(lake, parse_entry(ENTRY | {"run_ids": ["nowhere"]}, source="test"), act=act())
    assert lake.row_count(DECISIONS) == 0


@pytest.mark.parametrize(
    ("filters", "is_found"),
    [
        ({"tags": ["compress*"]}, True),
        ({"tags": ["compression", "optimizer"]}, False),
        ({"run_id": "run-b"}, True),
        ({"run_id": "run-c"}, False),
        ({"kpi": "failed*"}, True),
        ({"status": "proposed"}, False),
        ({"text": "MEMORY"}, True),
        ({"text": "fewer"}, True),
        ({"since": START + DAY}, False),
        ({"until": START + DAY}, True),
    ],
)
def test_filters(lake, filters, is_found) -> None:
    accepted(lake)
    found = filter_decisions(newest_revisions(lake.read(DECISIONS)), **filters)
    assert found.height == int(is_found)


def test_a_broken_promise_fails_when_new_rows_arrive_and_unchanged_data_is_not_asked_again(lake) -> None:
    decision_id = accepted(lake)
    assert check_decisions(lake, now=START).asked_count == 1
    assert newest_checks(lake)["verdict"].to_list() == ["pass"]
    assert check_decisions(lake, now=START + DAY).asked_count == 0
    lake.upsert("silver.outputs", output_rows([output(run("run-a"), index, None) for index in range(5)]))
    assert check_decisions(lake, now=START + DAY).asked_count == 1
    (check,) = newest_checks(lake).to_dicts()
    assert (check["decision_id"], check["verdict"], check["value"]) == (decision_id, "fail", 0.5)
    assert lake.row_count("gold.decision_checks") == 2


def test_other_tables_do_not_set_it_off(lake) -> None:
    accepted(lake)
    check_decisions(lake, now=START)
    lake.upsert("silver.runs", run_rows(run("run-c")))
    assert check_decisions(lake, now=START + DAY).asked_count == 0


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("select 1 where false", "0 rows"),
        ("select null", "null"),
        ("select 'abc'", "not a number"),
        ("select 1, 2", "2 columns"),
        ("select nonsense from silver.runs", "nonsense"),
        ("select 'nan'::double", "nan"),
    ],
)
def test_a_promise_that_is_not_measured_is_inconclusive(lake, query: str, reason: str) -> None:
    accepted(lake, Kpi(name="k", query=query, comparison="<", threshold=1))
    check_decisions(lake, now=START)
    (check,) = newest_checks(lake).to_dicts()
    assert check["verdict"] == "inconclusive"
    assert reason in check["reason"]


@pytest.mark.parametrize("query", ["copy (select 1) to '{}/out.csv'", "select count(*) from read_csv('{}/in.csv')"])
def test_a_query_can_neither_write_nor_reach_files(lake, tmp_path, query: str) -> None:
    (tmp_path / "in.csv").write_text("a\n1\n")
    accepted(lake, Kpi(name="k", query=query.format(tmp_path), comparison="<", threshold=10))
    check_decisions(lake, now=START)
    assert newest_checks(lake)["verdict"].to_list() == ["inconclusive"]
    assert not (tmp_path / "out.csv").exists()


def test_only_accepted_decisions_keep_promises(lake) -> None:
    decision_id = accepted(lake)
    check_decisions(lake, now=START)
    revise_decision(lake, decision_id, {"status": "reverted"}, act=act(1))
    assert newest_checks(lake).is_empty()


def test_a_new_threshold_is_asked_at_once(lake) -> None:
    decision_id = accepted(lake)
    check_decisions(lake, now=START)
    stricter = Kpi(name=KPI.name, query=KPI.query, comparison="<", threshold=0.0, unit="ratio")
    revise_decision(lake, decision_id, {"kpi": stricter}, act=act(1))
    assert newest_checks(lake).is_empty()
    check_decisions(lake, now=START + dt.timedelta(hours=30))
    assert newest_checks(lake)["verdict"].to_list() == ["fail"]


def test_the_tables_of_a_query_are_seen() -> None:
    assert tables_of('select 1 from SILVER.runs join "gold"."gate_results" using (x)') == [
        "gold.gate_results",
        "silver.runs",
    ]
    assert "silver.outputs" in tables_of("select 1")
