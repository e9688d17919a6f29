"""Templates as DSPy modules: state that reads back, source that runs alone, files that cannot run code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lake.errors import UserError
from pipelines.optimization.dspy_adapter.programs import (
    apply_facts,
    build_program,
    clean_state,
    export_to_dspy_program,
    load_program,
    read_facts,
)
from pipelines.optimization.templates import parse_template
from tests.optimization.fakes import template
from tests.optimization.test_templates import CHAIN

DEMOS = {"answer": ({"message": "3 lamps from Oslo to Bern", "order": "Oslo>Bern"},)}


@pytest.mark.parametrize(
    "one",
    [
        template(demos=DEMOS),
        template(demos=DEMOS, program_kind="chain_of_thought"),
        template(demos=DEMOS, neighbour_count=1),
        parse_template(CHAIN, source="x"),
    ],
    ids=["predict", "chain of thought", "nearest", "chain"],
)
def test_a_program_is_the_same_after_its_state_was_json(one) -> None:
    exported = export_to_dspy_program(one)
    again = load_program(one, json.loads(json.dumps(exported.state)), nearest=lambda *_: [0])
    assert read_facts(again) == read_facts(exported.program)
    assert apply_facts(one, read_facts(again)) == one


def test_learnt_instructions_are_those_that_are_asked_with() -> None:
    one = template(demos=DEMOS)
    facts = read_facts(build_program(template(instructions="Use an arrow.")))
    learnt = apply_facts(one, facts)
    assert [step.instructions for step in learnt.program_steps] == ["Use an arrow."]
    assert (learnt.demos, learnt.digest == one.digest) == ({}, False)
    assert read_facts(build_program(learnt)) == facts


def test_another_demo_is_another_program_and_the_order_of_fields_is_not() -> None:
    one = read_facts(build_program(template(demos=DEMOS)))
    other = read_facts(build_program(template()))
    assert one.program_id != other.program_id
    turned = {"answer": (dict(reversed(list(DEMOS["answer"][0].items()))),)}
    assert read_facts(build_program(template(demos=turned))).program_id == one.program_id


EVIL = "benchlake_was_here"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"lm": {"model": "openai/x", "engine": {"class": "os:system", "state": {}}}}, "names a language model"),
        ({"lm": {"_dspy_lm_class": f"{EVIL}.Model", "model": "x"}}, "names a language model"),
        ({"forward": "print(1)"}, "holds forward"),
        ({"__class__": "os.system"}, "holds __class__"),
        ({"demos": [{"message": "a", "__reduce__": ["os.system", "true"]}]}, "has __reduce__"),
        ({"demos": "rm -rf"}, "A demo of answer is str"),
        ({"signature": {"instructions": "x", "fields": []}}, "other fields"),
        (
            {"signature": {"instructions": {"a": 1}, "fields": [{"prefix": "", "description": ""}] * 2}},
            "dict where a text",
        ),
    ],
)
def test_a_hostile_state_is_refused_and_nothing_of_it_is_imported(part, said, tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{EVIL}.py").write_text("raise SystemExit('code of a state file was run')")
    state = export_to_dspy_program(template(demos=DEMOS)).state
    state["answer"] = {**state["answer"], **part}
    with pytest.raises(UserError, match=said):
        load_program(template(), state)
    assert EVIL not in sys.modules


def test_a_state_of_another_template_is_refused() -> None:
    state = export_to_dspy_program(parse_template(CHAIN, source="x")).state
    with pytest.raises(UserError, match=r"of answer_it.predict, facts; the template orders has answer"):
        clean_state(state, template())
    deep: list = []
    for _ in range(100):
        deep = [deep]
    nested = export_to_dspy_program(template(demos=DEMOS)).state
    nested["answer"]["demos"][0]["order"] = deep
    with pytest.raises(UserError, match="nested more than"):
        clean_state(nested, template())


# Runs the exported file with a model made of rules, and with Benchlake out of reach.
RUNNER = """
import importlib.util, json, sys
sys.modules.update({name: None for name in ("pipelines", "lake", "resources", "studio", "assets", "benchlake")})
import dspy
from dspy.lm15 import Message, Response, Usage
class Engine:
    supports_response_schema = True
    supported_params = frozenset({"response_format"})
    def complete(self, request):
        names = request.config.response_format["schema"]["properties"]
        answers = {"wishes": ["a chair"], "desk": "service", "order": "Oslo>Bern", "reasoning": "why"}
        seen.append([message.text for message in request.messages])
        text = json.dumps({name: answers[name] for name in names})
        return Response(id=None, model=request.model, message=Message.assistant(text), finish_reason="stop",
                        usage=Usage(input_tokens=1, output_tokens=1))
seen = []
spec = importlib.util.spec_from_file_location("exported", sys.argv[1])
exported = importlib.util.module_from_spec(spec)
spec.loader.exec_module(exported)
lm, adapter = dspy.LM("x/y", engine=Engine(), cache=False), dspy.JSONAdapter(use_native_function_calling=False)
with dspy.context(lm=lm, adapter=adapter):
    prediction = exported.build_program()(**json.loads(sys.argv[2]))
print(json.dumps({"outputs": dict(prediction.items()), "state": exported.build_program().dump_state(), "seen": seen}))
"""


def run_alone(source: str, inputs: dict, folder: Path) -> dict:
    (folder / "exported.py").write_text(source)
    answer = subprocess.run(
        [sys.executable, "-c", RUNNER, str(folder / "exported.py"), json.dumps(inputs)],
        capture_output=True, text=True, cwd=folder, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


HOSTILE = "\"\"\"'''\\\nimport os; os.mkdir('owned')\u2028{x}\x00"


@pytest.mark.parametrize(
    ("one", "inputs", "outputs"),
    [
        (template(demos=DEMOS), {"message": "hi"}, {"order": "Oslo>Bern"}),
        (parse_template(CHAIN, source="x"), {"letter": "hi"}, {"reasoning": "why", "desk": "service"}),
        (
            template(instructions=HOSTILE, template=HOSTILE, demos={"answer": ({"message": HOSTILE, "order": "a"},)}),
            {"message": HOSTILE.replace("\x00", "")},
            {"order": "Oslo>Bern"},
        ),
    ],
    ids=["predict", "chain", "hostile words"],
)
def test_exported_source_runs_without_benchlake_and_is_the_same_program(one, inputs, outputs, tmp_path) -> None:
    exported = export_to_dspy_program(one)
    answer = run_alone(exported.source, inputs, tmp_path)
    assert answer["outputs"] == outputs
    assert clean_state(answer["state"], one) == exported.state
    first_demo = next(iter(one.demos.values()))[0]
    assert any(str(next(iter(first_demo.values())))[:2] in text for text in answer["seen"][0])
    assert not (tmp_path / "owned").exists()


def test_source_of_a_program_that_chooses_its_demos_shows_the_nearest(tmp_path) -> None:
    demos = {"answer": tuple({"message": word, "order": f"{word}!"} for word in ("red", "green", "blue"))}
    source = export_to_dspy_program(template(demos=demos, neighbour_count=1)).source
    # A word's vector is which of the letters r, g, b it begins with; no model is loaded.
    embed = (
        "import numpy as np\n"
        "def embed(texts):\n    return np.array([[text[0] == letter for letter in 'rgb'] for text in texts], float)\n"
    )
    before, after = source.split("def embed(texts):")
    source = before + embed.split("\n", 1)[1] + after.split("\n\n\n", 1)[1].join(["\n\n", ""])
    answer = run_alone("import numpy as np\n" + source, {"message": "grey"}, tmp_path)
    shown = "\n".join(answer["seen"][0])
    assert ("green!" in shown, "red!" in shown, "blue!" in shown) == (True, False, False)
