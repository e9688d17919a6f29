"""The closure is what a graph library says it is, however the versions came in."""

import itertools

import networkx as nx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.store import Lake
from lake.tables import contract_of
from pipelines.databits.lineage import (
    CLOSURE,
    EDGES,
    LineageCycleError,
    closure_of,
    edges_of,
    find_cycle,
    in_order,
    paths_between,
)
from pipelines.databits.lineage_steps import (
    LINEAGE_CONSUMER,
    ancestors_of,
    descendants_of,
    paths_up,
    roots_of,
    update_lineage,
)
from pipelines.databits.revising import Changes, merge_databits, revise_databit
from pipelines.databits.units import DATABITS, DatabitKey
from tests.databits.units import NOON, hand, make


def key(name: str, version: int = 1) -> DatabitKey:
    return DatabitKey(name, version)


def versions(parents: dict[str, list[str]]) -> pl.DataFrame:
    """Rows as silver.databits has them, of units that are made from others."""
    rows = [
        {
            "databit_id": name,
            "version": 1,
            "attribution": {"derived_from": [{"databit_id": parent, "version": 1} for parent in own]},
            "created_at": NOON,
        }
        for name, own in parents.items()
    ]
    columns = ("databit_id", "version", "attribution", "created_at")
    return pl.DataFrame(rows, schema={name: contract_of(DATABITS).dtypes[name] for name in columns})


def empty() -> pl.DataFrame:
    return contract_of(CLOSURE).empty()


def as_dict(closure: pl.DataFrame) -> dict[tuple[str, str], int]:
    return {
        (one, other): depth for one, other, depth in closure.select("descendant_id", "ancestor_id", "depth").iter_rows()
    }


def oracle(parents: dict[str, list[str]]) -> dict[tuple[str, str], int]:
    """Fewest steps from each unit up to each ancestor, by networkx."""
    graph = nx.DiGraph([(child, parent) for child, own in parents.items() for parent in own])
    lengths = dict(nx.all_pairs_shortest_path_length(graph))
    return {(one, other): depth for one, own in lengths.items() for other, depth in own.items() if depth}


@st.composite
def graphs(draw) -> dict[str, list[str]]:
    """Units u0, u1, ... each made from some of those before it, in any order."""
    count = draw(st.integers(1, 9))
    names = [f"u{place}" for place in range(count)]
    parents = {
        name: draw(st.lists(st.sampled_from(names[:place]), unique=True, max_size=3)) if place else []
        for place, name in enumerate(names)
    }
    return {name: parents[name] for name in draw(st.permutations(names))}


@given(graphs(), st.integers(1, 9))
@settings(deadline=None, max_examples=60)
def test_the_closure_is_that_of_the_oracle_in_one_go_and_in_two(parents, cut) -> None:
    whole = closure_of(edges_of(versions(parents)), empty())
    assert as_dict(whole) == oracle(parents)
    early = {name: parents[name] for name in sorted(parents)[:cut]}
    late = {name: own for name, own in parents.items() if name not in early}
    before = closure_of(edges_of(versions(early)), empty())
    after = closure_of(edges_of(versions(late)), before)
    assert as_dict(before) | as_dict(after) == oracle(parents)


@given(graphs())
@settings(deadline=None, max_examples=40)
def test_what_is_acyclic_has_no_cycle_and_an_order_with_parents_first(parents) -> None:
    keyed = {key(name): [key(parent) for parent in own] for name, own in parents.items()}
    assert find_cycle(keyed) == []
    order = in_order(keyed, keyed)
    assert sorted(order) == sorted(keyed)
    assert all(order.index(parent) < order.index(child) for child, own in keyed.items() for parent in own)


@given(graphs(), st.data())
@settings(deadline=None, max_examples=40)
def test_an_edge_back_to_a_descendant_is_a_cycle_that_is_named(parents, data) -> None:
    reachable = sorted(oracle(parents))
    if not reachable:
        return
    child, ancestor = data.draw(st.sampled_from(reachable))
    looped = {**parents, ancestor: [*parents[ancestor], child]}
    with pytest.raises(LineageCycleError, match="in a circle") as refused:
        closure_of(edges_of(versions(looped)), empty())
    path = [node.databit_id for node in refused.value.path]
    assert path[0] == path[-1]
    assert all(parent in looped[child] for child, parent in itertools.pairwise(path))


def test_a_version_made_from_a_later_one_of_its_unit_is_a_cycle() -> None:
    assert find_cycle({key("a", 1): [key("a", 2)]}) == [key("a", 1), key("a", 2), key("a", 1)]


def test_paths_are_given_shortest_first() -> None:
    parents = {key("d"): [key("b"), key("a")], key("b"): [key("a")]}
    assert paths_between(parents, key("d"), key("a"), limit=9) == [
        [key("d"), key("a")],
        [key("d"), key("b"), key("a")],
    ]


# Over the lake: root -> left, right -> joined; joined is revised, a child comes of its second version.


@pytest.fixture
def family(lake: Lake) -> Lake:
    root = make(lake, "root")
    sides = [make(lake, name, parents=[root]) for name in ("left", "right")]
    merge_databits(lake, sides, databit_id="joined", changes=Changes(), hand=hand())
    update_lineage(lake)
    revise_databit(lake, "joined", Changes(content="new"), expected_version=1, hand=hand())
    make(lake, "child", parents=[key("joined", 2)])
    update_lineage(lake)
    return lake


def test_relatives_roots_and_paths(family: Lake) -> None:
    assert ancestors_of(family, [key("child")]).select("ancestor_id", "ancestor_version", "depth").rows() == [
        ("joined", 2, 1),
        ("left", 1, 2),
        ("right", 1, 2),
        ("root", 1, 3),
    ]
    assert descendants_of(family, [key("root")])["descendant_id"].to_list() == [
        "left",
        "right",
        "joined",
        "joined",
        "child",
    ]
    assert roots_of(family, key("child")) == [key("root")]
    assert roots_of(family, key("root")) == [key("root")]
    assert len(paths_up(family, key("child"), key("root"))) == 2
    assert paths_up(family, key("root"), key("child")) == []


def test_a_rebuild_from_nothing_finds_what_stands(family: Lake) -> None:
    before = [family.read(table).sort(pl.all()) for table in (EDGES, CLOSURE)]
    versions_before = family.versions([EDGES, CLOSURE])
    update_lineage(family, mode="all")
    assert family.versions([EDGES, CLOSURE]) == versions_before
    assert [family.read(table).sort(pl.all()) for table in (EDGES, CLOSURE)][1].equals(before[1])


def test_nothing_new_costs_no_commit(family: Lake) -> None:
    before = family.versions(["gold.lineage_edges", "gold.lineage_closure", "gold.databit_licenses", "silver.cursors"])
    result = update_lineage(family)
    assert result.version_count == 0
    assert family.versions(list(before)) == before


def test_a_step_that_died_after_its_edges_is_finished_by_the_next(family: Lake) -> None:
    make(family, "late", parents=[key("child")])
    family.insert(EDGES, edges_of(family.read(DATABITS).filter(pl.col("databit_id") == "late")))
    update_lineage(family)
    assert ancestors_of(family, [key("late")])["depth"].to_list() == [1, 2, 3, 3, 4]
    assert family.read(EDGES).filter(pl.col("child_id") == "late").height == 1
    assert family.cursor(LINEAGE_CONSUMER, DATABITS) == family.version(DATABITS)
