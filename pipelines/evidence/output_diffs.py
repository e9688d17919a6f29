"""Diffs of frames of output pairs: one row in, one row of `gold.output_diffs` out.

The diff of two texts is `diff.py`, its kind `change_kinds.py`; which runs are compared is `pairing.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from lake.tables import contract_of
from pipelines.evidence.change_kinds import ChangeKind, is_formatting, is_wording
from pipelines.evidence.correctness import SCORES, has_full_marks, is_scored_alike
from pipelines.evidence.diff import diff_word_lists, first_difference, split_words
from pipelines.evidence.json_diff import JsonChange, diff_json, parse_container
from pipelines.evidence.moves import moved_word_count
from pipelines.evidence.references import Reference, Relation, Side, nearer_side, reference_similarity

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Words of so many pairs are held at once.
BATCH_PAIRS = 2_000

# What may be known of a pair besides its texts.
_KNOWN = {
    "reference": pl.String(),
    "candidate_status": pl.String(),
    "baseline_status": pl.String(),
    "candidate_scores": SCORES,
    "baseline_scores": SCORES,
}
_TEXTS = ("baseline_output", "candidate_output")
_COUNTED = (
    "similarity_ratio", "first_difference_char", "inserted_word_count", "deleted_word_count", "opcodes",
)  # fmt: skip

Row = Mapping[str, Any]
_Words = tuple[list[str], list[str]]


class _Relations(NamedTuple):
    """Both outputs of a pair against the reference; the columns of these names."""

    candidate_reference_relation: Relation | None = None
    baseline_reference_relation: Relation | None = None
    candidate_reference_similarity_ratio: float | None = None
    baseline_reference_similarity_ratio: float | None = None
    nearer_to_reference: Side | None = None


_TOLD = ("change_kind", "moved_word_count", "json_changes", *_Relations._fields)


def diff_pairs(pairs: pl.DataFrame) -> pl.DataFrame:
    """The same rows with `change_kind` and the computed columns of `gold.output_diffs` in place of the texts.

    `pairs` has `baseline_output` and `candidate_output` (text or null) and their `_digest` columns, which spare the
    comparison of equal texts; a missing digest is made up for by the texts. It may have `reference`, and of both sides
    `_status` and `_scores`. Other columns are passed through.
    """
    known = pairs.with_columns(
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in _KNOWN.items() if name not in pairs.columns
    )
    # Each slice is complete when it leaves, so that the edits of all are never copied for a join or a sort.
    return pl.concat([_diff_slice(part) for part in known.iter_slices(BATCH_PAIRS)] or [_diff_slice(known)])


def _diff_slice(pairs: pl.DataFrame) -> pl.DataFrame:
    kinds = pairs.with_columns(_plain_kind().alias("plain_kind"), place=pl.int_range(pl.len()))
    texts = kinds.filter(pl.col("plain_kind").is_null())
    found = _diff_texts(texts).with_columns(texts["place"])
    is_same = pl.col("plain_kind") == "identical"
    return (
        kinds.drop(*_TEXTS, *_KNOWN)
        .join(found, on="place", how="left", maintain_order="left")
        .with_columns(
            pl.coalesce("plain_kind", "change_kind").alias("change_kind"),
            pl.when(is_same).then(1.0).otherwise("similarity_ratio").alias("similarity_ratio"),
            *(
                pl.when(is_same).then(0).otherwise(name).alias(name)
                for name in ("inserted_word_count", "deleted_word_count", "moved_word_count")
            ),
        )
        .drop("place", "plain_kind")
    )


def _plain_kind() -> pl.Expr:
    """The kinds that need no diff; null for two different texts."""
    baseline, candidate = pl.col("baseline_output"), pl.col("candidate_output")
    same_digest = pl.col("baseline_output_digest") == pl.col("candidate_output_digest")
    return (
        pl.when(baseline.is_null() | candidate.is_null())
        .then(pl.lit("error"))
        .when(same_digest.fill_null(baseline == candidate))
        .then(pl.lit("identical"))
    )


def _diff_texts(texts: pl.DataFrame) -> pl.DataFrame:
    """What is computed of pairs of different texts, one row a pair."""
    rows = texts.select(*_TEXTS, *_KNOWN).to_dicts()
    words = [(split_words(row["baseline_output"]), split_words(row["candidate_output"])) for row in rows]
    arrays = diff_word_lists(words)
    baseline_counts, candidate_counts = (
        np.fromiter((len(pair[side]) for pair in words), dtype=np.int64, count=len(words)) for side in (0, 1)
    )
    kept = arrays.kept_word_counts
    similarity = 2 * kept / np.maximum(baseline_counts + candidate_counts, 1)
    opcodes = (arrays.opcodes[start:end] for start, end in pairwise(arrays.offsets.tolist()))
    told = list(map(_tell, rows, words, similarity.tolist(), opcodes))
    computed = {
        "similarity_ratio": similarity,
        "first_difference_char": [first_difference(row["baseline_output"], row["candidate_output"]) for row in rows],
        "inserted_word_count": candidate_counts - kept,
        "deleted_word_count": baseline_counts - kept,
        "opcodes": pa.ListArray.from_arrays(pa.array(arrays.offsets), pa.array(arrays.opcodes)),
        **{name: [one[place] for one in told] for place, name in enumerate(_TOLD)},
    }
    dtypes = contract_of("gold.output_diffs").dtypes
    return pl.DataFrame(computed, schema={name: dtypes[name] for name in (*_COUNTED, *_TOLD)})


def _tell(row: Row, words: _Words, similarity_ratio: float, opcodes: NDArray[np.int32]) -> tuple[object, ...]:
    """What can be told of a pair of different texts beyond their words: the columns of `_TOLD`."""
    baseline, candidate = row["baseline_output"], row["candidate_output"]
    values = parse_container(baseline), parse_container(candidate)
    is_json = [value is not None for value in values]
    changes = diff_json(*values) if all(is_json) else None
    relations = _relate(row, words)
    if not baseline.strip() or not candidate.strip():
        kind: ChangeKind = "empty" if baseline.strip() or candidate.strip() else "formatting"
    elif not _is_judged_alike(row, relations) or is_json[0] != is_json[1]:
        kind = "content"
    elif changes is not None:
        kind = "content" if changes else "formatting"
    elif is_formatting(baseline, candidate):
        kind = "formatting"
    elif is_wording(
        opcodes,
        *words,
        similarity_ratio=similarity_ratio,
        has_full_marks=has_full_marks(row["candidate_scores"], row["baseline_scores"]),
    ):
        kind = "wording"
    else:
        kind = "content"
    return kind, moved_word_count(baseline, candidate), _stored(changes), *relations


def _is_judged_alike(row: Row, relations: _Relations) -> bool:
    """Whether nobody who looked at the outputs found one better: not the run, not a scorer, not the reference."""
    return (
        row["candidate_status"] == row["baseline_status"]
        and is_scored_alike(row["candidate_scores"], row["baseline_scores"])
        and relations.candidate_reference_relation == relations.baseline_reference_relation
    )


def _relate(row: Row, words: _Words) -> _Relations:
    if not row["reference"]:
        return _Relations()
    reference, reference_words = Reference(row["reference"]), split_words(row["reference"])
    baseline, candidate = (reference.relation_of(row[name]) for name in _TEXTS)
    baseline_similarity, candidate_similarity = (reference_similarity(reference_words, side) for side in words)
    return _Relations(
        candidate,
        baseline,
        candidate_similarity,
        baseline_similarity,
        nearer_side(candidate, baseline, candidate_similarity, baseline_similarity),
    )


def _stored(changes: Sequence[JsonChange] | None) -> list[dict[str, str]] | None:
    """Paths alone: the values are in the outputs."""
    return None if changes is None else [{"path": change.path, "change": change.change} for change in changes]
