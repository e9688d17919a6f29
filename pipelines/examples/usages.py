"""Record that examples were used: one row of `silver.example_usages` for each example in each call.

Whoever asks a model with examples (an optimiser, a training run, a prompt, an evaluation) calls `record_usages`
afterwards. What the uses say about an example's worth is `pipelines/examples/effectiveness.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import polars as pl

from lake.errors import UserError
from lake.identity import derived_id
from lake.store import Lake, WriteResult
from lake.tables import contract_of

USAGES = "silver.example_usages"
EXAMPLES = "silver.examples"
# Up to here ids are looked up one by one, above it is cheaper to read the column.
_FEW = 500

ConsumerKind = Literal["optimization_run", "training_run", "prompt", "evaluation"]
CONSUMER_KINDS: tuple[str, ...] = get_args(ConsumerKind)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """One example in one call.

    `call_id` names the request, so that all its examples are known to share one outcome; by default the requests of a
    consumer are told apart by sample and time. `stratum` names what calls have in common whose outcomes may be
    compared, by default consumer and sample: give suite, sample, model and settings where the same sample is asked by
    several runs. `outcome_score` says how good the answer was (higher is better, the same scale throughout a stratum),
    `baseline_score` what the same call scored without this example.
    """

    example_id: str
    consumer_kind: ConsumerKind
    consumer_id: str
    used_at: dt.datetime
    sample_id: str | None = None
    position: int = 0
    outcome_score: float | None = None
    baseline_score: float | None = None
    call_id: str | None = None
    stratum: str | None = None
    databit_version: int | None = None


def record_usages(lake: Lake, usages: Iterable[Usage]) -> WriteResult:
    """Write uses; one that stands already is written again only if its scores changed.

    Raises `UserError`, and writes nothing, when an example does not exist or a consumer kind is unknown.
    """
    listed = list(usages)
    versions = _shown_versions(lake, listed)
    rows = pl.DataFrame([_row(usage, versions) for usage in listed], schema=contract_of(USAGES).dtypes)
    return lake.upsert(USAGES, rows.unique("usage_id", keep="last", maintain_order=True))


def read_usages(
    lake: Lake, *, example_ids: Sequence[str] | None = None, consumer_id: str | None = None, limit: int | None = None
) -> pl.DataFrame:
    """Uses, newest first, of some examples or of one consumer."""
    where = {
        **({"example_id": list(example_ids)} if example_ids is not None else {}),
        **({"consumer_id": consumer_id} if consumer_id is not None else {}),
    }
    rows = lake.read(USAGES, where=where or None)
    rows = rows.sort(["used_at", "call_id", "position"], descending=[True, False, False])
    return rows if limit is None else rows.head(limit)


def _row(usage: Usage, versions: Mapping[str, int]) -> dict[str, object]:
    sample = usage.sample_id or ""
    call_id = usage.call_id or derived_id(
        "example_call", usage.consumer_kind, usage.consumer_id, sample, usage.used_at.astimezone(dt.UTC).isoformat()
    )
    return {
        "usage_id": derived_id("example_usage", usage.example_id, call_id, usage.position),
        "example_id": usage.example_id,
        "databit_version": usage.databit_version or versions[usage.example_id],
        "consumer_kind": usage.consumer_kind,
        "consumer_id": usage.consumer_id,
        "sample_id": usage.sample_id,
        "call_id": call_id,
        "stratum": usage.stratum or derived_id("example_stratum", usage.consumer_kind, usage.consumer_id, sample),
        "position": usage.position,
        "outcome_score": usage.outcome_score,
        "baseline_score": usage.baseline_score,
        "used_at": usage.used_at,
    }


def _shown_versions(lake: Lake, usages: Sequence[Usage]) -> dict[str, int]:
    """The newest version of each used example; raises `UserError` for an unknown one, or an unknown consumer kind."""
    for kind in sorted({usage.consumer_kind for usage in usages} - set(CONSUMER_KINDS)):
        raise UserError.unknown("consumer kind", kind, CONSUMER_KINDS)
    wanted = sorted({usage.example_id for usage in usages})
    where = {"example_id": wanted} if len(wanted) <= _FEW else None
    known = dict(lake.read(EXAMPLES, columns=["example_id", "databit_version"], where=where).iter_rows())
    missing = [example_id for example_id in wanted if example_id not in known]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(wanted)} used examples are not in {EXAMPLES}, for instance {missing[0]!r}. "
            "Create the examples first; nothing was recorded."
        )
    return known
