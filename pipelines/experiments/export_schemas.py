"""JSON Schemas (draft 2020-12) of what Benchlake exports: rows of every table, the manifest, scenarios, decisions.

Made from the contracts and the typed structures, so that they cannot say anything else than the code does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import dataframely as dy
import polars as pl
from pydantic import TypeAdapter

from lake.contracts import TableContract
from lake.tables import contract_of
from pipelines.experiments.decisions import ENTRY
from pipelines.experiments.every_eval_ever_schemas import DRAFT, aggregate_schema, instance_schema
from pipelines.experiments.exports import EXPORT_KIND, EXPORT_VERSION, EXPORTED_TABLES
from pipelines.experiments.run_diff import RunDiff
from pipelines.experiments.scenarios import SCENARIO

_HEX = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
Schema = dict[str, Any]


def row_schema(contract: TableContract) -> Schema:
    """One line of an exported table."""
    columns = contract.schema.columns()
    return {
        "$schema": DRAFT,
        "title": f"One row of {contract.address}, as benchlake export writes it",
        "description": contract.grain,
        "type": "object",
        "additionalProperties": False,
        "required": list(columns),
        "properties": {
            name: _described(_value(column.dtype), column, is_nullable=column.nullable)
            for name, column in columns.items()
        },
    }


def _described(schema: Schema, column: dy.Column, *, is_nullable: bool) -> Schema:
    unit = (column.metadata or {}).get("unit")
    words = (column.metadata or {}).get("vocabulary")
    if words:
        schema = {"enum": [*words, None] if is_nullable else list(words)}
    elif is_nullable:
        schema = {"anyOf": [schema, {"type": "null"}]}
    return {"description": f"{column.description or ''}{f' Unit: {unit}.' if unit else ''}", **schema}


def _value(dtype: pl.DataType) -> Schema:
    """A column type as it looks in JSON; members of lists and structs may be null."""
    if isinstance(dtype, pl.List):
        return {"type": "array", "items": _optional(_value(_inner(dtype.inner)))}
    if isinstance(dtype, pl.Struct):
        return {
            "type": "object",
            "properties": {field.name: _optional(_value(_inner(field.dtype))) for field in dtype.fields},
            "required": [field.name for field in dtype.fields],
            "additionalProperties": False,
        }
    if dtype.is_integer():
        return {"type": "integer"}
    if dtype.is_float():
        return {"type": "number"}
    plain: dict[type[pl.DataType], Schema] = {
        pl.Boolean: {"type": "boolean"},
        pl.Date: {"type": "string", "format": "date"},
        pl.Datetime: {"type": "string", "format": "date-time"},
        pl.Binary: {"type": "string", "contentEncoding": "base64"},
    }
    return plain.get(type(dtype), {"type": "string"})


def _inner(dtype: Any) -> pl.DataType:  # noqa: ANN401 - Polars gives a class or an instance of it
    found: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return found


def _optional(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def manifest_schema() -> Schema:
    """The manifest of an export."""
    file = {
        "name": {"type": "string", "pattern": r"^[a-z_]+\.[a-z_]+\.(jsonl|csv|parquet)$"},
        "table": {"enum": sorted(EXPORTED_TABLES)},
        "delta_version": {"type": "integer", "minimum": -1},
        "is_filtered": {"type": "boolean"},
        "row_count": {"type": "integer", "minimum": 0},
        "size_bytes": {"type": "integer", "minimum": 0},
        "sha256": _HEX,
    }
    properties = {
        "kind": {"const": EXPORT_KIND},
        "schema_version": {"const": EXPORT_VERSION},
        "created_at": {"type": "string", "format": "date-time"},
        "format": {"enum": ["json", "csv", "parquet"]},
        "what": {"type": "array", "items": {"type": "string"}},
        "query": {"type": "array", "items": {"type": "string"}},
        "files": {
            "type": "array",
            "items": {"type": "object", "properties": file, "required": list(file), "additionalProperties": False},
        },
    }
    return {
        "$schema": DRAFT,
        "title": "Manifest of a Benchlake export",
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _typed(adapter: TypeAdapter[Any], title: str) -> Schema:
    return {"$schema": DRAFT, **adapter.json_schema(), "title": title}


# What `benchlake schema NAME` prints, beside the run format and the tables.
NAMED: Mapping[str, Callable[[], Schema]] = {
    "export": manifest_schema,
    "every-eval-ever-run": aggregate_schema,
    "every-eval-ever-sample": instance_schema,
    "scenario": lambda: _typed(SCENARIO, "A scenario, as benchlake scenarios save reads it"),
    "decision": lambda: _typed(ENTRY, "A decision, as benchlake decisions record reads it"),
    "comparison": lambda: _typed(TypeAdapter(RunDiff), "A comparison of runs, as benchlake explore --json writes it"),
}


def table_schemas() -> dict[str, Schema]:
    """Schemas of the rows of every table that can be exported, by address."""
    return {table: row_schema(contract_of(table)) for table in EXPORTED_TABLES}
