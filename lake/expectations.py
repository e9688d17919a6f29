"""A contract as a list of expectations, in the vocabulary of Great Expectations.

Pure and free of that library, which takes seconds to import; `resources/contract_checks.py` runs the list.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import dataframely as dy

from lake.contracts import TableContract

Parameter = str | float | list[str]


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One expectation: its type as Great Expectations names it, the column (empty for several), its parameters."""

    type: str
    column: str = ""
    parameters: dict[str, Parameter] = field(default_factory=dict)


def expectations_of(contract: TableContract) -> tuple[Expectation, ...]:
    """Everything that the contract promises of its rows, column by column, then the key."""
    found: list[Expectation] = []
    for name, column in contract.schema.columns().items():
        found.extend(_column_expectations(name, column))
    if len(contract.key) == 1:
        found.append(Expectation(type="expect_column_values_to_be_unique", column=contract.key[0]))
    elif contract.key:
        found.append(
            Expectation(type="expect_compound_columns_to_be_unique", parameters={"column_list": list(contract.key)})
        )
    return tuple(found)


def _column_expectations(name: str, column: dy.Column) -> list[Expectation]:
    found = []
    if not column.nullable:
        found.append(Expectation(type="expect_column_values_to_not_be_null", column=name))
    vocabulary = (column.metadata or {}).get("vocabulary")
    if vocabulary:
        found.append(
            Expectation(type="expect_column_values_to_be_in_set", column=name, parameters={"value_set": vocabulary})
        )
    elif isinstance(column, dy.String) and column.regex is not None:
        found.append(
            Expectation(type="expect_column_values_to_match_regex", column=name, parameters={"regex": column.regex})
        )
    bounds = {
        bound: float(value)
        for bound, value in (("min_value", getattr(column, "min", None)), ("max_value", getattr(column, "max", None)))
        if isinstance(value, int | float)
    }
    if bounds:
        found.append(Expectation(type="expect_column_values_to_be_between", column=name, parameters={**bounds}))
    return found
