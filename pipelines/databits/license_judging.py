"""The licence of many versions at once: rows in, rows of gold.databit_licenses out. Pure.

What belongs here: bringing together what each version and its ancestors state. The judgement of one set of licences
is `licenses.py`; there are few different sets, so each is judged once.
"""

from __future__ import annotations

import polars as pl

from lake.tables import contract_of
from pipelines.databits.license_rules import RULES_DIGEST
from pipelines.databits.licenses import judge, strictness_of_expression

_SCHEMA = contract_of("gold.databit_licenses").dtypes
_KEY = ["databit_id", "version"]


def judge_versions(versions: pl.DataFrame, known: pl.DataFrame, closure: pl.DataFrame) -> pl.DataFrame:
    """Rows of gold.databit_licenses for `versions` (databit_id, version, content_digest, attribution).

    `known` are all versions of the ancestors' units and of their own, `closure` the rows of gold.lineage_closure of
    `versions`. What a version states is what the newest version of its unit with the same content states.
    """
    stated = stated_licenses(known)
    own = versions.select(_KEY).join(stated.select(*_KEY, "license"), on=_KEY, how="left")
    inherited = closure.join(
        stated, left_on=["ancestor_id", "ancestor_version"], right_on=_KEY, how="left", maintain_order="left"
    ).filter(pl.col("license").is_not_null() | ~pl.col("is_derived").fill_null(value=False))
    by_version = inherited.group_by(databit_id="descendant_id", version="descendant_version").agg(
        pl.col("license").unique().sort().alias("inherited")
    )
    none = pl.lit([], dtype=pl.List(pl.String))
    sets = own.join(by_version, on=_KEY, how="left").with_columns(pl.col("inherited").fill_null(none))
    judged = sets.join(_judgements(sets), on=["license", "inherited"], how="left", nulls_equal=True)
    return (
        judged.join(_strictest_ancestors(inherited), on=_KEY, how="left")
        .with_columns(
            declared_license="license",
            rules_digest=pl.lit(RULES_DIGEST),
            inherited_from=pl.when(pl.col("ancestor_rank") > pl.col("own_rank")).then("ancestor"),
        )
        .select(list(_SCHEMA))
    )


def stated_licenses(versions: pl.DataFrame) -> pl.DataFrame:
    """What each version states, or a later version of the same content puts right: databit_id, version, license.

    `is_derived` says whether it was made from others: then stating nothing leaves open what they state.
    """
    attribution = pl.col("attribution").struct
    stated = versions.select(
        *_KEY,
        "content_digest",
        license=attribution.field("license"),
        is_derived=attribution.field("derived_from").list.len() > 0,
    ).sort(_KEY)
    return stated.select(*_KEY, pl.col("license").last().over("databit_id", "content_digest"), "is_derived")


def _judgements(sets: pl.DataFrame) -> pl.DataFrame:
    distinct = sets.select("license", "inherited").unique()
    rows = []
    for own, inherited in distinct.iter_rows():
        judgement = judge(own, inherited)
        rows.append(
            {
                "license": own,
                "inherited": inherited,
                "effective_license": judgement.effective,
                "status": judgement.status,
                "findings": list(judgement.findings),
                "own_rank": strictness_of_expression(own),
            }
        )
    texts = pl.List(pl.String)
    schema: dict[str, pl.DataType] = {
        "license": pl.String(),
        "inherited": texts,
        "effective_license": pl.String(),
        "status": pl.String(),
        "findings": texts,
        "own_rank": pl.Int64(),
    }
    return pl.DataFrame(rows, schema=schema)


def _strictest_ancestors(inherited: pl.DataFrame) -> pl.DataFrame:
    """Of each descendant the nearest of its ancestors with the strictest licence, with its rank."""
    expressions = inherited["license"].unique().to_list()
    ranks = pl.DataFrame(
        {"license": expressions, "ancestor_rank": [strictness_of_expression(text) for text in expressions]},
        schema={"license": pl.String, "ancestor_rank": pl.Int64},
    )
    ranked = inherited.join(ranks, on="license", how="left", nulls_equal=True)
    first = ranked.sort(["ancestor_rank", "depth", "ancestor_id"], descending=[True, False, False]).unique(
        ["descendant_id", "descendant_version"], keep="first", maintain_order=True
    )
    return first.select(
        databit_id="descendant_id",
        version="descendant_version",
        ancestor=pl.format("{}@{}", "ancestor_id", "ancestor_version"),
        ancestor_rank="ancestor_rank",
    )
