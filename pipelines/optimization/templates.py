"""What a template is: typed fields, instructions, steps, demos, model settings and a metric; read from YAML and rows.

What belongs here: the declaration, its checks and its digests. Versions in a lake are `template_registry.py`, a
template as a DSPy module is `dspy_adapter/`, as Python source `source_code.py`.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lake.errors import UserError
from lake.identity import json_digest
from pipelines.runs.suites import ScorerUse

FieldKind = Literal["text", "integer", "number", "boolean", "choice", "text_list"]
StepKind = Literal["predict", "chain_of_thought"]
ProgramKind = Literal["predict", "chain_of_thought", "chain"]
# A demo of a step: values of its input and output fields by name.
Demo = Mapping[str, Any]

# The name of the only step of a template that is no chain, and hence of its predictor.
ONLY_STEP = "answer"
# DSPy adds this output before those of a step that thinks first.
REASONING = "reasoning"
# Names that DSPy's modules take for settings of a call.
_TAKEN = frozenset({"config", "demos", "lm", "new_signature", "signature", "self", REASONING})
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MAX_FAULTS = 5


def _identifier(name: str) -> str:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or name in _TAKEN:
        raise ValueError(
            f"{name!r} cannot be a name here: lower case letters, digits and underscores, beginning with a letter, "
            f"no Python keyword and none of {', '.join(sorted(_TAKEN))}"
        )
    return name


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TemplateField(_Part):
    """A named value that goes into a step or comes out of it."""

    name: str
    kind: FieldKind = "text"
    description: str = ""
    choices: tuple[str, ...] = ()

    _name = field_validator("name")(_identifier)

    @model_validator(mode="after")
    def _has_choices(self) -> Self:
        if (self.kind == "choice") != bool(self.choices):
            raise ValueError("choices belong to the kind `choice`, and it needs at least one")
        if len(set(self.choices)) != len(self.choices):
            raise ValueError("choices must differ")
        return self


class Step(_Part):
    """One question to the model: which values it is given, what it is told, which values it gives."""

    name: str
    kind: StepKind = "predict"
    instructions: str
    inputs: tuple[str, ...]
    outputs: tuple[TemplateField, ...] = Field(min_length=1)

    _name = field_validator("name")(_identifier)


class ModelSettings(_Part):
    """Which model answers, and how it is asked."""

    language_model: str = Field(default="embedded", description="Configured name; see docs/optimization.md.")
    temperature: float = Field(default=0.0, ge=0, le=2)
    max_output_tokens: int = Field(default=64, ge=1, le=100_000)


class TemplateMetric(_Part):
    """How an output is scored: a scorer of the suites, on one output field."""

    scorer: ScorerUse = ScorerUse(name="exact_match")
    output_field: str | None = Field(default=None, description="Output field that is scored; default the last.")


class Template(_Part):
    """A task for a language model, as its author declares it and as an optimiser may improve it.

    A `predict` or `chain_of_thought` template has `instructions` and one step; a `chain` has `steps`, each of which is
    given inputs of the template or outputs of steps before it, and its outputs are those of the last step.
    """

    template: Annotated[str, Field(min_length=1, max_length=200)]
    description: str = ""
    program_kind: ProgramKind = "predict"
    instructions: str = ""
    inputs: tuple[TemplateField, ...] = Field(min_length=1)
    outputs: tuple[TemplateField, ...] = ()
    steps: tuple[Step, ...] = ()
    example_query: Mapping[str, Any] | None = None
    demos: Mapping[str, tuple[Demo, ...]] = Field(default_factory=dict)
    neighbour_count: int | None = Field(
        default=None, ge=1, description="Show the nearest so many of the demos for each question instead of all."
    )
    model: ModelSettings = ModelSettings()
    metric: TemplateMetric = TemplateMetric()

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        faults = list(_faults_of(self))
        if faults:
            raise ValueError("; ".join(faults[:_MAX_FAULTS]))
        return self

    def revised(self, **changes: Any) -> Template:  # noqa: ANN401 - values of the template's fields
        """The template with other values, checked again.

        Not `model_copy`, which takes along what was computed of the old values.
        """
        return check_template({**self.model_dump(), **changes}, source=f"The template {self.template}")

    @cached_property
    def program_steps(self) -> tuple[Step, ...]:
        """The steps that are asked, one for a template that is no chain."""
        if self.program_kind == "chain":
            return self.steps
        return (
            Step(
                name=ONLY_STEP,
                kind=self.program_kind,
                instructions=self.instructions,
                inputs=tuple(field.name for field in self.inputs),
                outputs=self.outputs,
            ),
        )

    @property
    def final_outputs(self) -> tuple[TemplateField, ...]:
        """The output fields that callers get."""
        return self.program_steps[-1].outputs

    @property
    def scored_field(self) -> str:
        """The output field that the metric looks at."""
        return self.metric.output_field or self.final_outputs[-1].name

    def fields_of(self, step: Step) -> tuple[tuple[TemplateField, ...], tuple[TemplateField, ...]]:
        """Input and output fields of a step."""
        known = {field.name: field for field in self.inputs}
        for earlier in self.program_steps:
            if earlier is step:
                break
            known.update({field.name: field for field in earlier.outputs})
        return tuple(known[name] for name in step.inputs), step.outputs

    @cached_property
    def schema_digest(self) -> str:
        """SHA-256 of kind, steps' names and fields: a program's state fits templates of one schema alone."""
        return json_digest(
            {
                "inputs": [_shape(field) for field in self.inputs],
                "steps": [
                    [step.name, step.kind, step.inputs, [_shape(field) for field in step.outputs]]
                    for step in self.program_steps
                ],
            }
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that decides what is sent and how it is scored; descriptions of the whole do not."""
        return json_digest(self.model_dump(mode="json", exclude={"description", "example_query"}))


def _shape(field: TemplateField) -> list[object]:
    return [field.name, field.kind, list(field.choices)]


def _faults_of(template: Template) -> list[str]:
    faults = []
    if (template.program_kind == "chain") != bool(template.steps):
        return ["steps belong to the program kind `chain`, and it needs at least one"]
    if template.program_kind != "chain" and not template.outputs:
        return ["outputs: add at least one output field"]
    if template.program_kind == "chain" and (template.outputs or template.instructions):
        faults.append("a chain has no outputs or instructions of its own; they stand in its steps")
    known = [field.name for field in template.inputs]
    for step in template.program_steps:
        faults += [
            f"step {step.name}: {name!r} is neither an input nor an output of an earlier step"
            for name in step.inputs
            if name not in known
        ]
        known += [field.name for field in step.outputs]
    faults += [f"the field {name!r} is declared twice" for name in sorted(set(known)) if known.count(name) > 1]
    names = [step.name for step in template.program_steps]
    faults += [f"the step {name!r} is declared twice" for name in sorted(set(names)) if names.count(name) > 1]
    wanted = template.metric.output_field
    if not faults and wanted is not None and wanted not in {field.name for field in template.final_outputs}:
        faults.append(f"metric: {wanted!r} is no output field of the last step")
    if template.neighbour_count is not None and len(names) > 1:
        faults.append("neighbour_count is for templates of one step")
    return faults + _demo_faults(template, names)


def _demo_faults(template: Template, names: Sequence[str]) -> list[str]:
    faults = [f"demos: there is no step {name!r}" for name in template.demos if name not in names]
    for step in template.program_steps:
        allowed = {*step.inputs, *(field.name for field in step.outputs), REASONING}
        for demo in template.demos.get(step.name, ()):
            faults += [f"demos of {step.name}: {key!r} is no field of it" for key in demo if key not in allowed]
    return faults


class WrittenTemplate(NamedTuple):
    """A template with the text it was read from."""

    template: Template
    content: str


def parse_template(content: str, *, source: str) -> Template:
    """A template from YAML text; raises `UserError` that names `source`, key and what is allowed."""
    try:
        value = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise UserError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{source} is not a template: it must be a mapping with template, inputs and outputs.")
    return check_template(value, source=source)


def check_template(value: Mapping[str, Any], *, source: str) -> Template:
    """A template from plain values; raises `UserError` that names `source`, key and what is allowed."""
    try:
        return Template.model_validate(value)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, problem['loc'])) or '(the whole)'}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()[:_MAX_FAULTS]
        ]
        raise UserError(
            f"{source} is not a valid template:\n  " + "\n  ".join(faults) + "\nSee docs/optimization.md."
        ) from error


def template_yaml(template: Template) -> str:
    """The template as YAML that `parse_template` reads back; what stands at its default is left out."""
    content = template.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
