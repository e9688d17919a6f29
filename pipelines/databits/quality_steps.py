"""Score units that are new, by scorers that are new to them.

What belongs here: running scorers over the lake by change feed. What a scorer says is `scorers.py`, `leakage.py`;
duplicates, which need the other units, are `duplicate_steps.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from lake.store import Lake
from lake.tables import contract_of
from pipelines.databits.following import follow
from pipelines.databits.leakage import Question, leakage_scorer
from pipelines.databits.lineage_steps import KEY, read_closure
from pipelines.databits.reading import read_versions
from pipelines.databits.scorers import SCORERS, Scorer
from pipelines.databits.units import DATABITS, readable_text

QUALITY = "gold.quality_scores"
_TYPES = contract_of(QUALITY).dtypes
_COLUMNS = ("databit_id", "version", "content", "attribution", "is_deleted")
SUITE_SOURCE = "suite:"


@dataclass(frozen=True, kw_only=True)
class QualityResult:
    """Rows of gold.quality_scores that were written, by scorer."""

    rows_by_scorer: Mapping[str, int]

    @property
    def row_count(self) -> int:
        """Rows in all."""
        return sum(self.rows_by_scorer.values())


def scorers_of(lake: Lake) -> tuple[Scorer, ...]:
    """Every scorer, that against the questions of the saved suites included."""
    suites = lake.read("silver.suites", columns=["suite", "suite_digest", "version_index", "is_archived"])
    latest = suites.filter(~pl.col("is_archived")).sort("version_index").unique("suite", keep="last")
    prompts = lake.read(
        "silver.prompts",
        columns=["suite", "sample_id", "prompt", "reference"],
        where={"suite_digest": latest["suite_digest"].to_list()},
    )
    questions = [
        Question(f"{suite}/{sample}", prompt, reference)
        for suite, sample, prompt, reference in prompts.drop_nulls("reference").sort(pl.all()).iter_rows()
    ]
    return (*SCORERS, leakage_scorer(questions)) if questions else SCORERS


def score_units(lake: Lake, scorers: Sequence[Scorer] | None = None) -> QualityResult:
    """Score every version that a scorer has not seen yet; a scorer with a new digest sees all of them.

    A retraction has no scores. Killed in between, what is missing is scored the next time.
    """
    written: dict[str, int] = {}
    chosen = scorers_of(lake) if scorers is None else scorers
    for group in _with_one_cursor(lake, chosen):
        for versions in follow(lake, DATABITS, _consumer(group), columns=_COLUMNS):
            rows = score_versions(group, versions, _made_from_suites(lake, versions))
            if rows.height:
                lake.upsert(QUALITY, rows)
            for scorer, count in rows["scorer"].value_counts().iter_rows():
                written[scorer] = written.get(scorer, 0) + count
        newest = lake.version(DATABITS)
        for scorer in group:
            lake.move_cursor(_consumer([scorer]), {DATABITS: min(newest, lake.cursor(_consumer(group), DATABITS))})
    return QualityResult(rows_by_scorer=written)


def _consumer(group: Sequence[Scorer]) -> str:
    """A scorer by its digest, so that another revision of it starts anew; the first stands for a group."""
    return f"databit_quality:{group[0].name}:{group[0].digest[:12]}"


def _with_one_cursor(lake: Lake, scorers: Sequence[Scorer]) -> list[list[Scorer]]:
    """Scorers that have read equally far together, so that each content is read once for all of them."""
    groups: dict[int, list[Scorer]] = {}
    for scorer in scorers:
        groups.setdefault(lake.cursor(_consumer([scorer]), DATABITS), []).append(scorer)
    return list(groups.values())


def score_versions(scorers: Sequence[Scorer], versions: pl.DataFrame, suite_made: pl.Series) -> pl.DataFrame:
    """Rows of gold.quality_scores for rows of silver.databits. Pure.

    `suite_made` says of each version whether it stems from a suite: leakage says nothing of such a unit.
    """
    kept = versions.with_columns(suite_made.alias("__suite_made")).filter(~pl.col("is_deleted"))
    texts = [readable_text(content) for content in kept["content"]]
    frames = [_rows_of(scorer, kept, texts) for scorer in scorers] if kept.height else []
    return pl.concat(frames) if frames else contract_of(QUALITY).empty()


def _rows_of(scorer: Scorer, versions: pl.DataFrame, texts: Sequence[str]) -> pl.DataFrame:
    findings = scorer.score_all(texts)
    rows = versions.select("databit_id", "version", "__suite_made").with_columns(
        scorer=pl.lit(scorer.name),
        scorer_digest=pl.lit(scorer.digest),
        value=pl.Series([finding.value for finding in findings], dtype=pl.Float64),
        detail=pl.Series([finding.detail for finding in findings], dtype=pl.String),
    )
    if scorer.name == "leakage_ratio":
        applies = pl.when(~pl.col("__suite_made"))
        rows = rows.with_columns(applies.then("value").alias("value"), applies.then("detail").alias("detail"))
    return rows.select(list(_TYPES))


def _made_from_suites(lake: Lake, versions: pl.DataFrame) -> pl.Series:
    """Of each version whether it, or an ancestor of it, was taken from a suite."""
    own = _is_from_suite(versions)
    closure = read_closure(lake, versions.select(KEY), of="descendant")
    ancestors = read_versions(
        lake, closure["ancestor_id"].unique().to_list(), columns=["databit_id", "version", "attribution"]
    )
    suites = ancestors.filter(_is_from_suite(ancestors))
    heirs = closure.join(suites, left_on=["ancestor_id", "ancestor_version"], right_on=list(KEY), how="semi").select(
        databit_id="descendant_id", version="descendant_version"
    )
    inherited = (
        versions.select(KEY)
        .join(heirs.unique().with_columns(is_heir=pl.lit(value=True)), on=KEY, how="left", maintain_order="left")[
            "is_heir"
        ]
        .fill_null(value=False)
    )
    return own | inherited


def _is_from_suite(versions: pl.DataFrame) -> pl.Series:
    source = pl.col("attribution").struct.field("source")
    return versions.select(source.str.starts_with(SUITE_SOURCE).fill_null(value=False))["source"]
