"""Which search keys units have, told to whoever asked for one that none has.

What belongs here: counting keys. Units by their keys are `listing.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import polars as pl

from lake.store import Lake
from pipelines.databits.reading import read_current

# Keys that are named in a message.
_SHOWN_KEYS = 10


def count_keys(lake: Lake) -> pl.DataFrame:
    """Each key and its count over the newest versions of units that are not retracted, the commonest first."""
    keys = read_current(lake, columns=["databit_id", "version", "search_keys"])["search_keys"]
    exploded = keys.explode(empty_as_null=True).drop_nulls().alias("key")
    return exploded.value_counts().sort(["count", "key"], descending=[True, False])


def tell_no_key(lake: Lake, wanted: Sequence[str]) -> str:
    """Sentences for people: how many units have each wanted key, and which keys there are instead."""
    counts = dict(count_keys(lake).iter_rows())
    told = ", ".join(f"{key} ({counts.get(key, 0)} alone)" if len(wanted) > 1 else key for key in wanted)
    near = [match for key in wanted if key not in counts for match in get_close_matches(key, counts, n=3)]
    others = list(dict.fromkeys([*near, *counts]))
    more = f", and {len(others) - _SHOWN_KEYS} more" if len(others) > _SHOWN_KEYS else ""
    known = f"Keys there are: {', '.join(others[:_SHOWN_KEYS])}{more}." if others else "No unit has a search key."
    return f"No DataBit has the search key{'' if len(wanted) == 1 else 's'} {told}. {known}"
