"""Where texts that can be found by meaning come from: one short list.

What belongs here: which table, which column says what a text is about, and how a row becomes a text. Following the
tables is `text_steps.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from lake.identity import text_digest
from pipelines.databits.units import readable_text
from pipelines.embeddings.texts import text_of_json, vector_ids

# Of pictures and sounds the content is an address, which means nothing.
_READABLE = ("text", "json", "code")


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """Texts of one kind.

    `subject` is the column of `table` that says what a text is about, `columns` are what `standing` needs beside it.
    `standing` takes every row of some subjects and leaves at most one of each, the one that counts; `text` makes its
    text of the column `content`.
    """

    name: str
    table: str
    subject: str
    content: str
    columns: tuple[str, ...]
    standing: Callable[[pl.DataFrame], pl.DataFrame]
    text: Callable[[str], str]

    def texts_of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows of `silver.texts` for all rows of some subjects; a subject without words has none."""
        standing = self.standing(rows)
        texts = [self.text(content) for content in standing[self.content]]
        return (
            pl.DataFrame(
                {
                    "subject_id": standing[self.subject],
                    "text_digest": pl.Series(map(text_digest, texts), dtype=pl.String),
                    "text": pl.Series(texts, dtype=pl.String),
                }
            )
            .filter(pl.col("text").str.strip_chars() != "")
            .select(
                pl.lit(self.name).alias("text_source"),
                "subject_id",
                "text_digest",
                vector_ids(pl.col("text_digest")).alias("vector_id"),
                "text",
            )
        )


def _not_deleted(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(~pl.col("is_deleted"))


def _newest_versions(rows: pl.DataFrame) -> pl.DataFrame:
    newest = rows.sort("databit_id", "version").unique("databit_id", keep="last", maintain_order=True)
    return _not_deleted(newest).filter(pl.col("modality").list.set_intersection(list(_READABLE)).list.len() > 0)


def _each_prompt_once(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.unique("prompt_digest", keep="any")


SOURCES = (
    TextSource(
        name="example_inputs",
        table="silver.examples",
        subject="example_id",
        content="inputs",
        columns=("is_deleted",),
        standing=_not_deleted,
        text=text_of_json,
    ),
    TextSource(
        name="example_outputs",
        table="silver.examples",
        subject="example_id",
        content="expected_output",
        columns=("is_deleted",),
        standing=_not_deleted,
        text=text_of_json,
    ),
    TextSource(
        name="databits",
        table="silver.databits",
        subject="databit_id",
        content="content",
        columns=("version", "modality", "is_deleted"),
        standing=_newest_versions,
        text=readable_text,
    ),
    TextSource(
        name="prompts",
        table="silver.prompts",
        subject="prompt_digest",
        content="prompt",
        columns=(),
        standing=_each_prompt_once,
        text=str,
    ),
)
