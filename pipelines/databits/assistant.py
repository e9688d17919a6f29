"""What a language model would decide about items of the queue, with how sure it is.

What belongs here: the question, and writing the answers. The model is an argument; `resources/curation_assistant.py`
makes one of a configured backend. A label is an opinion beside the item and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import polars as pl

from lake.store import Lake
from pipelines.databits.curation import ITEMS, list_items
from pipelines.databits.reading import read_versions
from pipelines.databits.units import parse_content, readable_text

# Characters of content and proposal that the model is shown: small models have short contexts.
SHOWN_CHARACTERS = 600
OPTIONS = ("accept", "edit", "reject")


class LanguageModel(Protocol):
    """Something that chooses one of several words."""

    @property
    def name(self) -> str:
        """Model and backend, as results name it."""
        ...

    def choose(self, question: str, options: Sequence[str]) -> Mapping[str, float] | None:
        """How likely each option is, adding up to 1; None when no answer came."""
        ...


def label_items(lake: Lake, model: LanguageModel, *, limit: int, rule: str | None = None) -> int:
    """Ask the model about up to `limit` items that wait and have no label of it yet; how many it labelled.

    What it could not answer is asked again the next time. An item that somebody decides meanwhile keeps its decision.
    """
    waiting = waiting_items(lake, model_name=model.name, rule=rule)
    labelled = 0
    contents = _contents(lake, waiting.head(limit))
    for item in waiting.head(limit).iter_rows(named=True):
        chances = model.choose(
            question_about(item, contents.get((item["subject_id"], item["subject_version"]))), OPTIONS
        )
        if chances:
            label = max(chances, key=lambda option: chances[option])
            labelled += _write(lake, item["item_id"], label, chances[label], model.name)
    return labelled


def waiting_items(lake: Lake, *, model_name: str | None = None, rule: str | None = None) -> pl.DataFrame:
    """Items that nobody has decided and that have no label, or none of this model."""
    is_unlabelled = pl.col("assistant_model").is_null()
    if model_name is not None:
        is_unlabelled |= pl.col("assistant_model") != model_name
    return list_items(lake, rule=rule).filter(is_unlabelled)


def question_about(item: Mapping[str, Any], content: str | None) -> str:
    """The prompt about one item. Pure."""
    parts = [
        "You check training data. Something was found about the text below.",
        f"Finding: {item['reason']}",
    ]
    if content is not None:
        parts.append(f"Text: {readable_text(content)[:SHOWN_CHARACTERS]}")
    if item["proposed_content"] is not None:
        parts.append(f"Proposed instead: {_shown(item['proposed_content'])}")
        parts.append("accept means the proposal is right, edit means something else should stand, reject means not so.")
    else:
        parts.append("accept means the text is fine, edit means it needs a change, reject means it should be removed.")
    return "\n".join(parts)


def _shown(content: str) -> str:
    value = parse_content(content)
    return (value if isinstance(value, str) else content)[:SHOWN_CHARACTERS]


def _contents(lake: Lake, items: pl.DataFrame) -> dict[tuple[str, int | None], str]:
    own = items.filter(pl.col("subject_kind") == "databit")
    rows = read_versions(lake, own["subject_id"].to_list(), columns=["databit_id", "version", "content"])
    return {(databit_id, version): content for databit_id, version, content in rows.iter_rows()}


def _write(lake: Lake, item_id: str, label: str, confidence: float, model: str) -> bool:
    """Put the label beside the item as it stands now, unless it was decided while the model thought."""
    standing = lake.read(ITEMS, where={"item_id": item_id})
    row = standing.with_columns(
        assistant_label=pl.lit(label), assistant_confidence=pl.lit(confidence), assistant_model=pl.lit(model)
    )
    return lake.compare_and_upsert(ITEMS, row, expected=lambda now: now.equals(standing) and is_waiting(now))


def is_waiting(items: pl.DataFrame) -> bool:
    """Whether nobody has decided these items."""
    return bool(items["state"].is_in(["open", "claimed"]).all())
