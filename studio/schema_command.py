"""`benchlake schema`: the JSON Schemas of what other programs may write for Benchlake."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from lake.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(schema)


def schema(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="run: one line of a run file. export: the manifest of an export. comparison, scenario, decision, "
            "every-eval-ever-run, every-eval-ever-sample. "
            "Or a table such as silver.runs: one line of its export.",
        ),
    ],
) -> None:
    """Print the JSON Schema (draft 2020-12) of a file format of our own, for editors and validators.

    Example:  benchlake schema run > benchlake-run.schema.json
    """
    sys.stdout.write(schema_text(name))


def schema_text(name: str) -> str:
    """The schema as it is printed and as it stands in the docs; raises `UserError` for an unknown name."""
    return json.dumps(_schema(name), indent=2, ensure_ascii=False) + "\n"


def _schema(name: str) -> dict[str, Any]:
    if name == "run":
        from pipelines.runs.run_schema import json_schema

        return json_schema()
    from lake.tables import CONTRACTS, contract_of
    from pipelines.experiments.export_schemas import NAMED, row_schema

    if name in NAMED:
        return NAMED[name]()
    if name in CONTRACTS:
        return row_schema(contract_of(name))
    raise UserError.unknown("schema", name, ["run", *NAMED, *CONTRACTS])


def schema_files() -> dict[str, str]:
    """The schemas that stand in the docs, by file name."""
    from pipelines.experiments.export_schemas import NAMED
    from pipelines.experiments.exports import EXPORTED_TABLES

    named = {f"benchlake-{name}-1.schema.json": schema_text(name) for name in ("run", *NAMED)}
    return named | {f"{table}.schema.json": schema_text(table) for table in EXPORTED_TABLES}
