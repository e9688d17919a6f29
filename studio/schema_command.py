"""`benchlake schema`: the JSON Schemas of what other programs may write for Benchlake."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from lake.errors import UserError

RUN_SCHEMA_FILE = "benchlake-run-1.schema.json"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(schema)


def schema(
    name: Annotated[str, typer.Argument(help="run: one line of a run file.")],
) -> None:
    """Print the JSON Schema (draft 2020-12) of a file format of our own, for editors and validators.

    Example:  benchlake schema run > benchlake-run.schema.json
    """
    sys.stdout.write(schema_text(name))


def schema_text(name: str) -> str:
    """The schema as it is printed and as it stands in the docs; raises `UserError` for an unknown name."""
    if name != "run":
        raise UserError.unknown("schema", name, ["run"])
    from pipelines.runs.run_schema import json_schema

    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
