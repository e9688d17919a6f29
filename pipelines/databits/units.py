"""What a DataBit is before it is a row: keys, drafts, and how content becomes text.

Pure. Reading and writing versions is `reading.py` and `writing.py`; what may be derived from what is `lineage.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import orjson

from lake.errors import UserError
from lake.identity import derived_id, text_digest
from lake.tables.databits import MODALITIES

DATABITS = "silver.databits"
Modality = Literal["text", "json", "code", "image", "audio", "video"]
_LONG_NUMBER = re.compile(rb"\d{19}")
# Any JSON value.
Content = Any


class DatabitKey(NamedTuple):
    """One version of one unit."""

    databit_id: str
    version: int

    def __str__(self) -> str:
        """As people write it: `id@version`."""
        return f"{self.databit_id}@{self.version}"


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A unit as it should be; what of it is new or changed becomes a version.

    `content` is any JSON value. `license` is an SPDX expression, None while unknown. `derived_from` are versions that
    stand, of other units or earlier ones of this. An absent `databit_id` is derived from `source` if there is one,
    else from the content, so that the same draft is the same unit. `modality` is guessed from the content when absent.
    """

    content: Content
    databit_id: str | None = None
    creator: str | None = None
    source: str | None = None
    license: str | None = None
    derived_from: Sequence[DatabitKey] = ()
    modality: Sequence[Modality] = ()
    search_keys: Sequence[str] = ()
    quality_scores: Mapping[str, float] | None = None

    def key_id(self) -> str:
        """The unit's id: as given, else derived from where it is from or from what it holds."""
        return self.databit_id or unit_id(source=self.source, content=canonical_text(self.content))


def unit_id(*, source: str | None, content: str) -> str:
    """The stable id of a unit that brings none: of its source, else of its canonical content."""
    if source is not None:
        return derived_id("databit", "source", source)
    return derived_id("databit", "content", text_digest(content))


def canonical_text(content: Content) -> str:
    """A JSON value as the one text that equal values have: sorted keys, no white space.

    Raises `UserError` for what is no JSON value (NaN, bytes, a set), and for lone surrogates, which no table can hold.
    """
    try:
        text = orjson.dumps(content, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        return _canonical_by_json(content)
    # It writes NaN and infinity, which are no JSON, as null.
    return _canonical_by_json(content) if "null" in text else text


def _canonical_by_json(content: Content) -> str:
    """The slow way, for whole numbers beyond 64 bits; a NaN, which is no JSON, is refused here."""
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise UserError(f"Content must be a JSON value: {error}.") from error
    return text


def parse_content(text: str) -> Content:
    """The value of canonical text."""
    return parse_json(text.encode())


def parse_json(raw: bytes) -> Content:
    """JSON with its whole numbers exact, however long; raises `ValueError` for what is none."""
    # The fast parser makes a real number of what does not fit 64 bits.
    return json.loads(raw, parse_constant=_refuse) if _LONG_NUMBER.search(raw) else orjson.loads(raw)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def readable_text(text: str) -> str:
    """What a reader reads of content: the words of a JSON string, else the members' texts line by line.

    For scorers, search and embeddings. Keys are left out: they are the form, not what is said.
    """
    return "\n".join(_texts(parse_content(text)))


def _texts(value: Content) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, dict):
        return [text for member in value.values() for text in _texts(member)]
    if isinstance(value, list):
        return [text for member in value for text in _texts(member)]
    return [] if value is None else [json.dumps(value)]


def guess_modality(content: Content) -> list[Modality]:
    """`text` for a string, `json` for anything else; pictures and sounds must be said."""
    return ["text"] if isinstance(content, str) else ["json"]


def parse_key(word: str) -> tuple[str, int | None]:
    """`id` or `id@version` as (id, version or None); raises `UserError` for a version that is none."""
    databit_id, at, version = word.rpartition("@")
    if not at:
        return word, None
    if not version.isdigit() or int(version) < 1:
        raise UserError(f"{word!r} names no version: write ID@2, with a whole number from 1, or ID for the newest.")
    return databit_id, int(version)


def check_draft(draft: Draft) -> None:
    """Raises `UserError` for a modality or search key that no version may have."""
    for modality in draft.modality:
        if modality not in MODALITIES:
            raise UserError.unknown("modality", modality, MODALITIES)
    if any(not key.strip() for key in draft.search_keys):
        raise UserError("A search key needs a text.")
