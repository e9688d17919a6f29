"""Views: names in SQL for what is asked of a table again and again, computed when asked.

What belongs here: one SELECT over tables of the lake a view. A result that costs more than reading its table is a table
of its own, written by a step.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class View:
    """A name for a SELECT; `tables` are those that it reads."""

    tables: tuple[str, ...]
    description: str
    query: str


VIEWS: dict[str, View] = {
    "silver.databits_current": View(
        tables=("silver.databits",),
        description="The newest version of every DataBit that is not retracted.",
        query=(
            "SELECT * FROM silver.databits QUALIFY row_number() OVER "
            "(PARTITION BY databit_id ORDER BY version DESC) = 1 AND NOT is_deleted"
        ),
    ),
}
