"""A template's program written to files, or asked once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake.errors import UserError

if TYPE_CHECKING:
    from pipelines.optimization.template_registry import TemplateVersion
    from resources.installation import Installation


def export_program(
    installation: Installation, reference: str, *, folder: Path, program_id: str | None = None
) -> list[Path]:
    """Write source, state and template of a version, or of a program of its runs, into `folder`; gives the files.

    Files that stand are replaced. Raises `UserError` where the folder cannot be written.
    """
    from pipelines.optimization.dspy_adapter.programs import export_to_dspy_program
    from pipelines.optimization.templates import template_yaml

    version = _with_program(installation, reference, program_id)
    exported = export_to_dspy_program(version.template, name=str(version))
    stem = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in version.template.template)
    contents = {
        f"{stem}.py": exported.source,
        f"{stem}.state.json": json.dumps(exported.state, indent=2, ensure_ascii=False) + "\n",
        f"{stem}.template.yaml": template_yaml(version.template),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}.") from error
    return [folder / name for name in contents]


def ask_template(installation: Installation, reference: str, inputs: str | None) -> dict[str, Any]:
    """Outputs of a template's program for one question, a JSON object of input fields (default its example query)."""
    from pipelines.optimization.dspy_adapter.calling import Quiet, ask, calling, make_model
    from pipelines.optimization.dspy_adapter.programs import build_program
    from pipelines.optimization.spending import Budget, Meter, MeteredEngine
    from pipelines.optimization.template_registry import read_template
    from resources.language_models import open_language_model
    from resources.optimization import find_nearest

    template = read_template(installation.lake, reference).template
    given = _read_inputs(inputs, template.example_query, [field.name for field in template.inputs])
    name = template.model.language_model
    with open_language_model(
        name, installation.config.language_models, state_dir=installation.state.optimization, seed=0
    ) as engine:
        nearest = find_nearest(installation) if template.neighbour_count is not None else None
        model = make_model(MeteredEngine(engine, Meter(Budget(), lambda: 0.0)), template.model)
        with Quiet(), calling(model):
            return ask(build_program(template, nearest=nearest), given)


def _with_program(installation: Installation, reference: str, program_id: str | None) -> TemplateVersion:
    from pipelines.optimization.dspy_adapter.programs import apply_facts
    from pipelines.optimization.listing import read_program
    from pipelines.optimization.syncing import read_facts_of
    from pipelines.optimization.template_registry import TemplateVersion, read_template

    version = read_template(installation.lake, reference)
    if program_id is None:
        return version
    facts = read_facts_of(read_program(installation.lake, program_id), version)
    return TemplateVersion(template=apply_facts(version.template, facts), row=version.row)


def _read_inputs(text: str | None, example: Any, names: list[str]) -> dict[str, Any]:  # noqa: ANN401 - JSON or None
    if text is None and example is None:
        raise UserError(f"The template has no example query; give the inputs as JSON: {', '.join(names)}.")
    try:
        given = dict(example) if text is None else json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"The inputs are no JSON: {error}.") from error
    if not isinstance(given, dict) or set(given) != set(names):
        raise UserError(f"The inputs must be a JSON object of {', '.join(names)}; given: {text}")
    return given
