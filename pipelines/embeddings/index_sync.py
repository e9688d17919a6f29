"""The index follows its table: changes are applied, and what cannot be followed is built again.

The table is the truth and the index may be thrown away, so there is one answer to a missing file, a damaged one, a
change feed that maintenance has shortened, and an index that has become patchwork: build it from the table. The index
has no cursor in the lake, since one of a machine that is gone would keep old versions there for ever.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import filelock
import numpy as np
import polars as pl

from lake.errors import UserError
from lake.history import table_id
from lake.predicates import KeyRange
from lake.store import NO_VERSION, Lake
from pipelines.embeddings.embedder import ModelIdentity, Vectors
from pipelines.embeddings.index import VectorIndex
from pipelines.embeddings.index_files import LOCK, IndexUnusableError, load_index, save_index
from pipelines.embeddings.segments import Ids, Segment, SegmentKind, build_index, kind_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

EMBEDDINGS = "silver.embeddings"
Progress = Callable[[int, int, str], None]
Mode = Literal["changed", "all"]
SyncMode = Literal["unchanged", "applied", "rebuilt"]

# The newest vectors are kept apart, in a segment that is written anew with each change; up to here that takes
# milliseconds.
HEAD_ROWS = 5_000
# Small segments become one of this size, so that a search has few to ask.
MERGED_ROWS = 20_000
# With more than this share of an index dead or outside its largest segment, building it again pays.
PATCHWORK_RATIO = 0.2
# Rows that a build reads from the table at a time.
_READ_ROWS = 65_536
_PREFIX = 1 << 32


@dataclass(frozen=True, kw_only=True)
class SyncResult:
    """What following the table did: how, why if it was built again, versions of `silver.embeddings`, and counts."""

    mode: SyncMode
    reason: str
    version_before: int
    version: int
    added_count: int
    removed_count: int
    vector_count: int


def sync_index(
    lake: Lake,
    folder: Path,
    model: ModelIdentity,
    *,
    mode: Mode = "changed",
    known: VectorIndex | None = None,
    on_progress: Progress | None = None,
) -> tuple[VectorIndex, SyncResult]:
    """Bring the index in `folder` to the newest version of `silver.embeddings`; `mode="all"` builds it from nothing.

    `known` is an index that this process has loaded. One process at a time works on a folder; others wait.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / LOCK):
        identity, version = table_id(lake, EMBEDDINGS), lake.version(EMBEDDINGS)
        if identity is None:
            return _nothing(model)
        before = NO_VERSION
        try:
            index = _load(folder, model, identity, known=known, mode=mode)
            before = index.version
            followed, result = _follow(lake, index, version)
        except IndexUnusableError as reason:
            followed = build_from_table(lake, model, version=version, on_progress=on_progress)
            result = SyncResult(
                mode="rebuilt",
                reason=str(reason),
                version_before=before,
                version=version,
                added_count=len(followed),
                removed_count=0,
                vector_count=len(followed),
            )
        if result.version != before or result.mode == "rebuilt":
            save_index(folder, followed, table_id=identity)
        return followed, result


def _nothing(model: ModelIdentity) -> tuple[VectorIndex, SyncResult]:
    """The answer while there is no table: an index of nothing, which is not kept."""
    result = SyncResult(
        mode="unchanged",
        reason="",
        version_before=NO_VERSION,
        version=NO_VERSION,
        added_count=0,
        removed_count=0,
        vector_count=0,
    )
    return VectorIndex(model=model, version=NO_VERSION, segments=()), result


def _load(
    folder: Path, model: ModelIdentity, identity: str | None, *, known: VectorIndex | None, mode: Mode
) -> VectorIndex:
    if mode == "all":
        raise IndexUnusableError("it was asked for")
    return load_index(folder, model=model, table_id=identity, known=known)


def build_from_table(
    lake: Lake, model: ModelIdentity, *, version: int, on_progress: Progress | None = None
) -> VectorIndex:
    """An index of every vector of `model` at a version of `silver.embeddings`."""
    ids, vectors = read_vectors(lake, model, version=version, on_progress=on_progress)
    if on_progress is not None:
        on_progress(0, 1, f"building an index of {len(ids):,} vectors")
    segments = [new_segment(ids, vectors, kind=kind_for(len(ids)))] if len(ids) else []
    return VectorIndex(model=model, version=version, segments=segments)


def read_vectors(
    lake: Lake, model: ModelIdentity, *, version: int, on_progress: Progress | None = None
) -> tuple[Ids, Vectors]:
    """Ids, ascending, and vectors of `model` at a version; read by ranges of the digest: memory holds them once."""
    where = {"model_name": model.model_name, "revision": model.revision}
    count = lake.read(EMBEDDINGS, columns=["vector_id"], where=where, at=version).height
    ids, vectors = np.empty(count, dtype=np.int64), np.empty((count, model.dimension), dtype=np.float32)
    filled, parts = 0, max(math.ceil(count / _READ_ROWS), 1)
    for part in range(parts):
        digests = KeyRange(start=_bound(part, parts), stop=_bound(part + 1, parts))
        rows = lake.read(
            EMBEDDINGS, columns=["vector_id", "vector"], where={**where, "text_digest": digests}, at=version
        ).sort("vector_id")
        end = filled + rows.height
        ids[filled:end], vectors[filled:end] = rows["vector_id"].to_numpy(), as_matrix(rows["vector"], model.dimension)
        filled = end
        if on_progress is not None:
            on_progress(filled, count, "reading vectors")
    return ids, vectors


def _bound(part: int, parts: int) -> str | None:
    """Where a range of digests begins; open at both ends of the whole."""
    return None if part in {0, parts} else f"{_PREFIX * part // parts:08x}"


def as_matrix(vectors: pl.Series, dimension: int) -> Vectors:
    """A column of vectors as (rows, dimension)."""
    matrix: Vectors = vectors.list.to_array(dimension).to_numpy().astype(np.float32, copy=False)
    return matrix.reshape(-1, dimension)


def new_segment(ids: Ids, vectors: Vectors, *, kind: SegmentKind) -> Segment:
    """A segment of these vectors, all alive; `ids` must be ascending."""
    return Segment(
        name=f"{kind}-{uuid.uuid4().hex[:12]}",
        kind=kind,
        index=build_index(vectors, kind),
        ids=ids,
        is_dead=np.zeros(len(ids), dtype=np.bool_),
    )


def _follow(lake: Lake, index: VectorIndex, version: int) -> tuple[VectorIndex, SyncResult]:
    if version < index.version:
        raise IndexUnusableError(f"it saw version {index.version} and the table is at {version}")
    try:
        upserted, removed = read_changes(lake, index.model, since=index.version, until=version)
    except UserError as error:
        raise IndexUnusableError(f"the change feed no longer reaches back to version {index.version}") from error
    if upserted.height > max(PATCHWORK_RATIO * len(index), HEAD_ROWS):
        raise IndexUnusableError(f"{upserted.height:,} vectors are new beside {len(index):,}")
    followed = apply_changes(index, upserted, removed, version=version)
    if _is_patchwork(followed):
        raise IndexUnusableError("too much of it is dead or apart")
    result = SyncResult(
        mode="applied" if upserted.height or len(removed) else "unchanged",
        reason="",
        version_before=index.version,
        version=version,
        added_count=upserted.height,
        removed_count=len(removed),
        vector_count=len(followed),
    )
    return followed, result


def read_changes(lake: Lake, model: ModelIdentity, *, since: int, until: int) -> tuple[pl.DataFrame, Ids]:
    """What later versions than `since` did: vectors of the model that stand now (vector_id, vector), ids that went."""
    columns = ["vector_id", "model_name", "revision", "vector"]
    changes = lake.changes(EMBEDDINGS, since, until=until, columns=columns).filter(model_name=model.model_name)
    is_standing = pl.col("_change_type").is_in(["insert", "update_postimage"])
    # A version that takes a row away and gives it back, as an overwrite does, leaves it standing.
    last = (
        changes.with_columns(is_standing=is_standing)
        .sort("_commit_version", "is_standing")
        .unique("vector_id", keep="last", maintain_order=True)
    )
    is_own = pl.col("is_standing") & (pl.col("revision") == model.revision)
    upserted = last.filter(is_own).select("vector_id", "vector")
    removed: Ids = last.filter(~is_own)["vector_id"].sort().to_numpy()
    return upserted, removed


def apply_changes(index: VectorIndex, upserted: pl.DataFrame, removed: Ids, *, version: int) -> VectorIndex:
    """The index after these changes: what went or was replaced is dead, what is new is in the head."""
    rows = upserted.sort("vector_id")
    new_ids: Ids = rows["vector_id"].to_numpy()
    touched = np.union1d(new_ids, removed)
    if not len(touched):
        return VectorIndex(model=index.model, version=version, segments=index.segments)
    is_head = [segment.kind == "flat" and len(segment.ids) <= HEAD_ROWS for segment in index.segments]
    sealed = [_without(segment, touched) for segment, apart in zip(index.segments, is_head, strict=True) if not apart]
    heads = [segment for segment, apart in zip(index.segments, is_head, strict=True) if apart]
    kept = [_alive(_without(segment, touched)) for segment in heads]
    ids = np.concatenate([*(part for part, _ in kept), new_ids])
    vectors = np.concatenate([*(part for _, part in kept), as_matrix(rows["vector"], index.model.dimension)])
    segments = [*sealed, *_head(ids, vectors)]
    return VectorIndex(
        model=index.model, version=version, segments=_merged(segments, total=sum(s.alive_count for s in segments))
    )


def _head(ids: Ids, vectors: Vectors) -> list[Segment]:
    if not len(ids):
        return []
    order = np.argsort(ids)
    return [new_segment(ids[order], vectors[order], kind="flat")]


def _merged(segments: list[Segment], *, total: int) -> list[Segment]:
    """Small flat segments as one, once there are enough rows in them."""
    is_small = [segment.kind == "flat" and HEAD_ROWS < len(segment.ids) < MERGED_ROWS for segment in segments]
    small = [segment for segment, few in zip(segments, is_small, strict=True) if few]
    others = [segment for segment, few in zip(segments, is_small, strict=True) if not few]
    if len(small) < 2 or sum(segment.alive_count for segment in small) < MERGED_ROWS:  # noqa: PLR2004  # one alone is merged
        return segments
    parts = [_alive(segment) for segment in small]
    ids, vectors = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(ids)
    # Beside a graph, comparing each of so many vectors would take longer than the graph does.
    kind: SegmentKind = "hnsw" if kind_for(total) == "hnsw" else "flat"
    return [*others, new_segment(ids[order], vectors[order], kind=kind)]


def _without(segment: Segment, ids: Ids) -> Segment:
    """The segment with these ids dead; the same object where it has none of them alive."""
    places = segment.places(ids)
    if segment.is_dead[places].all():
        return segment
    is_dead: NDArray[np.bool_] = segment.is_dead.copy()
    is_dead[places] = True
    return Segment(name=segment.name, kind=segment.kind, index=segment.index, ids=segment.ids, is_dead=is_dead)


def _alive(segment: Segment) -> tuple[Ids, Vectors]:
    places = np.flatnonzero(~segment.is_dead)
    return segment.ids[places], segment.vectors_at(places)


def _is_patchwork(index: VectorIndex) -> bool:
    if not index.segments:
        return False
    stored = sum(len(segment.ids) for segment in index.segments)
    largest = max(segment.alive_count for segment in index.segments)
    return stored - largest > max(PATCHWORK_RATIO * len(index), HEAD_ROWS)
