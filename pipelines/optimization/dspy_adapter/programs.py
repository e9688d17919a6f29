"""A template as a `dspy.Module`, and its state as JSON that runs no code when it is read.

What a run of it needs (model, adapter, trace) is set by `calling.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, Literal, Protocol

from lake.errors import UserError
from lake.identity import derived_id, json_digest
from pipelines.optimization.source_code import python_source
from pipelines.optimization.templates import REASONING, Demo, Step, Template, TemplateField

# What DSPy writes of a predictor. Anything else in a state is not ours and is refused: DSPy would set it as an
# attribute, and a language model among it would be built from an import path of the file's choosing.
_STATE_KEYS = frozenset({"demos", "lm", "signature", "traces", "train"})
_SIGNATURE_KEYS = frozenset({"instructions", "fields"})
_FIELD_KEYS = frozenset({"prefix", "description"})
_MAX_DEPTH = 20
# DSPy marks demos whose outputs a model wrote.
AUGMENTED = "augmented"
State = dict[str, Any]


class Nearest(Protocol):
    """Finds the nearest of a pool of demos."""

    def __call__(self, inputs: Mapping[str, Any], pool: Sequence[Demo], count: int) -> Sequence[int]:
        """Places in `pool` of the `count` demos whose inputs are nearest, the nearest last."""
        ...


@dataclass(frozen=True, kw_only=True)
class ProgramFacts:
    """What a program is, apart from the object: its id, state, instructions and demos by step."""

    program_id: str
    program_digest: str
    state: State
    instructions: Mapping[str, str]
    demos: Mapping[str, tuple[Demo, ...]]
    neighbour_count: int | None


@dataclass(frozen=True, kw_only=True)
class ExportedProgram:
    """A template as a module, its JSON state, and Python source that builds the same without Benchlake."""

    program: Any
    state: State
    source: str


def export_to_dspy_program(
    template: Template, *, name: str | None = None, nearest: Nearest | None = None
) -> ExportedProgram:
    """The template as a `dspy.Module`, as state and as source; all three are the same program.

    A template with a `neighbour_count` chooses by `nearest`; without one the module can be saved, not asked.
    """
    program = build_program(template, nearest=nearest or _no_nearest)
    state = read_facts(program).state
    label = name or template.template
    return ExportedProgram(
        program=program, state=state, source=python_source(template, state, name=label, file_name="program.py")
    )


def _no_nearest(inputs: Mapping[str, Any], pool: Sequence[Demo], count: int) -> Sequence[int]:
    raise UserError(
        f"This program shows the {count} of its {len(pool)} demos that are nearest to {', '.join(inputs)}; give "
        "`nearest` when it is exported, to ask it here."
    )


def dspy_version() -> str:
    """Version of DSPy that is installed."""
    return version("dspy")


def build_program(template: Template, *, nearest: Nearest | None = None) -> Any:  # noqa: ANN401 - a dspy.Module
    """A `dspy.Module` of the template with its instructions and demos.

    `nearest` is needed by templates with a `neighbour_count`; raises `UserError` without it.
    """
    program = _program_class()(template, nearest)
    for name, demos in template.demos.items():
        program.predictor_of(name).demos = [dict(demo) for demo in demos]
    return program


def read_facts(program: Any) -> ProgramFacts:  # noqa: ANN401 - a dspy.Module
    """State, digest and id of a program; ids are equal where fields, instructions and demos are."""
    template: Template = program.template
    state = clean_state(program.dump_state(), template)
    neighbours = template.neighbour_count
    digest = json_digest(state if neighbours is None else {"neighbours": neighbours, "state": state})
    predictors = {step.name: state[_state_key(step)] for step in template.program_steps}
    return ProgramFacts(
        program_id=derived_id("dspy_program", template.schema_digest, digest),
        program_digest=digest,
        state=state,
        instructions={name: part["signature"]["instructions"] for name, part in predictors.items()},
        demos={name: tuple(part["demos"]) for name, part in predictors.items()},
        neighbour_count=neighbours,
    )


def load_program(template: Template, state: Mapping[str, Any], *, nearest: Nearest | None = None) -> Any:  # noqa: ANN401
    """The template's module with instructions and demos of a saved state; raises `UserError` if it does not fit."""
    cleaned = clean_state(state, template)
    program = _program_class()(template, nearest)
    program.load_state(cleaned)
    return program


def clean_state(state: Mapping[str, Any], template: Template) -> State:
    """A state with what a state of this template may hold, and nothing else.

    DSPy's own reader sets whatever a file names and builds any language model it asks for, and takes the state of
    another signature without a word; hence each key is checked here. Raises `UserError` that names the place.
    """
    wanted = {_state_key(step): step for step in template.program_steps}
    given = {key: part for key, part in state.items() if key != "metadata"}
    if set(given) != set(wanted):
        raise UserError(
            f"The program state is of {', '.join(sorted(map(str, given))) or 'no predictor'}; the template "
            f"{template.template} has {', '.join(sorted(wanted))}."
        )
    return {key: _clean_predictor(key, given[key], template, step) for key, step in wanted.items()}


def apply_facts(template: Template, facts: ProgramFacts) -> Template:
    """The template with the instructions and demos that a program has."""
    changes: dict[str, Any] = {
        "demos": {name: tuple(map(_plain_demo, values)) for name, values in facts.demos.items() if values},
        "neighbour_count": facts.neighbour_count,
    }
    if template.program_kind == "chain":
        changes["steps"] = [
            {**step.model_dump(), "instructions": facts.instructions[step.name]} for step in template.steps
        ]
    else:
        (changes["instructions"],) = facts.instructions.values()
    return template.revised(**changes)


def _plain_demo(demo: Demo) -> Demo:
    return {key: value for key, value in demo.items() if key != AUGMENTED}


def _clean_predictor(key: str, part: object, template: Template, step: Step) -> State:
    if not isinstance(part, Mapping) or not set(part) <= _STATE_KEYS:
        unknown = sorted(set(part) - _STATE_KEYS) if isinstance(part, Mapping) else [type(part).__name__]
        raise UserError(f"The program state of {key} holds {', '.join(map(str, unknown))}, which no state may.")
    if part.get("lm") is not None:
        raise UserError(f"The program state of {key} names a language model; a model comes from the configuration.")
    signature = part.get("signature")
    if not isinstance(signature, Mapping) or set(signature) != _SIGNATURE_KEYS:
        raise UserError(f"The program state of {key} has no signature with instructions and fields.")
    inputs, outputs = template.fields_of(step)
    names = _all_names(step, inputs, outputs)
    fields = signature["fields"]
    if not isinstance(fields, list) or len(fields) != len(names):
        raise UserError(f"The program state of {key} has other fields than the template: {', '.join(names)}.")
    return {
        "traces": [],
        "train": [],
        "demos": [_clean_demo(key, demo, names) for demo in part.get("demos") or []],
        "signature": {
            "instructions": _text(key, signature["instructions"]),
            "fields": [_clean_field(key, field) for field in fields],
        },
        "lm": None,
    }


def _all_names(step: Step, inputs: Sequence[TemplateField], outputs: Sequence[TemplateField]) -> list[str]:
    thinking = [REASONING] if step.kind == "chain_of_thought" else []
    return [*(field.name for field in inputs), *thinking, *(field.name for field in outputs)]


def _clean_demo(key: str, demo: object, names: Sequence[str]) -> State:
    if not isinstance(demo, Mapping):
        raise UserError(f"A demo of {key} is {type(demo).__name__}; demos are objects of fields.")
    unknown = sorted(set(map(str, demo)) - {*names, AUGMENTED})
    if unknown:
        raise UserError(f"A demo of {key} has {', '.join(unknown)}; its fields are {', '.join(names)}.")
    return {str(name): _plain(key, value, depth=0) for name, value in demo.items()}


def _clean_field(key: str, field: object) -> State:
    if not isinstance(field, Mapping) or set(field) != _FIELD_KEYS:
        raise UserError(f"A field in the program state of {key} is not a prefix and a description.")
    return {name: _text(key, field[name]) for name in sorted(_FIELD_KEYS)}


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise UserError(f"The program state of {key} has {type(value).__name__} where a text belongs.")
    return value


def _plain(key: str, value: object, *, depth: int) -> Any:  # noqa: ANN401 - any JSON value
    if depth > _MAX_DEPTH:
        raise UserError(f"A demo of {key} is nested more than {_MAX_DEPTH} deep.")
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list | tuple):
        return [_plain(key, part, depth=depth + 1) for part in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(key, part, depth=depth + 1) for name, part in value.items()}
    raise UserError(f"A demo of {key} holds {type(value).__name__}, which JSON cannot say.")


def _state_key(step: Step) -> str:
    """Name of the step's predictor in a state: DSPy's ChainOfThought holds one called `predict`."""
    return f"{step.name}.predict" if step.kind == "chain_of_thought" else step.name


def make_signature(template: Template, step: Step) -> Any:  # noqa: ANN401 - a dspy.Signature class
    """The step's fields and instructions as DSPy's signature."""
    import dspy

    inputs, outputs = template.fields_of(step)
    fields = {
        **{field.name: (_type_of(field), dspy.InputField(desc=field.description)) for field in inputs},
        **{field.name: (_type_of(field), dspy.OutputField(desc=field.description)) for field in outputs},
    }
    return dspy.make_signature(fields, step.instructions, "".join(part.title() for part in step.name.split("_")))


def _type_of(field: TemplateField) -> Any:  # noqa: ANN401 - a type
    kinds = {"text": str, "integer": int, "number": float, "boolean": bool, "text_list": list[str]}
    return Literal[field.choices] if field.kind == "choice" else kinds[field.kind]


@cache
def _program_class() -> Callable[[Template, Nearest | None], Any]:
    """The module class; made at first use because its base is DSPy's."""
    import dspy

    class TemplateProgram(dspy.Module):  # type: ignore[misc]  # DSPy has no types
        """A template's steps, each given the inputs and what the steps before it gave."""

        def __init__(self, template: Template, nearest: Nearest | None) -> None:
            super().__init__()
            if template.neighbour_count is not None and nearest is None:
                raise UserError(
                    f"The template {template.template} shows the nearest of its demos, which needs an embedding model."
                )
            # Names beginning with an underscore are no parameters to DSPy; copies share them.
            self._settings = _Settings(template, nearest)
            for step in template.program_steps:
                maker = dspy.ChainOfThought if step.kind == "chain_of_thought" else dspy.Predict
                setattr(self, step.name, maker(make_signature(template, step)))

        @property
        def template(self) -> Template:
            """What the program was built from."""
            return self._settings.template

        def predictor_of(self, name: str) -> Any:  # noqa: ANN401 - a dspy.Predict
            """The predictor of a step."""
            part = getattr(self, name)
            return getattr(part, "predict", part) if isinstance(part, dspy.ChainOfThought) else part

        def forward(self, **inputs: Any) -> Any:  # noqa: ANN401 - a dspy.Prediction
            """Ask step by step; gives the prediction of the last."""
            template, nearest = self._settings.template, self._settings.nearest
            known = dict(inputs)
            prediction = None
            for step in template.program_steps:
                given = {name: known[name] for name in step.inputs}
                shown = {}
                if template.neighbour_count is not None and nearest is not None:
                    pool = self.predictor_of(step.name).demos
                    places = nearest(given, pool, template.neighbour_count)
                    shown = {"demos": [pool[place] for place in places]}
                prediction = getattr(self, step.name)(**given, **shown)
                known.update({field.name: prediction[field.name] for field in step.outputs})
            return prediction

    return TemplateProgram


class _Settings:
    """What a program does not learn; DSPy copies programs deeply, these are one for all copies."""

    def __init__(self, template: Template, nearest: Nearest | None) -> None:
        self.template = template
        self.nearest = nearest

    def __deepcopy__(self, memo: dict[int, object]) -> _Settings:
        return self
