"""A lineage is drawn whole, and hostile labels stay labels."""

from xml.etree import ElementTree as ET

import pytest

from lake.store import Lake
from pipelines.databits.lineage_drawing import draw_lineage, ordered_layers
from pipelines.databits.lineage_graph import name_units, read_graph
from pipelines.databits.lineage_steps import update_lineage
from pipelines.databits.lineage_texts import as_dot, as_mermaid, as_tree
from pipelines.databits.revising import Changes, merge_databits, retract_databit
from pipelines.databits.units import DatabitKey
from tests.databits.units import hand, make

HOSTILE = '<script>"]</script> & ]]> `|$ \\" \x1b[31m \u202e %% \n end'


@pytest.fixture
def graph(lake: Lake):
    sides = [make(lake, "left-side", content=HOSTILE), make(lake, "right-side", license_id="GPL-3.0-only")]
    merged = merge_databits(lake, sides, databit_id="merged-unit", changes=Changes(), hand=hand())
    make(lake, "child-unit", parents=[merged, sides[0]])
    make(lake, "grandchild", parents=[DatabitKey("child-unit", 1)])
    retract_databit(lake, "child-unit", expected_version=1, hand=hand())
    update_lineage(lake)
    return read_graph(lake, merged)


def test_layers_put_parents_above_their_children_and_neighbours_under_each_other(graph) -> None:
    layers = ordered_layers([node.key for node in graph.nodes], graph.parents)
    assert [sorted(key.databit_id for key in layer) for layer in layers] == [
        ["left-side", "right-side"],
        ["merged-unit"],
        ["child-unit", "child-unit"],
        ["grandchild"],
    ]
    crossed = {DatabitKey("b", 1): [DatabitKey("z", 1)], DatabitKey("c", 1): [DatabitKey("a", 1)]}
    keys = [DatabitKey(name, 1) for name in "azbc"]
    above, below = ([key.databit_id for key in layer] for layer in ordered_layers(keys, crossed))
    assert (above.index("z") < above.index("a")) == (below.index("b") < below.index("c"))


def test_the_picture_is_xml_with_every_version_and_edge_in_it(graph) -> None:
    svg = ET.fromstring(draw_lineage(graph))
    texts = [text.text or "" for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    for node in graph.nodes:
        assert any(text.startswith(node.name) for text in texts)
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}path"))) == 2 * 7
    assert any(text.startswith("<script>") for text in texts)
    assert not any("\x1b" in text or "\u202e" in text for text in texts)


def test_mermaid_and_dot_name_every_edge_and_no_label_leaves_its_quotes(graph) -> None:
    mermaid, dot = as_mermaid(graph), as_dot(graph)
    assert mermaid.count("-->") == dot.count("->") == 7
    labels = [line for line in mermaid.splitlines() if "[" in line]
    assert all(line.count('"') == 2 and "<script" not in line for line in labels)
    assert all(
        line.replace("\\\\", "").replace('\\"', "").count('"') == 2 for line in dot.splitlines() if "label=" in line
    )


def test_the_tree_goes_both_ways(graph) -> None:
    up, down = as_tree(graph).split("<- this one")
    # Whole, so that it can be typed into the next command.
    assert "left-side@1" in up
    assert "right-side@1" in up
    assert "grandchild@1" in down
    assert "benchlake databits show " in down
    assert "GPL-3.0-only" in up


def test_a_name_is_as_short_as_tells_units_apart_and_given_ids_are_whole() -> None:
    one, two = "0b57ffa4-4cf1-58be-bae3-360393c8b7bc", "0b57ffa4-5cf1-58be-bae3-360393c8b7bc"
    assert name_units([one, "train-000001"]) == {one: "0b57ffa4", "train-000001": "train-000001"}
    assert set(name_units([one, two]).values()) == {"0b57ffa4-4", "0b57ffa4-5"}


def test_an_id_longer_than_its_box_is_whole_where_the_pointer_rests(lake: Lake) -> None:
    long_id = f"unit-{'x' * 60}"
    svg = draw_lineage(read_graph(lake, make(lake, long_id)))
    assert f"<title>{long_id}@1" in svg
    texts = [text.text or "" for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert max(map(len, texts)) <= 32


def test_what_is_far_away_is_counted_not_drawn(lake: Lake, graph) -> None:
    near = read_graph(lake, graph.focus, max_nodes=3)
    assert (len(near.nodes), near.hidden_count) == (3, 3)
    assert "3 more" in as_tree(near)
