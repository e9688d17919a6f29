"""The curation queue: what people should look at, who works on it, and what they decided.

What belongs here: putting items in, claiming them and deciding, each safe against two people and a kill. What puts
units into the queue by itself is `curation_rules.py`, the language model's opinion `assistant.py`, how well it agrees
with people `agreement.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from lake.errors import UserError
from lake.identity import derived_id
from lake.store import Lake
from lake.tables import contract_of
from pipelines.databits.reading import read_versions
from pipelines.databits.revising import (
    UNCHANGED,
    Changes,
    Hand,
    create_databit,
    retract_databit,
    revise_databit,
)
from pipelines.databits.units import Content, DatabitKey, Draft, canonical_text, parse_content

ITEMS = "silver.curation_items"
SubjectKind = Literal["databit", "example", "output"]
Decision = Literal["accept", "edit", "reject"]
DECIDED: Mapping[Decision, str] = {"accept": "accepted", "edit": "edited", "reject": "rejected"}
# Long enough to read and edit an item, short enough that what somebody forgot comes back the same day.
CLAIM_LENGTH = dt.timedelta(minutes=30)
MIN_ID_CHARACTERS = 4
_TYPES = contract_of(ITEMS).dtypes
_HIGHEST = "\U0010ffff"

Item = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class CurationDraft:
    """Something to be looked at: of which subject, by which rule, and why.

    `proposed_content` is any JSON value that it would become if accepted; without it the subject is fine as it is or
    not at all. A decision writes to the DataBit `target_id`: the subject itself where that is one, else a unit that
    may not stand yet, made from `derived_from` under `license`.
    """

    subject_kind: SubjectKind
    subject_id: str
    rule: str
    reason: str
    subject_version: int | None = None
    proposed_content: Content = UNCHANGED
    target_id: str | None = None
    license: str | None = None
    derived_from: Sequence[DatabitKey] = ()
    search_keys: Sequence[str] = ()
    priority: float = 0.0

    @property
    def item_id(self) -> str:
        """Of subject, version and rule, so that the same finding is one item."""
        return derived_id("curation_item", self.subject_kind, self.subject_id, self.subject_version, self.rule)


@dataclass(frozen=True, kw_only=True)
class DecisionResult:
    """What a decision did: the item's new state, and the version that it wrote, if any."""

    item_id: str
    state: str
    databit: DatabitKey | None


def enqueue_items(lake: Lake, items: Iterable[CurationDraft], *, now: dt.datetime) -> int:
    """Put items into the queue; how many were new. One that was put there before stays as it is, decided or not."""
    rows = pl.DataFrame([_item_row(item, now) for item in items], schema=_TYPES).unique("item_id", maintain_order=True)
    return lake.insert(ITEMS, rows).rows_written if rows.height else 0


def _item_row(item: CurationDraft, now: dt.datetime) -> Item:
    is_databit = item.subject_kind == "databit"
    own_id = item.subject_id if is_databit else derived_id("databit", "curation", item.item_id)
    return {
        "item_id": item.item_id,
        "subject_kind": item.subject_kind,
        "subject_id": item.subject_id,
        "subject_version": item.subject_version,
        "rule": item.rule,
        "reason": item.reason,
        "proposed_content": None if item.proposed_content is UNCHANGED else canonical_text(item.proposed_content),
        "target_id": item.target_id or own_id,
        "license": item.license,
        "derived_from": [key._asdict() for key in item.derived_from],
        "search_keys": sorted(set(item.search_keys)),
        "priority": item.priority,
        "state": "open",
        "created_at": now,
    }


def list_items(
    lake: Lake, *, states: Sequence[str] = ("open", "claimed"), rule: str | None = None, limit: int | None = None
) -> pl.DataFrame:
    """Items in these states, the most urgent first, then the oldest."""
    where: dict[str, Any] = {"state": list(states)} | ({} if rule is None else {"rule": rule})
    items = lake.read(ITEMS, where=where).sort(
        pl.col("priority"), pl.col("created_at"), pl.col("item_id"), descending=[True, False, False]
    )
    return items if limit is None else items.head(limit)


def find_item(lake: Lake, word: str) -> Item:
    """The one item whose id begins with `word`; raises `UserError` when there is none or several."""
    from lake.predicates import KeyRange

    found = lake.read(ITEMS, where={"item_id": KeyRange(start=word, stop=f"{word}{_HIGHEST}")})
    if found.height == 1 and len(word) >= MIN_ID_CHARACTERS:
        return found.row(0, named=True)
    raise UserError.not_one(
        "queue item",
        word,
        found["item_id"].to_list(),
        see="benchlake databits curation list --all",
        least=MIN_ID_CHARACTERS,
    )


def claim_items(lake: Lake, *, reviewer: str, count: int, now: dt.datetime, rule: str | None = None) -> pl.DataFrame:
    """Take up to `count` of the most urgent free items for `CLAIM_LENGTH`; those one holds already count among them.

    Of two people who claim at once each gets items of their own: an item that the other was faster at is passed over.
    """
    held: list[Item] = []
    for item in list_items(lake, rule=rule).iter_rows(named=True):
        if len(held) == count:
            break
        if _is_free(item, reviewer, now) and _claim(lake, item, reviewer, now):
            held.append(item | {"state": "claimed", "claimed_by": reviewer, "claim_expires_at": now + CLAIM_LENGTH})
    return pl.DataFrame(held, schema=_TYPES)


def release_items(lake: Lake, *, reviewer: str) -> int:
    """Give back everything that `reviewer` claimed and did not decide; how many."""
    held = list_items(lake, states=["claimed"]).filter(pl.col("claimed_by") == reviewer)
    free = held.with_columns(
        state=pl.lit("open"),
        claimed_by=pl.lit(None, pl.String),
        claim_expires_at=pl.lit(None, _TYPES["claim_expires_at"]),
    )
    return lake.upsert(ITEMS, free).rows_written if free.height else 0


def decide_item(
    lake: Lake,
    item_id: str,
    decision: Decision,
    *,
    reviewer: str,
    now: dt.datetime,
    content: Content = UNCHANGED,
    note: str | None = None,
) -> DecisionResult:
    """Accept what is proposed (or the subject as it is), put other content in its place, or reject.

    Accepting or editing writes a version of the item's target that names item, rule and reviewer. Rejecting a proposal
    leaves the subject as it is; rejecting a DataBit for which nothing is proposed retracts it. The item is claimed
    first, so that of two people one decides; a decision that was cut short is finished by making it again. Raises
    `UserError` when somebody else holds or has decided it, or an edit has no content.
    """
    if (decision == "edit") != (content is not UNCHANGED):
        raise UserError("An edit needs the new content; accepting and rejecting take none.")
    item = find_item(lake, item_id)
    _refuse_decided(item)
    if not _is_free(item, reviewer, now) or not _claim(lake, item, reviewer, now):
        standing = find_item(lake, item_id)
        _refuse_decided(standing)
        raise UserError(
            f"Item {item['item_id']} is claimed by {standing['claimed_by']} until {standing['claim_expires_at']}. "
            "Take another one:  benchlake databits curation claim"
        )
    hand = Hand(
        author=reviewer, at=now, note=f"curation {DECIDED[decision]}: {item['rule']}{f' ({note})' if note else ''}"
    )
    key = _apply(lake, item, decision, content=content, hand=hand)
    row = item | {
        "state": DECIDED[decision],
        "claimed_by": None,
        "claim_expires_at": None,
        "reviewer": reviewer,
        "decision_note": note,
        "result_id": key.databit_id if key else None,
        "result_version": key.version if key else None,
        "decided_at": now,
    }
    lake.upsert(ITEMS, pl.DataFrame([row], schema=_TYPES))
    return DecisionResult(item_id=item["item_id"], state=row["state"], databit=key)


def _refuse_decided(item: Item) -> None:
    if item["state"] in DECIDED.values():
        raise UserError(f"Item {item['item_id']} was {item['state']} by {item['reviewer']} at {item['decided_at']}.")


def _is_free(item: Item, reviewer: str, now: dt.datetime) -> bool:
    is_held = item["state"] == "claimed" and item["claimed_by"] != reviewer and item["claim_expires_at"] > now
    return item["state"] in {"open", "claimed"} and not is_held


def _claim(lake: Lake, item: Item, reviewer: str, now: dt.datetime) -> bool:
    claimed = item | {"state": "claimed", "claimed_by": reviewer, "claim_expires_at": now + CLAIM_LENGTH}

    def is_free(standing: pl.DataFrame) -> bool:
        return standing.height == 1 and _is_free(standing.row(0, named=True), reviewer, now)

    return lake.compare_and_upsert(ITEMS, pl.DataFrame([claimed], schema=_TYPES), expected=is_free)


def _apply(lake: Lake, item: Item, decision: Decision, *, content: Content, hand: Hand) -> DatabitKey | None:
    """Write what the decision asks for; what an earlier, cut-short call wrote already is found and left alone."""
    if decision == "reject":
        is_whole = item["subject_kind"] == "databit" and item["proposed_content"] is None
        return _retracted(lake, item["subject_id"], hand) if is_whole else None
    if decision == "accept" and item["proposed_content"] is None:
        return None
    wanted = parse_content(item["proposed_content"]) if decision == "accept" else content
    return _written(lake, item, wanted, hand)


def _retracted(lake: Lake, databit_id: str, hand: Hand) -> DatabitKey:
    newest = read_versions(lake, [databit_id], columns=["version", "is_deleted"]).row(-1, named=True)
    if newest["is_deleted"]:
        return DatabitKey(databit_id, newest["version"])
    return retract_databit(lake, databit_id, expected_version=newest["version"], hand=hand)


def _written(lake: Lake, item: Item, content: Content, hand: Hand) -> DatabitKey:
    versions = read_versions(lake, [item["target_id"]], columns=["version", "content", "is_deleted"])
    if versions.is_empty():
        draft = Draft(
            databit_id=item["target_id"],
            content=content,
            creator=hand.author,
            source=f"{item['subject_kind']}:{item['subject_id']}",
            license=item["license"],
            derived_from=[DatabitKey(**key) for key in item["derived_from"]],
            search_keys=item["search_keys"],
        )
        return create_databit(lake, draft, hand=hand)
    newest = versions.row(-1, named=True)
    if newest["content"] == canonical_text(content) and not newest["is_deleted"]:
        return DatabitKey(item["target_id"], newest["version"])
    return revise_databit(
        lake, item["target_id"], Changes(content=content), expected_version=newest["version"], hand=hand
    )
