"""Tables by which the lake keeps house: rejects, cursors, pins, leases, contract checks."""

from __future__ import annotations

import dataframely as dy

from lake.contracts import TableContract, count, timestamp, vocabulary


class Rejects(dy.Schema):
    """What did not fit, with enough to find and mend it."""

    reject_id = dy.String(primary_key=True, description="Digest of file, place, rule, message and raw value.")
    table = dy.String(description="Table the row was meant for, or the import step that refused it.")
    source_uri = dy.String(description="File or source the row came from; empty for computed rows.")
    source_sha256 = dy.String(nullable=True, description="SHA-256 of that file.")
    record_index = count("Line or record number in the file, from 0; null when the whole file was refused.")
    rule = dy.String(description="Name of the rule that was broken.")
    message = dy.String(description="What was wrong and what to do.")
    raw = dy.String(nullable=True, description="The value as received, cut at 4,096 characters.")


class Cursors(dy.Schema):
    """How far each consumer has read each table's change feed."""

    consumer = dy.String(primary_key=True, description="Name of the step that reads the feed.")
    table = dy.String(primary_key=True, description="Table that is read.")
    version = dy.Int64(min=-1, description="Last Delta version whose changes were consumed; -1 for none.")


class Pins(dy.Schema):
    """Versions that maintenance must keep readable."""

    holder = dy.String(primary_key=True, description="What needs the version, as kind:id.")
    table = dy.String(primary_key=True, description="Table that is pinned.")
    version = dy.Int64(primary_key=True, min=0, description="Delta version that must stay readable.")
    reason = dy.String(description="Why, for whoever wants to release it.")
    pinned_at = timestamp("When it was pinned.", nullable=False)


class Leases(dy.Schema):
    """Who may do a thing that only one may do at a time."""

    resource = dy.String(primary_key=True, description="What is held, as kind:name.")
    holder = dy.String(description="Random id of the holder; empty when free.")
    expires_at = timestamp("The holder is taken for dead after this instant.", nullable=False)


class ContractResults(dy.Schema):
    """What the expectation suite of a contract found in new rows."""

    table = dy.String(primary_key=True, description="Table that was checked.")
    version = dy.Int64(primary_key=True, min=0, description="Delta version up to which rows were checked.")
    expectation = dy.String(primary_key=True, description="Expectation type, as Great Expectations names it.")
    column = dy.String(primary_key=True, description="Column it is about; empty for the whole table.")
    verdict = vocabulary("pass", "fail", "inconclusive", description="Whether new rows met the expectation.")
    checked_rows = count("Rows that were new since the last check.", nullable=False)
    unexpected_rows = count("Rows that did not meet it.", nullable=False)
    detail = dy.String(nullable=True, description="Expectation parameters and unexpected values, as JSON text.")


TABLES = (
    TableContract(
        name="rejects",
        layer="bronze",
        grain="One row per refused record or file, with the reason.",
        schema=Rejects,
        sort_by=("source_sha256", "record_index"),
    ),
    TableContract(
        name="cursors",
        layer="silver",
        grain="One row per consumer and table whose change feed it reads.",
        schema=Cursors,
    ),
    TableContract(
        name="pins",
        layer="silver",
        grain="One row per holder and table version that must stay readable.",
        schema=Pins,
    ),
    TableContract(
        name="leases",
        layer="silver",
        grain="One row per resource that one process may hold at a time.",
        schema=Leases,
    ),
    TableContract(
        name="contract_results",
        layer="gold",
        grain="One row per table, checked version, expectation and column.",
        schema=ContractResults,
        sort_by=("table", "version"),
    ),
)
