"""What the checks of the example store look at: examples that no index has, and examples that ask the same.

Pure but for the labels that the store reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipelines.embeddings.index import VectorIndex
from pipelines.examples.catalogue import ALL, Catalogue
from pipelines.examples.keywords import KeywordIndex
from pipelines.examples.store import ExampleStore


@dataclass(frozen=True, kw_only=True)
class IndexLag:
    """Examples that are not deleted and not in an index."""

    vector_count: int
    keyword_count: int


def count_unindexed(store: ExampleStore, vectors: VectorIndex, keywords: KeywordIndex) -> IndexLag:
    """How many examples cannot be found by meaning, and how many not by words."""
    catalogue = store.catalogue()
    return IndexLag(
        vector_count=count_unembedded(catalogue, vectors),
        keyword_count=max(catalogue.living.height - len(keywords), 0),
    )


def count_unembedded(catalogue: Catalogue, vectors: VectorIndex) -> int:
    """How many examples the vector index does not have."""
    found = np.zeros(catalogue.living.height, dtype=np.bool_)
    wanted = catalogue.living["vector_id"].to_numpy()
    for segment in vectors.segments:
        if len(segment.ids):
            places = np.searchsorted(segment.ids, wanted).clip(max=len(segment.ids) - 1)
            found |= (segment.ids[places] == wanted) & ~segment.is_dead[places]
    return int((~found).sum())


def find_duplicates(catalogue: Catalogue) -> pl.DataFrame:
    """Examples with the inputs of another one for the same function: example_id, canonical_id, function_name.

    The canonical one of a group is the first by id.
    """
    group = ["function_name", "input_digest"]
    return (
        catalogue.matching(ALL)
        .sort("example_id")
        .with_columns(canonical_id=pl.col("example_id").first().over(group))
        .filter(pl.col("example_id") != pl.col("canonical_id"))
        .select("example_id", "canonical_id", "function_name")
    )
