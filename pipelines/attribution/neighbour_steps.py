"""Values of the examples that a run's programs could have been shown, by their vectors: KNN-Shapley and influence.

What belongs here: which examples are units and which are queries, whether their outputs are classes, and what becomes
a row. The mathematics is `knn_shapley.py` and `influence.py`; both are evidence about vectors, good for finding wrong
labels, and none about what a language model does with an example.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lake.errors import UserError
from lake.identity import json_digest, text_digest
from lake.store import Lake
from pipelines.attribution import influence, knn_shapley
from pipelines.attribution.knn_shapley import NeighbourValues
from pipelines.attribution.recording import (
    MethodResult,
    Valuation,
    Worth,
    result_of,
    standing_rows,
    stands,
    write_valuation,
)
from pipelines.attribution.run_items import HeldSplit, held_ids, read_asked
from pipelines.attribution.values import CONFIDENCE
from pipelines.embeddings.embedder import Embedder, Vectors
from pipelines.embeddings.text_steps import EMBEDDINGS
from pipelines.evidence.statistics import wilson
from pipelines.optimization.items import Item, as_text, read_items
from pipelines.optimization.neighbours import input_text
from pipelines.optimization.steps import read_run
from pipelines.optimization.template_registry import read_template

NeighbourMethod = Literal["knn_shapley", "influence_proxy"]
NEIGHBOUR_METHODS: tuple[NeighbourMethod, ...] = get_args(NeighbourMethod)
# So many keys at a time are looked up in silver.embeddings.
_LOOKED_UP = 400
# Outputs are classes when at least so many of the queries' outputs are those of two units or more.
_CLASSED_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class NeighbourPlan:
    """K of the vote, penalty of the regression, and whose items are the queries."""

    k: int = 5
    penalty: float = 1e-2
    split: HeldSplit = "test"

    def settings(self, method: NeighbourMethod, embedder: Embedder) -> dict[str, Any]:
        """What decides the values of a method beside the data."""
        own = {"k": self.k} if method == "knn_shapley" else {"penalty": self.penalty}
        return {**own, "split": self.split, "embedding_model": embedder.model_name, "revision": embedder.revision}


@dataclass(frozen=True, kw_only=True)
class _Sides:
    """Units and queries as texts and outputs."""

    run_id: str
    units: Sequence[Item]
    queries: Sequence[Item]
    field: str

    @property
    def unit_outputs(self) -> list[str]:
        return [as_text(item.outputs.get(self.field)) for item in self.units]

    @property
    def query_outputs(self) -> list[str]:
        return [as_text(item.outputs.get(self.field)) for item in self.queries]

    @property
    def has_classes(self) -> bool:
        """Whether outputs recur, so that they can be taken for labels."""
        counts = Counter(self.unit_outputs)
        recurring = sum(counts[output] > 1 for output in self.query_outputs)
        return recurring >= _CLASSED_SHARE * len(self.queries) and len(counts) > 1

    @property
    def digest(self) -> str:
        """SHA-256 of who is asked what and should say what."""
        return json_digest(
            [
                [[item.example_id, item.input_digest, output] for item, output in zip(items, outputs, strict=True)]
                for items, outputs in ((self.units, self.unit_outputs), (self.queries, self.query_outputs))
            ]
        )


def attribute_neighbours(
    lake: Lake, reference: str, method: NeighbourMethod, plan: NeighbourPlan, *, embedder: Embedder, now: dt.datetime
) -> MethodResult:
    """Value the examples of the run's function that were held out of nothing, for its held-out items as queries.

    Where outputs recur they are labels: KNN-Shapley for matches/K, and influence. Where they do not, as in free text,
    KNN-Shapley is for the graded utility, and influence is left out, with a note that says so. Vectors come from
    silver.embeddings; what is missing there is embedded here. Nothing is computed again for the same examples.
    """
    sides = _read_sides(lake, reference, plan)
    settings = plan.settings(method, embedder)
    has_classes = sides.has_classes
    utility = _utility_of(method, has_classes=has_classes)
    # The utility in words is a part: values of another one are other values, whatever the data.
    digest = json_digest([sides.digest, method, utility, settings])
    standing = standing_rows(lake, sides.run_id, method, settings)
    if stands(standing, digest):
        return result_of(standing, sides.run_id, method, is_new=False)
    if not sides.units or (method == "influence_proxy" and not has_classes):
        why = "its outputs are no classes: they hardly recur" if sides.units else "no example could have been shown"
        return MethodResult(run_id=sides.run_id, method=method, is_new=False, note=f"Left out: {why}.")
    found = _compute(lake, sides, method, plan, embedder, has_classes=has_classes)
    # The most that a unit can be worth for a query: a grade over K, grades being at most 1, or 2 where centred.
    bound = (1 if has_classes else 2) / plan.k if method == "knn_shapley" else None
    valuation = Valuation(
        run_id=sides.run_id,
        method=method,
        utility=utility,
        worths=_worths(sides.units, found, bound=bound),
        unit_count=len(sides.units),
        sample_count=found.query_count,
        evaluation_count=len(sides.units) * found.query_count,
        seed=None,
        settings=settings,
        input_digest=digest,
    )
    write_valuation(lake, valuation, now=now)
    return result_of(standing_rows(lake, sides.run_id, method, settings), sides.run_id, method, is_new=True)


def read_vectors(lake: Lake, texts: Sequence[str], embedder: Embedder) -> Vectors:
    """Vectors of texts, (len(texts), dimension): from silver.embeddings, and embedded where they are missing there."""
    digests = [text_digest(text) for text in texts]
    wanted = dict(zip(digests, texts, strict=True))
    known: dict[str, Any] = {}
    names = list(wanted)
    for start in range(0, len(names), _LOOKED_UP):
        where = {"text_digest": names[start : start + _LOOKED_UP], "model_name": embedder.model_name}
        rows = lake.read(EMBEDDINGS, columns=["text_digest", "revision", "vector"], where=where)
        same = rows.filter(pl.col("revision") == embedder.revision)
        known.update(zip(same["text_digest"], same["vector"].to_list(), strict=True))
    missing = [name for name in names if name not in known]
    if missing:
        known.update(zip(missing, embedder.encode([wanted[name] for name in missing]), strict=True))
    return np.asarray([known[digest] for digest in digests], dtype=np.float32)


def _read_sides(lake: Lake, reference: str, plan: NeighbourPlan) -> _Sides:
    run = read_run(lake, reference)
    version = read_template(lake, f"{run['template']}@{run['template_version_index']}")
    asked = read_asked(lake, run, version.template, split=plan.split)
    held = held_ids(lake, run)
    pool = read_items(lake, version.template, function_name=asked.function_name)
    return _Sides(
        run_id=str(run["optimization_run_id"]),
        units=[item for item in pool.items if item.example_id not in held],
        queries=asked.items,
        field=version.template.scored_field,
    )


def _utility_of(method: NeighbourMethod, *, has_classes: bool) -> str:
    if method == "influence_proxy":
        return influence.UTILITY
    return knn_shapley.UTILITY if has_classes else knn_shapley.GRADED_UTILITY


def _compute(
    lake: Lake,
    sides: _Sides,
    method: NeighbourMethod,
    plan: NeighbourPlan,
    embedder: Embedder,
    *,
    has_classes: bool,
) -> NeighbourValues:
    units = read_vectors(lake, [input_text(item.inputs) for item in sides.units], embedder)
    queries = read_vectors(lake, [input_text(item.inputs) for item in sides.queries], embedder)
    if not has_classes:
        outputs = [read_vectors(lake, texts, embedder) for texts in (sides.unit_outputs, sides.query_outputs)]
        return knn_shapley.knn_shapley_graded(units, outputs[0], queries, outputs[1], k=plan.k)
    numbers = {output: place for place, output in enumerate(sorted({*sides.unit_outputs, *sides.query_outputs}))}
    labels, asked = (_numbered(outputs, numbers) for outputs in (sides.unit_outputs, sides.query_outputs))
    if method == "knn_shapley":
        return knn_shapley.knn_shapley(units, labels, queries, asked, k=plan.k)
    try:
        return influence.influence_proxy(units, labels, queries, asked, penalty=plan.penalty)
    except ValueError as error:
        raise UserError(str(error)) from None


def _numbered(outputs: Sequence[str], numbers: Mapping[str, int]) -> NDArray[np.int64]:
    return np.array([numbers[output] for output in outputs], dtype=np.int64)


def _worths(units: Sequence[Item], found: NeighbourValues, *, bound: float | None) -> list[Worth]:
    """Values with Student's interval over queries; where all queries agree, Wilson's, `bound` being the most for one.

    An interval without width would claim certainty from any number of queries (see `mean_difference`).
    """
    from scipy import stats

    count = found.query_count
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) if count > 1 else None
    still = wilson(0, count, confidence=CONFIDENCE).high * bound if bound is not None else None
    worths = []
    for item, value, error in zip(units, found.values.tolist(), found.standard_errors.tolist(), strict=True):
        half = None if reach is None else (reach * error if error > 0 else still)
        low, high = (None, None) if half is None else (value - half, value + half)
        worths.append(Worth(unit_id=item.example_id, value=value, low=low, high=high))
    return worths
