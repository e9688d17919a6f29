"""One asset check per table: the expectation suite compiled from its contract, on new rows."""

from collections.abc import Sequence

import dagster as dg

from assets.presentation import contract_table
from assets.tables import asset_key
from resources.contract_checks import check_contract
from resources.installation import Installation

_SEVERITIES = {"fail": dg.AssetCheckSeverity.ERROR}


def contract_check(table: str, *, after: Sequence[dg.AssetKey] = ()) -> dg.AssetChecksDefinition:
    """The contract check of `table`. The rows of `gold.contract_results` are the record; this shows them.

    `after` are assets that write into the table once more.
    """

    @dg.asset_check(
        asset=asset_key(table),
        name="contract",
        additional_deps=list(after),
        pool="contract_results",
        description=f"New rows of {table} keep its contract. Recorded in gold.contract_results.",
    )
    def check(installation: dg.ResourceParam[Installation]) -> dg.AssetCheckResult:
        outcome = check_contract(installation.lake, table)
        return dg.AssetCheckResult(
            passed=outcome.verdict == "pass",
            severity=_SEVERITIES.get(outcome.verdict, dg.AssetCheckSeverity.WARN),
            description=f"{outcome.verdict}: {outcome.results.height} expectations, {outcome.checked_rows} new rows",
            metadata={
                "new rows": outcome.checked_rows,
                "unexpected rows": int(outcome.results["unexpected_rows"].sum()),
                "expectations": dg.MetadataValue.md(contract_table(outcome.results)),
            },
        )

    return check
