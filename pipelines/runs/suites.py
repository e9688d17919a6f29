"""Prompt suites: a versioned YAML file of prompts, references and scorers, read and checked.

Here: what a suite file may say, and the digests that identify its content. Asking a backend is `suite_runs.py`,
what the scorers do is `scorers.py`, versions kept in a lake are `suite_registry.py`, the shipped suite is in
`resources/defaults/`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lake.errors import UserError
from lake.identity import json_digest
from pipelines.runs.backends import SamplingParameters
from pipelines.runs.scorers import check_pattern, find_scorer, last_number, read_options

# Faults listed in one message; a file with more has the same one many times.
_MAX_FAULTS = 5
_SHOWN_CHARS = 60
_REMEDIES = {
    "missing": "add it",
    "string_type": "write a text, in quotes if it looks like a number, a date or yes/no",
    "string_unicode": "it has half of a surrogate pair, which is no character; write the character itself",
    "extra_forbidden": "remove it or correct its spelling",
    "list_type": "write a list, each entry on a line that starts with a dash",
    "tuple_type": "write a list, each entry on a line that starts with a dash",
}


def _storable(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("has half of a surrogate pair, which is no character; write the character itself") from None
    return text


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, AfterValidator(_storable)]
# The length first: after a validator pydantic would speak of items.
FilledText = Annotated[str, Field(min_length=1), AfterValidator(_storable)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_storable)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScorerUse(_Part):
    """A scorer with its options, as a sample asks for it."""

    name: str
    options: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: object) -> object:
        # In the file: `contains`, or `contains: {ignore_case: true}`.
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and len(value) == 1 and "name" not in value:
            ((name, options),) = value.items()
            return {"name": name, "options": options if options is not None else {}}
        return value

    @model_validator(mode="after")
    def _is_known(self) -> ScorerUse:
        try:
            read_options(self.name, self.options)
        except UserError as error:
            raise ValueError(str(error)) from None
        return self


class Sample(_Part):
    """One prompt with what a good answer is."""

    id: Name
    prompt: FilledText
    reference: Text | None = None
    scorers: tuple[ScorerUse, ...] | None = None
    tags: tuple[Name, ...] = ()


class Sampling(_Part):
    """Sampling section of a suite file; see `SamplingParameters` for the meaning of each."""

    temperature: float = Field(default=0.0, ge=0, le=10)
    max_output_tokens: int = Field(default=256, ge=1)
    seed: int | None = Field(default=None, ge=0, lt=1 << 31)
    top_k_logprobs: int = Field(default=5, ge=0, le=20)
    stop: tuple[FilledText, ...] = ()

    @model_validator(mode="after")
    def _seed_is_given(self) -> Sampling:
        if self.temperature > 0 and self.seed is None:
            raise ValueError("a temperature above 0 needs a seed, else the run cannot be repeated; add `seed: 1`")
        return self


class Suite(_Part):
    """A versioned set of prompts with references and scorers.

    Every sample has its scorers resolved: its own, else those of the suite.
    """

    schema_version: Literal[1] = 1
    name: Name
    version: Annotated[Name, BeforeValidator(_as_text)]
    description: Text = ""
    sampling: Sampling = Sampling()
    scorers: tuple[ScorerUse, ...] = ()
    samples: tuple[Sample, ...]

    @property
    def parameters(self) -> SamplingParameters:
        """The sampling parameters that a backend is given."""
        return SamplingParameters(**self.sampling.model_dump())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that decides what is asked and how it is scored; comments and descriptions do not."""
        content = self.model_dump(mode="json", exclude={"description", "scorers", "samples"})
        samples = [
            {**sample.model_dump(mode="json"), "scorers": [use.model_dump(mode="json") for use in self.uses_of(sample)]}
            for sample in self.samples
        ]
        return json_digest({**content, "samples": samples})

    @cached_property
    def prompt_digest(self) -> str:
        """SHA-256 of ids and prompts alone, in order of id: equal for suites whose outputs can be paired."""
        return json_digest(sorted((sample.id, sample.prompt) for sample in self.samples))

    @cached_property
    def sampling_digest(self) -> str:
        """SHA-256 of the sampling parameters."""
        return json_digest(self.sampling.model_dump(mode="json"))

    def uses_of(self, sample: Sample) -> tuple[ScorerUse, ...]:
        """Scorers of `sample`: its own list if it has one (also an empty one), else the suite's."""
        return self.scorers if sample.scorers is None else sample.scorers


class WrittenSuite(NamedTuple):
    """A suite together with the YAML text that says it, comments and all."""

    suite: Suite
    text: str


def load_suite(path: Path) -> Suite:
    """Read a suite file; raises `UserError` with file, key and what to do."""
    return read_suite(path).suite


def read_suite(path: Path) -> WrittenSuite:
    """Read a suite file and keep its text; raises `UserError` with file, key and what to do."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"The suite file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    return WrittenSuite(parse_suite(text, source=str(path)), text)


def parse_suite(text: str, *, source: str) -> Suite:
    """Parse the text of a suite file; `source` names it in messages. Raises `UserError`."""
    try:
        content = yaml.load(text, Loader=_SuiteLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{source} is not valid YAML: {error or 'nested too deeply'}") from error
    if not isinstance(content, dict):
        raise UserError(f"{source} is no suite: it must be a mapping with the keys name, version and samples.")
    try:
        suite = Suite.model_validate(content)
    except ValidationError as error:
        raise UserError(_explain(source, error, content)) from error
    faults = _faults_of(suite)
    if faults:
        raise UserError(_listed(source, faults))
    return suite


class _SuiteLoader(yaml.SafeLoader):
    """A SafeLoader that refuses a key given twice (YAML 1.2, 3.2.1.1), where PyYAML silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<")
        twice = next((key for key, count in keys.items() if count > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(
                "while reading a mapping", node.start_mark, f"the key {twice!r} stands there twice; keep one"
            )
        return super().construct_mapping(node, deep=deep)


def _faults_of(suite: Suite) -> list[str]:
    """What types cannot say: ids that are not unique, scorers without what they need."""
    if not suite.samples:
        return ["samples: is empty; a suite has at least one"]
    counts = Counter(sample.id for sample in suite.samples)
    faults = [
        f"samples: the id {name!r} is used {count} times; ids must differ"
        for name, count in counts.items()
        if count > 1
    ]
    for index, sample in enumerate(suite.samples):
        faults += [f"samples[{index}] ({sample.id}).{fault}" for fault in _scorer_faults(sample, suite.uses_of(sample))]
    return faults


def _scorer_faults(sample: Sample, uses: tuple[ScorerUse, ...]) -> list[str]:
    counts = Counter(use.name for use in uses)
    faults = [f"scorers: {name} is asked for {count} times; keep one" for name, count in counts.items() if count > 1]
    for use in uses:
        if find_scorer(use.name).needs_reference and sample.reference is None:
            faults.append(f"reference: missing, but the scorer {use.name} needs one; add it")
        elif use.name == "numeric" and last_number(sample.reference or "") is None:
            faults.append(f"reference: has no number for the scorer numeric (got {_shown(sample.reference)})")
        elif use.name == "regex" and use.options.get("pattern") is None:
            faults += _pattern_faults(sample)
    return faults


def _pattern_faults(sample: Sample) -> list[str]:
    if sample.reference is None:
        return ["scorers: regex needs the option pattern, or a reference that is the pattern"]
    try:
        check_pattern(sample.reference)
    except ValueError as error:
        return [f"reference: {error} (got {_shown(sample.reference)})"]
    return []


def _explain(source: str, error: ValidationError, content: Mapping[Any, Any]) -> str:
    faults = []
    for problem in error.errors():
        given = "" if problem["type"] == "missing" else f" (got {_shown(problem['input'])})"
        remedy = f"; {_REMEDIES[problem['type']]}" if problem["type"] in _REMEDIES else ""
        message = problem["msg"].removeprefix("Value error, ")
        faults.append(f"{_key(problem['loc'], content)}: {message}{given}{remedy}")
    return _listed(source, faults)


def _key(location: tuple[int | str, ...], content: Mapping[Any, Any]) -> str:
    """The place of a fault as it is read in the file, with the sample's id where it has one."""
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}"
        if key.startswith(".samples[") and isinstance(part, int) and key.count("[") == 1:
            sample = content["samples"][part]
            key += f" ({_shown(sample['id'])})" if isinstance(sample, dict) and "id" in sample else ""
    return key.removeprefix(".") or "(the whole file)"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def _listed(source: str, faults: list[str]) -> str:
    more = f"\n  and {len(faults) - _MAX_FAULTS} more" if len(faults) > _MAX_FAULTS else ""
    return f"{source} is not a valid suite:\n  " + "\n  ".join(faults[:_MAX_FAULTS]) + more
