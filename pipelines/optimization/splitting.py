"""Training, validation and test items: split by digest, so that nothing a program has seen is in its test.

Pure. An item's split follows from its own text, not from the other items: adding examples never moves one from the
test split to the training split, and a copy with other white space or case goes where the original goes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lake.errors import UserError
from lake.identity import json_digest, text_digest
from pipelines.databits.units import canonical_text
from pipelines.optimization.items import Item, as_text

SplitName = Literal["train", "validation", "test"]
LeftOutReason = Literal["copy", "contradiction", "known_prompt"]
# Shorter inputs stand in unrelated prompts by chance ("yes", a year) and say nothing about leakage.
_MIN_PROMPT_CHARS = 16
_SPACE = 1 << 64


@dataclass(frozen=True, kw_only=True)
class SplitShares:
    """Shares of the items, and the most that are used of each; the rest of 1 is the test split."""

    train: float = 0.4
    validation: float = 0.2
    max_train: int | None = None
    max_validation: int | None = None
    max_test: int | None = None

    def __post_init__(self) -> None:
        if not (0 < self.train < 1 and 0 < self.validation < 1 and self.train + self.validation < 1):
            raise UserError(
                f"Shares of {self.train} for training and {self.validation} for validation are not possible: both must "
                "be above 0 and leave something for the test."
            )


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The three splits, and the items left out by reason."""

    train: tuple[Item, ...]
    validation: tuple[Item, ...]
    test: tuple[Item, ...]
    left_out: Mapping[LeftOutReason, tuple[str, ...]] = field(default_factory=dict)

    @property
    def items(self) -> tuple[Item, ...]:
        """The items of all three."""
        return (*self.train, *self.validation, *self.test)

    @property
    def digest(self) -> str:
        """SHA-256 of which items with which outputs are in which split."""
        return json_digest(
            [
                [(item.input_digest, canonical_text(dict(item.outputs))) for item in items]
                for items in (self.train, self.validation, self.test)
            ]
        )

    def split_of(self, digests: Collection[str]) -> SplitName:
        """The split that items with these input digests are of; of several, the one that is worst to leak into."""
        names: tuple[SplitName, ...] = ("train", "validation", "test")
        found: SplitName = "train"
        for name in names:
            known = {item.input_digest for item in getattr(self, name)}
            if any(digest in known for digest in digests):
                found = name
        return found


def split_items(
    items: Sequence[Item], *, shares: SplitShares, known_prompts: Collection[str] = (), salt: str = ""
) -> Splits:
    """Items by split, in an order that is as good as random and always the same.

    Of items with the same inputs (white space and case apart) one is kept; where their outputs differ none is, since
    nobody knows which is right. Items whose text stands in `known_prompts` (the prompts of saved suites) are left out
    too: a program that was shown them would be tested on them later. Another `salt` splits otherwise. Raises
    `UserError` when a split stays empty.
    """
    kept, left_out = _without_copies(items)
    prompts = sorted(set(map(normalised, known_prompts)))
    # One text to search is many times faster than many.
    whole, joined = frozenset(prompts), "\0".join(prompts)
    leaked = {item.example_id for item in kept if _is_known(item, whole, joined)}
    fresh = sorted((item for item in kept if item.example_id not in leaked), key=lambda item: _place(item, salt))
    parts: dict[str, list[Item]] = {"train": [], "validation": [], "test": []}
    for item in fresh:
        parts[_split_name(item, shares, salt)].append(item)
    for name, part in parts.items():
        if not part:
            raise UserError(
                f"The {name} split is empty: {len(items)} examples are {len(fresh)} after copies and known prompts are "
                "left out. Add examples (benchlake examples add), or change the shares."
            )
    return Splits(
        train=_cut(parts["train"], shares.max_train),
        validation=_cut(parts["validation"], shares.max_validation),
        test=_cut(parts["test"], shares.max_test),
        left_out={**left_out, "known_prompt": tuple(sorted(leaked))},
    )


def normalised(text: str) -> str:
    """`text` without regard to case and white space, as copies are recognised."""
    return " ".join(text.casefold().split())


def _without_copies(items: Iterable[Item]) -> tuple[list[Item], dict[LeftOutReason, tuple[str, ...]]]:
    groups: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: item.example_id):
        groups.setdefault(_loose_digest(item), []).append(item)
    kept, copies, contradictions = [], [], []
    for group in groups.values():
        if len({normalised(canonical_text(dict(item.outputs))) for item in group}) > 1:
            contradictions += [item.example_id for item in group]
        else:
            kept.append(group[0])
            copies += [item.example_id for item in group[1:]]
    return kept, {"copy": tuple(copies), "contradiction": tuple(contradictions)}


def _loose_digest(item: Item) -> str:
    values = {name: normalised(as_text(value)) for name, value in item.inputs.items()}
    return text_digest(canonical_text(values))


def _is_known(item: Item, whole: frozenset[str], joined: str) -> bool:
    texts = [normalised(value) for value in item.inputs.values() if isinstance(value, str)]
    return any(text in whole or (len(text) >= _MIN_PROMPT_CHARS and text in joined) for text in texts)


def _place(item: Item, salt: str) -> int:
    digest = hashlib.sha256(f"{salt}|{_loose_digest(item)}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def _split_name(item: Item, shares: SplitShares, salt: str) -> SplitName:
    place = _place(item, salt) / _SPACE
    if place < shares.train:
        return "train"
    return "validation" if place < shares.train + shares.validation else "test"


def _cut(items: Sequence[Item], limit: int | None) -> tuple[Item, ...]:
    return tuple(items if limit is None else items[:limit])
