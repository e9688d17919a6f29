"""A template as Python source that builds the same DSPy program and runs without Benchlake.

Pure text. Every word of a template goes into the source as an escaped literal, so none of it can become code; names of
fields and steps are checked identifiers (`templates.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipelines.optimization.templates import Step, Template, TemplateField

_TYPES = {"text": "str", "integer": "int", "number": "float", "boolean": "bool", "text_list": "list[str]"}

_HEAD = '''"""A DSPy program, exported by Benchlake. It needs the package dspy, nothing else.

    python {file_name} --model openai/gpt-4o-mini {arguments}
"""

import argparse
import json
from typing import Literal

import dspy

TEMPLATE = {template}
# Instructions and demos as DSPy's JSON state; loading it runs no code.
STATE = json.loads(
    {state}
)
'''

_TAIL = '''

def build_program({build_arguments}):
    """The program with its instructions and demos."""
    program = Program({program_arguments})
    program.load_state(STATE)
    return program


def main():
    parser = argparse.ArgumentParser(description=TEMPLATE)
    parser.add_argument("--model", required=True, help="model as LiteLLM names it")
    parser.add_argument("--api-base", help="address of a server of your own")
{options}
    words = parser.parse_args()
    lm = dspy.LM(words.model, temperature={temperature}, max_tokens={max_tokens}, api_base=words.api_base)
    with dspy.context(lm=lm, adapter=dspy.JSONAdapter(use_native_function_calling=False)):
        prediction = build_program()({call})
    print(json.dumps({{name: prediction[name] for name in {outputs}}}))


if __name__ == "__main__":
    main()
'''

_NEAREST = '''

def embed(texts):
    """Vectors of texts; put your own model here for others than the one the demos were chosen with."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer("sentence-transformers/all-MiniLM-L6-v2").encode(texts, normalize_embeddings=True)


def text_of(values):
    """Input fields as they are compared."""
    if len(values) == 1:
        return str(next(iter(values.values())))
    return "\\n".join(f"{{name}}: {{value}}" for name, value in sorted(values.items()))
'''


def python_source(template: Template, state: Mapping[str, Any], *, name: str, file_name: str) -> str:
    """Python source of the program that `template` and `state` make; `name` says what it is, for people."""
    steps = template.program_steps
    inputs = [field.name for field in template.inputs]
    has_nearest = template.neighbour_count is not None
    head = _HEAD.format(
        file_name=file_name,
        arguments=" ".join(f"--{field} ..." for field in inputs),
        template=ascii(name),
        state=_wrapped(json.dumps(state, sort_keys=True)),
    )
    tail = _TAIL.format(
        build_arguments="embed=embed" if has_nearest else "",
        program_arguments="embed" if has_nearest else "",
        options="\n".join(f'    parser.add_argument("--{field}", required=True)' for field in inputs),
        temperature=template.model.temperature,
        max_tokens=template.model.max_output_tokens,
        call=", ".join(f"{field.name}={_converted(field)}" for field in template.inputs),
        outputs=[field.name for field in template.final_outputs],
    )
    signatures = "".join(_signature(template, step) for step in steps)
    return head + (_NEAREST.format() if has_nearest else "") + signatures + _program(template) + tail


def _wrapped(text: str, width: int = 100) -> str:
    parts = [text[start : start + width] for start in range(0, len(text), width)]
    return "\n    ".join(map(ascii, parts))


def _converted(field: TemplateField) -> str:
    value = f"words.{field.name}"
    if field.kind in {"integer", "number"}:
        return f"{_TYPES[field.kind]}({value})"
    return f"json.loads({value})" if field.kind in {"boolean", "text_list"} else value


def _signature(template: Template, step: Step) -> str:
    inputs, outputs = template.fields_of(step)
    lines = [
        "",
        "",
        f"class {_class_name(step)}(dspy.Signature):",
        f"    __doc__ = {step.instructions!a}",
        "",
        *(f"    {field.name}: {_annotation(field)} = dspy.InputField(desc={field.description!a})" for field in inputs),
        *(
            f"    {field.name}: {_annotation(field)} = dspy.OutputField(desc={field.description!a})"
            for field in outputs
        ),
    ]
    return "\n".join(lines) + "\n"


def _annotation(field: TemplateField) -> str:
    if field.kind == "choice":
        return f"Literal[{', '.join(map(ascii, field.choices))}]"
    return _TYPES[field.kind]


def _class_name(step: Step) -> str:
    return "".join(part.title() for part in step.name.split("_")) + "Signature"


def _program(template: Template) -> str:
    has_nearest = template.neighbour_count is not None
    lines = ["", "", "class Program(dspy.Module):", f"    def __init__(self{', embed' if has_nearest else ''}):"]
    lines.append("        super().__init__()")
    if has_nearest:
        lines.append("        self._embed = embed")
    for step in template.program_steps:
        maker = "ChainOfThought" if step.kind == "chain_of_thought" else "Predict"
        lines.append(f"        self.{step.name} = dspy.{maker}({_class_name(step)})")
    lines += ["", f"    def forward(self, {', '.join(field.name for field in template.inputs)}):"]
    for step in template.program_steps:
        given = ", ".join(f"{name}={name}" for name in step.inputs)
        if has_nearest:
            lines += _choosing(template, step)
            given += ", demos=demos"
        lines.append(f"        prediction = self.{step.name}({given})")
        if step is not template.program_steps[-1]:
            lines += [f"        {field.name} = prediction.{field.name}" for field in step.outputs]
    return "\n".join([*lines, "        return prediction"]) + "\n"


def _choosing(template: Template, step: Step) -> list[str]:
    names = ", ".join(f"{name!r}: {name}" for name in step.inputs)
    predictor = f"self.{step.name}.predict" if step.kind == "chain_of_thought" else f"self.{step.name}"
    return [
        f"        pool = {predictor}.demos",
        f"        names = {list(step.inputs)}",
        "        texts = [text_of({name: demo[name] for name in names}) for demo in pool]",
        f"        vectors = self._embed([*texts, text_of({{{names}}})])",
        "        nearness = vectors[:-1] @ vectors[-1]",
        "        order = sorted(range(len(pool)), key=lambda place: (-nearness[place], place))",
        f"        demos = [pool[place] for place in order[:{template.neighbour_count}]][::-1]",
    ]
