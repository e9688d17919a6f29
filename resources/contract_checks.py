"""Run the expectation suite of a contract over the rows that are new since the last check.

Great Expectations evaluates, the rows of `gold.contract_results` are the record, and the cost follows the change feed:
where nothing is new the library is not even imported.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import polars as pl

from lake.expectations import Expectation, expectations_of
from lake.store import Lake
from lake.tables import contract_of

if TYPE_CHECKING:
    import pandas as pd

RESULTS = "gold.contract_results"
CONSUMER = "contract_check"


@dataclass(frozen=True, kw_only=True)
class ContractCheck:
    """The newest results for a table: rows of `gold.contract_results`, empty while the table has no rows."""

    table: str
    checked_rows: int
    results: pl.DataFrame

    @property
    def verdict(self) -> str:
        """`fail` if any expectation failed, `inconclusive` when nothing was ever checked, else `pass`."""
        if self.results.is_empty():
            return "inconclusive"
        return "fail" if (self.results["verdict"] == "fail").any() else "pass"


def check_contract(lake: Lake, table: str) -> ContractCheck:
    """Check the new rows of `table`, record the results, and give the newest ones."""
    version = lake.version(table)
    since = lake.cursor(CONSUMER, table)
    rows = _new_rows(lake, table, since=since, until=version)
    if not rows.is_empty():
        lake.upsert(RESULTS, _evaluate(table, version, rows))
    if version > since:
        lake.move_cursor(CONSUMER, {table: version})
    return ContractCheck(table=table, checked_rows=rows.height, results=_newest_results(lake, table))


def _new_rows(lake: Lake, table: str, *, since: int, until: int) -> pl.DataFrame:
    """Rows as they stand after the last commit that touched their key; two of one key in one commit are kept."""
    feed = lake.changes(table, since, until=until)
    last = pl.col("_commit_version").max().over(contract_of(table).key)
    return feed.filter(pl.col("_commit_version") == last, pl.col("_change_type").is_in(["insert", "update_postimage"]))


def _newest_results(lake: Lake, table: str) -> pl.DataFrame:
    results = lake.read(RESULTS, where={"table": table})
    return results.filter(pl.col("version") == pl.col("version").max()).sort("column", "expectation")


def _evaluate(table: str, version: int, rows: pl.DataFrame) -> pl.DataFrame:
    expectations = expectations_of(contract_of(table))
    outcomes = _run_suite(table, expectations, _as_pandas(rows, expectations))
    return pl.DataFrame(
        [
            {
                "table": table,
                "version": version,
                "expectation": expectation.type,
                "column": expectation.column,
                "verdict": "pass" if unexpected == 0 else "fail",
                "checked_rows": rows.height,
                "unexpected_rows": unexpected,
                "detail": orjson.dumps({**expectation.parameters, "unexpected": examples}, default=str).decode(),
            }
            for expectation, (unexpected, examples) in zip(expectations, outcomes, strict=True)
        ],
        schema=contract_of(RESULTS).dtypes,
    )


def _as_pandas(rows: pl.DataFrame, expectations: tuple[Expectation, ...]) -> pd.DataFrame:
    """Only the columns that something is expected of; of a nested value only whether it is there."""
    names: list[str] = []
    for expectation in expectations:
        listed = expectation.parameters.get("column_list")
        names.extend(listed if isinstance(listed, list) else [expectation.column])
    return rows.select(_flat(rows, name) for name in dict.fromkeys(names)).to_pandas()


def _flat(rows: pl.DataFrame, name: str) -> pl.Expr:
    dtype = rows.schema[name]
    if dtype.is_nested() or dtype == pl.Binary:
        return pl.when(pl.col(name).is_not_null()).then(pl.lit("present")).alias(name)
    return pl.col(name)


def _run_suite(
    table: str, expectations: tuple[Expectation, ...], frame: pd.DataFrame
) -> list[tuple[int, list[object]]]:
    """Per expectation how many rows broke it, and a few of their values."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with warnings.catch_warnings():
        # Great Expectations still imports modules that Python has deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        asset = context.data_sources.add_pandas("lake").add_dataframe_asset(table)
        batch = asset.add_batch_definition_whole_dataframe("new rows").get_batch(batch_parameters={"dataframe": frame})
        suite = gx.ExpectationSuite(name=table, expectations=[_configured(expectation) for expectation in expectations])
        results = {_place(result.expectation_config): result for result in batch.validate(suite).results}
    return [
        _outcome(results[expectation.type, expectation.column], row_count=len(frame)) for expectation in expectations
    ]


def _configured(expectation: Expectation) -> Any:  # noqa: ANN401  # the library's own class, which is loaded lazily
    from great_expectations.expectations.registry import get_expectation_impl

    settings: dict[str, Any] = dict(expectation.parameters)
    if expectation.column:
        settings["column"] = expectation.column
    return get_expectation_impl(expectation.type)(**settings)


def _place(config: Any) -> tuple[str, str]:  # noqa: ANN401  # as above
    """What tells two expectations of a contract apart; a suite gives its results in an order of its own."""
    return config.type, config.kwargs.get("column", "")


def _outcome(result: Any, *, row_count: int) -> tuple[int, list[object]]:  # noqa: ANN401  # as above
    unexpected = int(result.result.get("unexpected_count", 0))
    if not result.success and not unexpected:
        # It could not be evaluated at all, which is no pass for any row.
        unexpected = row_count
    return unexpected, list(result.result.get("partial_unexpected_list", []))[:5]
