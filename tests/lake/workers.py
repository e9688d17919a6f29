"""What other processes do to a lake while a test watches; module-level functions, so that a pool can be sent them."""

from __future__ import annotations

import sys

from lake.errors import LeaseHeldError
from lake.store import Lake
from tests.lake.rows import METRICS, OUTPUTS, metrics, outputs


def append_tokens(lake: Lake, tokens: list[str], rows: int) -> int:
    """Append `rows` outputs under each token; gives how many rows this process wrote."""
    return sum(lake.append(OUTPUTS, outputs(token, range(rows)), token=token).rows_written for token in tokens)


def append_and_tell(uri: str, first: int, last: int) -> None:
    """Append one batch after another and print each token when it is down, until killed."""
    lake = Lake.open(uri)
    for number in range(first, last):
        token = f"token-{number}"
        lake.append(OUTPUTS, outputs(token, range(3)), token=token)
        sys.stdout.write(f"{token}\n")
        sys.stdout.flush()


def upsert_rounds(lake: Lake, writer: int, rounds: int, keys: int) -> int:
    """Upsert overlapping keys again and again; values tell the writer and the round."""
    for number in range(rounds):
        lake.upsert(METRICS, metrics({f"run-{key}": writer * 1_000 + number for key in range(keys)}))
    return rounds


def insert_own(lake: Lake, writer: int, rounds: int) -> int:
    """Insert a new key in every round."""
    return sum(
        lake.upsert(METRICS, metrics({f"run-{writer}-{number}": number})).rows_written for number in range(rounds)
    )


def replace_rounds(lake: Lake, run_id: str, rounds: int) -> int:
    """Make the slice of one run hold fewer and fewer rows."""
    for number in range(rounds):
        rows = outputs(run_id, range(rounds - number), output=f"round {number}")
        lake.replace(OUTPUTS, rows, where={"run_id": run_id})
    return rounds


def maintain_once(lake: Lake, table: str) -> str:
    """Compact; `done`, or `held` when another process is at it."""
    try:
        lake.maintain(table, retention_hours=0)
    except LeaseHeldError:
        return "held"
    return "done"


def insert_contested(lake: Lake, writer: int, keys: int) -> list[str]:
    """Insert the same keys as every other writer, one at a time; gives those that this process got."""
    names = [f"run-{key}" for key in range(keys)]
    return [name for name in names if lake.insert(METRICS, metrics({name: writer})).rows_written]
