"""What a template file may say, and what tells versions apart."""

import pytest

from lake.errors import UserError
from pipelines.optimization.templates import parse_template, template_yaml
from tests.optimization.fakes import TEMPLATE, template

CHAIN = """
template: letters
program_kind: chain
inputs: [{name: letter}]
steps:
  - name: facts
    instructions: List what is asked.
    inputs: [letter]
    outputs: [{name: wishes, kind: text_list}]
  - name: answer_it
    kind: chain_of_thought
    instructions: Choose the desk.
    inputs: [letter, wishes]
    outputs: [{name: desk, kind: choice, choices: [sales, service]}]
demos: {facts: [{letter: Hello, wishes: [a chair]}]}
"""


@pytest.mark.parametrize("text", [TEMPLATE, CHAIN])
def test_a_template_reads_back_from_its_own_yaml(text) -> None:
    one = parse_template(text, source="a")
    assert parse_template(template_yaml(one), source="b") == one


def test_a_chain_hands_on_what_its_steps_give() -> None:
    chain = parse_template(CHAIN, source="a")
    inputs, outputs = chain.fields_of(chain.program_steps[1])
    assert [field.name for field in inputs] == ["letter", "wishes"]
    assert [field.kind for field in (*inputs, *outputs)] == ["text", "text_list", "choice"]
    assert [field.name for field in chain.final_outputs] == [chain.scored_field] == ["desk"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs: [{name: message": "inputs: [{name: config"}, "'config' cannot be a name here"),
        ({"inputs: [{name: message": "inputs: [{name: import"}, "'import' cannot be a name here"),
        ({"inputs: [{name: message": "inputs: [{name: 'a; import os'"}, "cannot be a name here"),
        ({"outputs: [{name: order": "outputs: [{name: message"}, "'message' is declared twice"),
        ({"instructions:": "program_kind: chain\ninstructions:"}, "needs at least one"),
        ({"instructions:": "metric: {scorer: exact}\ninstructions:"}, "exact_match"),
        ({"instructions:": "metric: {output_field: total}\ninstructions:"}, "'total' is no output field"),
        ({"instructions:": "demos: {answer: [{color: red}]}\ninstructions:"}, "'color' is no field of it"),
        ({"instructions:": "instruction:"}, "Extra inputs are not permitted"),
        ({"outputs: [{name: order": "outputs: [{kind: choice, name: order"}, "needs at least one"),
    ],
)
def test_what_is_wrong_is_named(change, said) -> None:
    text = TEMPLATE
    for before, after in change.items():
        assert before in text
        text = text.replace(before, after)
    with pytest.raises(UserError, match=r"orders\.yaml is not a valid template") as error:
        parse_template(text, source="orders.yaml")
    assert said in str(error.value)


def test_words_about_the_whole_do_not_make_another_version_but_instructions_do() -> None:
    one = template()
    assert template(description="other words").digest == one.digest
    assert template(instructions="Write it.").digest != one.digest
    assert template(instructions="Write it.").schema_digest == one.schema_digest
