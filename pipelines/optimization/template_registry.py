"""Versions of templates in the lake: save, read, list, compare, archive; and what becomes of learnt ones.

What belongs here: what becomes a row of silver.templates, and when. What a template is, is `templates.py`.
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import polars as pl

from lake.errors import ConflictError, UserError
from lake.identity import derived_id
from lake.store import MAX_TRIES, Lake
from lake.tables import contract_of
from pipelines.databits.units import canonical_text
from pipelines.examples.digests import input_digest
from pipelines.optimization.templates import Template, check_template, template_yaml

TEMPLATES = "silver.templates"
EXAMPLES = "silver.examples"
TemplateState = Literal["active", "pending", "refused", "archived"]
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class SavedTemplate:
    """A version as it stands in the lake; `is_new` is false when the same content stood there before."""

    template_id: str
    template: str
    version_index: int
    template_digest: str
    state: TemplateState
    is_new: bool

    def __str__(self) -> str:
        return f"{self.template}@{self.version_index}"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a version comes from: the version before, and the optimisation run that learnt it if one did."""

    parent_version_index: int | None = None
    optimization_run_id: str | None = None
    evaluation_run_id: str | None = None
    state: TemplateState = "active"


@dataclass(frozen=True, kw_only=True)
class TemplateVersion:
    """A version with its template."""

    template: Template
    row: Row

    @property
    def template_id(self) -> str:
        """Id of the template."""
        return str(self.row["template_id"])

    @property
    def version_index(self) -> int:
        """Place among the versions, from 1."""
        return int(self.row["version_index"])

    def __str__(self) -> str:
        return f"{self.template.template}@{self.version_index}"


def save_template(
    lake: Lake,
    template: Template,
    *,
    now: dt.datetime,
    author: str,
    note: str | None = None,
    origin: Origin | None = None,
) -> SavedTemplate:
    """Keep a template as the next version of its name, unless a version with this content stands already.

    Without `origin` it is active at once and follows the newest version. Versions are numbered without gaps, also when
    several processes save at once. Raises `ConflictError` when other writers never let this one through.
    """
    template_id = derived_id("template", template.template)
    for _ in range(MAX_TRIES):
        versions = lake.read(TEMPLATES, where={"template_id": template_id}).sort("version_index")
        standing = versions.filter(pl.col("template_digest") == template.digest)
        if standing.height:
            return _saved(standing.row(0, named=True), is_new=False)
        newest = None if versions.is_empty() else int(versions["version_index"][-1])
        row = _row(lake, template, origin or Origin(parent_version_index=newest)) | {
            "template_id": template_id,
            "version_index": (newest or 0) + 1,
            "created_at": now,
            "created_by": author,
            "change_note": note,
        }
        rows = pl.DataFrame([row], schema=contract_of(TEMPLATES).dtypes)
        if lake.compare_and_upsert(TEMPLATES, rows, expected=lambda found: found.is_empty()):
            return _saved(row, is_new=True)
    raise ConflictError(f"The template {template.template!r} was saved by others {MAX_TRIES} times; save it again.")


def read_template(lake: Lake, reference: str) -> TemplateVersion:
    """The version that NAME (its newest active one) or NAME@VERSION means; raises `UserError` if there is none."""
    name, _, index = reference.partition("@")
    rows = _versions(lake, name)
    if index:
        found = rows.filter(pl.col("version_index").cast(pl.String) == index)
        if found.is_empty():
            known = ", ".join(map(str, rows["version_index"].to_list()))
            raise UserError(f"The template {name!r} has no version {index!r}; it has {known}.")
    else:
        found = rows.filter(pl.col("state") == "active")
        if found.is_empty():
            raise UserError(
                f"No version of the template {name!r} is active. See them with: benchlake dspy templates history {name}"
            )
    return version_of(found.sort("version_index").row(-1, named=True))


def version_of(row: Row) -> TemplateVersion:
    """A row of silver.templates as a template."""
    content = {
        "template": row["template"],
        "description": row["description"] or "",
        "program_kind": row["program_kind"],
        "inputs": orjson.loads(row["input_fields"]),
        "demos": orjson.loads(row["demos"]),
        "example_query": orjson.loads(row["example_query"]) if row["example_query"] else None,
        **orjson.loads(row["model_settings"]),
        "metric": orjson.loads(row["metric"]),
    }
    if row["program_kind"] == "chain":
        content["steps"] = orjson.loads(row["steps"])
    else:
        content |= {"instructions": row["instructions"], "outputs": orjson.loads(row["output_fields"])}
    source = f"{row['template']}@{row['version_index']}"
    return TemplateVersion(template=check_template(content, source=source), row=row)


def list_templates(lake: Lake, *, has_archived: bool = False) -> pl.DataFrame:
    """The newest version of each template, with how many there are; archived ones only if `has_archived`."""
    rows = lake.read(TEMPLATES).sort("template", "version_index")
    rows = rows if has_archived else rows.filter(pl.col("state") != "archived")
    return (
        rows.group_by("template_id", maintain_order=True)
        .agg(
            pl.col(contract_of(TEMPLATES).dtypes.keys() - {"template_id"}).last(), version_count=pl.len().cast(pl.Int64)
        )
        .sort("template")
    )


def read_history(lake: Lake, name: str) -> pl.DataFrame:
    """Every version of a template, oldest first, with what it was made from; raises `UserError` if there is none."""
    return _versions(lake, name)


def diff_templates(lake: Lake, before: str, after: str) -> str:
    """What differs between two versions, as a unified diff of their YAML; empty where nothing does."""
    left, right = read_template(lake, before), read_template(lake, after)
    return "\n".join(
        difflib.unified_diff(
            template_yaml(left.template).splitlines(),
            template_yaml(right.template).splitlines(),
            str(left),
            str(right),
            lineterm="",
        )
    )


def pin_examples(
    lake: Lake, reference: str, example_ids: Sequence[str], *, now: dt.datetime, author: str
) -> SavedTemplate:
    """Save a next version of which the demos are these examples; raises `UserError` for one that does not fit."""
    from pipelines.optimization.items import item_of

    version = read_template(lake, reference)
    if len(version.template.program_steps) > 1:
        raise UserError("Examples can be pinned to templates of one step; the demos of a chain are by step.")
    rows = lake.read(EXAMPLES, where={"example_id": list(example_ids)}).rows_by_key(
        "example_id", named=True, unique=True, include_key=True
    )
    missing = [example_id for example_id in example_ids if example_id not in rows]
    if missing:
        raise UserError(f"There is no example {missing[0]!r}. List them with: benchlake examples list")
    items = [item_of(rows[example_id], version.template) for example_id in example_ids]
    step = version.template.program_steps[0]
    demos = {step.name: tuple({**item.inputs, **item.outputs} for item in items)}
    return save_template(
        lake,
        version.template.revised(demos=demos),
        now=now,
        author=author,
        note=f"pinned {len(items)} examples",
        origin=Origin(parent_version_index=version.version_index),
    )


def set_state(lake: Lake, reference: str, state: TemplateState, *, now: dt.datetime, reason: str | None) -> list[str]:
    """Set the state of NAME@VERSION, or of every version of NAME; gives those that changed."""
    name, _, index = reference.partition("@")
    rows = _versions(lake, name)
    if index:
        rows = rows.filter(pl.col("version_index").cast(pl.String) == index)
        if rows.is_empty():
            raise UserError(f"The template {name!r} has no version {index!r}.")
    changed = rows.filter(pl.col("state") != state).with_columns(
        state=pl.lit(state), settled_at=pl.lit(now), settled_reason=pl.lit(reason, dtype=pl.String)
    )
    if changed.height:
        lake.upsert(TEMPLATES, changed)
    return [f"{row['template']}@{row['version_index']}" for row in changed.iter_rows(named=True)]


def match_demos(lake: Lake, template: Template) -> list[str]:
    """Examples of the store that are among the template's demos, in their order, by digest of the input fields."""
    names = [field.name for field in template.inputs]
    digests = [
        input_digest({name: demo[name] for name in names})
        for demos in template.demos.values()
        for demo in demos
        if all(name in demo for name in names)
    ]
    if not digests:
        return []
    rows = lake.read(
        EXAMPLES, columns=["example_id", "input_digest", "function_name"], where={"input_digest": sorted(set(digests))}
    )
    # The same inputs may be an example of several functions; the template's own comes first.
    own = rows.sort(pl.col("function_name") != template.template, "example_id", nulls_last=True)
    known = dict(own.unique("input_digest", keep="first").select("input_digest", "example_id").iter_rows())
    return list(dict.fromkeys(known[digest] for digest in digests if digest in known))


def _versions(lake: Lake, name: str) -> pl.DataFrame:
    rows = lake.read(TEMPLATES, where={"template_id": derived_id("template", name)}).sort("version_index")
    if rows.is_empty():
        known = lake.read(TEMPLATES, columns=["template"])["template"].unique().to_list()
        if not known:
            raise UserError(
                "There is no template yet. Save one:  benchlake dspy templates save FILE   or the demo:  "
                "benchlake dspy templates demo"
            )
        raise UserError.unknown("template", name, known)
    return rows


def _row(lake: Lake, template: Template, origin: Origin) -> dict[str, Any]:
    plain = template.model_dump(mode="json")
    steps = template.program_steps
    return {
        "template": template.template,
        "template_digest": template.digest,
        "schema_digest": template.schema_digest,
        "description": template.description or None,
        "program_kind": template.program_kind,
        "instructions": steps[-1].instructions,
        "input_fields": canonical_text(plain["inputs"]),
        "output_fields": canonical_text([field.model_dump(mode="json") for field in template.final_outputs]),
        "steps": canonical_text([step.model_dump(mode="json") for step in steps]),
        "example_query": canonical_text(plain["example_query"]) if template.example_query is not None else None,
        "demos": canonical_text(plain["demos"]),
        "demo_example_ids": match_demos(lake, template),
        "model_settings": canonical_text({"model": plain["model"], "neighbour_count": template.neighbour_count}),
        "metric": canonical_text(plain["metric"]),
        "state": origin.state,
        "parent_version_index": origin.parent_version_index,
        "optimization_run_id": origin.optimization_run_id,
        "evaluation_run_id": origin.evaluation_run_id,
        "settled_at": None,
        "settled_reason": None,
    }


def _saved(row: Row, *, is_new: bool) -> SavedTemplate:
    return SavedTemplate(
        template_id=row["template_id"],
        template=row["template"],
        version_index=row["version_index"],
        template_digest=row["template_digest"],
        state=row["state"],
        is_new=is_new,
    )
