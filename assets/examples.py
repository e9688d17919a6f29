"""Assets of the examples room: examples, their uses, what they are worth; jobs for files, candidates and rebuilding."""

import datetime as dt
import os
from pathlib import Path
from typing import Literal

import dagster as dg
import polars as pl
from pydantic import Field

from assets.embeddings import RECOMPUTE_TAG, VECTOR_SEARCH
from assets.presentation import markdown_table
from assets.rooms import Room
from assets.tables import asset_key, table_metadata, table_spec
from pipelines.drawing import as_markdown_image
from pipelines.embeddings.text_steps import collect_texts
from pipelines.evidence.render import escape_markdown
from pipelines.examples.charts import effects_chart
from pipelines.examples.checks import count_unindexed, find_duplicates
from pipelines.examples.effect_steps import list_effects, update_effects
from pipelines.examples.extraction import extract_examples
from pipelines.examples.following import Mode, follow_feed
from pipelines.examples.importing import import_examples
from pipelines.examples.licensing import read_licenses
from pipelines.examples.records import FieldMapping
from pipelines.examples.store import ExampleStore
from pipelines.examples.suite_examples import update_suite_examples
from resources.author import read_author
from resources.example_probes import run_probes
from resources.example_search import open_example_search
from resources.installation import Installation
from resources.optimization import ensure_template_examples

EXAMPLES, USAGES, EFFECTS = "silver.examples", "silver.example_usages", "gold.example_effects"
TABLES = (EXAMPLES, USAGES, EFFECTS)
POOL = "examples"
_SHOWN = 10


def _mode(context: dg.AssetExecutionContext) -> Mode:
    """Only what changed, unless the run carries the tag `benchlake/recompute: all`."""
    return "all" if context.run.tags.get(RECOMPUTE_TAG) == "all" else "changed"


@dg.multi_asset(
    name="kept_examples", specs=[table_spec(EXAMPLES, deps=["silver.databits"], skippable=False)], pool=POOL
)
def kept_examples(
    context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
) -> dg.MaterializeResult[None]:
    """Make examples of the suites' references and of the shipped template, and bring each up to its data unit."""
    lake, now = installation.lake, dt.datetime.now(dt.UTC)
    made = update_suite_examples(lake, now=now)
    # A rebuild changes what follows from what is there, and adds nothing.
    shipped = ensure_template_examples(installation, now=now) if _mode(context) == "changed" else 0
    followed = follow_feed(lake, mode=_mode(context))
    return dg.MaterializeResult(
        asset_key=asset_key(EXAMPLES),
        metadata={
            **table_metadata(lake, [EXAMPLES])[EXAMPLES],
            "new from suites": made.created_count,
            "changed in suites": made.revised_count,
            "new from the shipped template": shipped,
            "brought up to their units": followed,
        },
    )


@dg.multi_asset(
    name="probed_examples",
    specs=[table_spec(USAGES, deps=[EXAMPLES, "silver.outputs", VECTOR_SEARCH])],
    pool="inference",
)
def probed_examples(
    context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
) -> dg.MaterializeResult[None]:
    """Ask a few samples of the suite again with one example each; optimisers and programs record their uses too."""
    result = run_probes(installation, now=dt.datetime.now(dt.UTC), on_message=context.log.info)
    facts: dict[str, float | int] = {}
    if result is not None:
        facts = {"probes": result.asked_count, "scored": result.scored_count}
        if result.mean_outcome_score is not None and result.mean_baseline_score is not None:
            facts |= {"mean score with": result.mean_outcome_score, "mean score without": result.mean_baseline_score}
    return dg.MaterializeResult(
        asset_key=asset_key(USAGES), metadata={**table_metadata(installation.lake, [USAGES])[USAGES], **facts}
    )


@dg.multi_asset(name="example_effects", specs=[table_spec(EFFECTS, deps=[USAGES, "gold.dspy_runs"])], pool=POOL)
def example_effects(
    context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
) -> dg.MaterializeResult[None]:
    """Estimate what new uses say of their examples; docs/examples.md states the estimator."""
    lake = installation.lake
    result = update_effects(lake, now=dt.datetime.now(dt.UTC), is_full=_mode(context) == "all")
    # The estimates beside the examples are no text, but who follows the examples' feed should have seen them tonight.
    collect_texts(lake)
    effects = list_effects(lake)
    kinds = dict(effects["effect_kind"].value_counts().iter_rows())
    metadata: dict[str, dg.MetadataValue | int | float | str] = {
        **table_metadata(lake, [EFFECTS])[EFFECTS],
        "new uses": result.use_count,
        "estimates changed": result.changed_count,
        "prior scale": result.prior_scale,
        **{kind.replace("_", " "): kinds.get(kind, 0) for kind in ("helps", "harms", "unclear", "too_few_uses")},
    }
    if effects["effectiveness_score"].is_not_null().any():
        picture = effects_chart(effects, title="What examples are worth")
        metadata["EffectivenessChart"] = dg.MetadataValue.md(as_markdown_image(picture, alt="effects of examples"))
    return dg.MaterializeResult(asset_key=asset_key(EFFECTS), metadata=metadata)


@dg.asset_check(
    asset=asset_key(EXAMPLES),
    name="index_lag",
    additional_deps=[VECTOR_SEARCH],
    description="Every example can be found by meaning and by words: none is missing from the indexes.",
)
def index_lag(installation: dg.ResourceParam[Installation]) -> dg.AssetCheckResult:
    """How many examples the vector index and the keyword index do not have."""
    search = open_example_search(installation)
    lag = count_unindexed(search.store, installation.embeddings.index(), search.keywords())
    return dg.AssetCheckResult(
        passed=lag.vector_count == 0 and lag.keyword_count == 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "missing from the vector index": lag.vector_count,
            "missing from the keyword index": lag.keyword_count,
        },
    )


@dg.asset_check(
    asset=asset_key(EXAMPLES), name="duplicates", description="No two examples for one function have the same inputs."
)
def duplicates(installation: dg.ResourceParam[Installation]) -> dg.AssetCheckResult:
    """Examples that ask the same as an earlier one."""
    found = find_duplicates(ExampleStore(installation.lake).catalogue())
    rows = found.head(_SHOWN).iter_rows(named=True)
    return dg.AssetCheckResult(
        passed=found.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "duplicates": found.height,
            "the first of them": dg.MetadataValue.md(
                markdown_table(
                    ["example", "asks the same as", "function"],
                    (
                        [row["example_id"], row["canonical_id"], escape_markdown(row["function_name"] or "")]
                        for row in rows
                    ),
                )
            ),
        },
    )


@dg.asset_check(
    asset=asset_key(EXAMPLES),
    name="licence",
    description="No example inherits licences that do not go together; unknown ones are counted.",
)
def licence(installation: dg.ResourceParam[Installation]) -> dg.AssetCheckResult:
    """Under which licences the examples are, their ancestors' included."""
    rows = ExampleStore(installation.lake).all()
    judged = read_licenses(installation.lake, rows)
    counts = dict(judged["status"].value_counts().iter_rows())
    barred = judged.filter(pl.col("status") == "incompatible").head(_SHOWN)
    return dg.AssetCheckResult(
        passed=counts.get("incompatible", 0) == 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            **{
                f"{status} licences": counts.get(status, 0)
                for status in ("clear", "unknown", "unrecognised", "incompatible")
            },
            "incompatible": dg.MetadataValue.md(
                markdown_table(
                    ["example", "why"],
                    (
                        [row["example_id"], escape_markdown(" ".join(row["findings"] or []))]
                        for row in barred.iter_rows(named=True)
                    ),
                )
            ),
        },
    )


class ImportExamples(dg.Config):
    """What the job import_examples brings in, as the launchpad shows it."""

    files: list[str] = Field(description="JSONL, CSV, TSV or Parquet files of examples.")
    inputs: list[str] = Field(default=[], description="Fields that are inputs; found by their names if empty.")
    outputs: list[str] = Field(default=[], description="Fields that are expected; found by their names if empty.")
    function_name: str = Field(default="", description="Program, prompt or task that the examples are for.")
    license: str = Field(default="", description="Licence of records that state none, as an SPDX expression.")
    tags: list[str] = Field(default=[], description="Labels that every example gets.")


@dg.op(pool=POOL, description="Bring files of examples into the store; what is no example is in bronze.rejects.")
def import_example_files(
    context: dg.OpExecutionContext, config: ImportExamples, installation: dg.ResourceParam[Installation]
) -> None:
    """Import, and tell Dagster that the table was written."""
    labels = {"function_name": config.function_name, "license": config.license}
    result = import_examples(
        installation.lake,
        [Path(file) for file in config.files],
        mapping=FieldMapping(
            inputs=config.inputs or None,
            expected_output=config.outputs or None,
            labels={name: value for name, value in labels.items() if value},
            tags=config.tags,
        ),
        now=dt.datetime.now(dt.UTC),
        author=read_author(installation.folder, os.environ),
    )
    context.log_event(dg.AssetMaterialization(asset_key(EXAMPLES), metadata=dict(vars(result))))


class ExtractExamples(dg.Config):
    """From which run the job extract_examples takes candidates."""

    run_id: str = Field(description="Run in silver.runs.")
    kind: Literal["best", "corrected", "both"] = Field(default="both", description="Which outputs are candidates.")


@dg.op(pool="curation", description="Put a run's best and corrected outputs into the curation queue.")
def extract_candidates(
    context: dg.OpExecutionContext, config: ExtractExamples, installation: dg.ResourceParam[Installation]
) -> None:
    """Enqueue, and log what became of the run's outputs."""
    result = extract_examples(installation.lake, config.run_id, kind=config.kind, now=dt.datetime.now(dt.UTC))
    context.log.info("%s of %s outputs are new in the curation queue.", result.enqueued_count, result.output_count)


@dg.job(name="import_examples", description="Import files of examples; name them in the launchpad.")
def import_examples_job() -> None:
    """One op."""
    import_example_files()


@dg.job(name="extract_examples", description="Candidates for examples from a run; name it in the launchpad.")
def extract_examples_job() -> None:
    """One op."""
    extract_candidates()


REBUILD_EXAMPLES = dg.define_asset_job(
    "rebuild_examples",
    selection=dg.AssetSelection.assets(asset_key(EXAMPLES), asset_key(EFFECTS)),
    tags={RECOMPUTE_TAG: "all"},
    description="Bring every example up to its data unit again, and estimate every effect from all uses.",
)

ROOM = Room(
    assets=(kept_examples, probed_examples, example_effects),
    tables=TABLES,
    written_later={EXAMPLES: [asset_key(EFFECTS)]},
    checks=(index_lag, duplicates, licence),
    jobs=(import_examples_job, extract_examples_job, REBUILD_EXAMPLES),
    night=tuple(map(asset_key, TABLES)),
)
