"""A vector index on disk: files that are never changed, and a manifest that names those which count.

The manifest is replaced in one move, so a reader sees the index before or after a change and never half of one, and a
kill leaves files that nothing names, which the next write removes. Every file's digest is in the manifest: FAISS reads
a damaged file as it is, or crashes on it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from lake.errors import BenchlakeError
from lake.identity import file_digest, json_digest
from pipelines.embeddings.embedder import ModelIdentity
from pipelines.embeddings.index import VectorIndex
from pipelines.embeddings.segments import Ids, Segment, SegmentKind, set_search_effort

MANIFEST = "manifest.json"
LOCK = "write.lock"
# Raise it when what is written below changes: an index of another format is built again.
_FORMAT = 1
# A reader that opened the manifest just before it was replaced finds its files gone, and reads the new one.
_READS = 3


class IndexUnusableError(BenchlakeError):
    """The files of an index are missing, damaged or of something else. They can be made again from the table."""


@dataclass(frozen=True, kw_only=True)
class SegmentFiles:
    """The files of a segment and their digests by name; `dead` is None while every vector lives."""

    name: str
    kind: SegmentKind
    vectors: str
    ids: str
    dead: str | None
    digests: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an index is made of: model, table and version, and the segments."""

    model: ModelIdentity
    table_id: str | None
    version: int
    segments: tuple[SegmentFiles, ...]

    @property
    def names(self) -> frozenset[str]:
        """Every file that counts."""
        return frozenset(name for segment in self.segments for name in segment.digests)


def index_folder(indexes: Path, *, lake_uri: str, model: ModelIdentity) -> Path:
    """Where the index of a model over a lake is kept below `indexes`; another model or lake has another place."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", model.model_name).strip("-")[:60]
    return indexes / f"{readable}-{json_digest([lake_uri, dataclasses.astuple(model)])[:12]}"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the index in `folder`; raises `IndexUnusableError` that says why there is none."""
    try:
        content = orjson.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise IndexUnusableError("there is none yet") from None
    except (OSError, orjson.JSONDecodeError) as error:
        raise IndexUnusableError(f"its manifest cannot be read ({error})") from error
    try:
        if content["format"] != _FORMAT:
            raise IndexUnusableError("another release wrote it")
        return Manifest(
            model=ModelIdentity(**content["model"]),
            table_id=content["table_id"],
            version=int(content["version"]),
            segments=tuple(SegmentFiles(**files) for files in content["segments"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise IndexUnusableError(f"its manifest is damaged ({error!r})") from error


def load_index(
    folder: Path, *, model: ModelIdentity, table_id: str | None, known: VectorIndex | None = None
) -> VectorIndex:
    """The index in `folder`; segments that `known` has loaded already are taken from there.

    Raises `IndexUnusableError` when it is of another model or table, or a file is not what the manifest says.
    """
    loaded = {segment.name: segment for segment in known.segments} if known is not None else {}
    missing = ""
    for _ in range(_READS):
        manifest = read_manifest(folder)
        if manifest.model != model:
            raise IndexUnusableError(f"it is of {manifest.model.model_name}, revision {manifest.model.revision}")
        if manifest.table_id != table_id:
            raise IndexUnusableError("its table was deleted or made anew")
        try:
            segments = [_load_segment(folder, files, loaded.get(files.name)) for files in manifest.segments]
        except FileNotFoundError as error:
            missing = Path(error.filename).name
            continue
        return VectorIndex(model=model, version=manifest.version, segments=segments)
    raise IndexUnusableError(f"{missing} is missing")


def save_index(folder: Path, index: VectorIndex, *, table_id: str | None) -> None:
    """Write what of `index` is not on disk yet, make it the index of `folder`, and remove what no longer counts."""
    folder.mkdir(parents=True, exist_ok=True)
    standing: dict[str, SegmentFiles] = {}
    with contextlib.suppress(IndexUnusableError):
        standing = {files.name: files for files in read_manifest(folder).segments}
    manifest = Manifest(
        model=index.model,
        table_id=table_id,
        version=index.version,
        segments=tuple(_save_segment(folder, segment, standing.get(segment.name)) for segment in index.segments),
    )
    unfinished = folder / f"{MANIFEST}.{uuid.uuid4().hex[:8]}"
    unfinished.write_bytes(orjson.dumps({"format": _FORMAT, **dataclasses.asdict(manifest)}))
    unfinished.replace(folder / MANIFEST)
    _sweep(folder, manifest.names)


def _sweep(folder: Path, kept: Collection[str]) -> None:
    for path in folder.iterdir():
        if path.name not in {MANIFEST, LOCK, *kept}:
            # On some systems a file that is being read cannot be removed; the next write will.
            with contextlib.suppress(OSError):
                path.unlink()


def _save_segment(folder: Path, segment: Segment, standing: SegmentFiles | None) -> SegmentFiles:
    vectors, ids = f"{segment.name}.faiss", f"{segment.name}.ids.npy"
    if standing is None:
        import faiss

        faiss.write_index(segment.index, os.fspath(folder / vectors))
        np.save(folder / ids, segment.ids)
        digests = {name: file_digest(folder / name) for name in (vectors, ids)}
    else:
        digests = {name: standing.digests[name] for name in (vectors, ids)}
    dead = None
    if segment.dead_count:
        packed = np.packbits(segment.is_dead)
        # Named by what it holds, so that it is written once however often the index is saved.
        dead = f"{segment.name}.dead-{json_digest(packed.tobytes().hex())[:12]}.npy"
        np.save(folder / dead, packed)
        digests[dead] = file_digest(folder / dead)
    return SegmentFiles(name=segment.name, kind=segment.kind, vectors=vectors, ids=ids, dead=dead, digests=digests)


def _load_segment(folder: Path, files: SegmentFiles, known: Segment | None) -> Segment:
    if known is None:
        import faiss

        for name in (files.vectors, files.ids):
            _verify(folder, name, files.digests)
        index: Any = faiss.read_index(os.fspath(folder / files.vectors))
        if files.kind == "hnsw":
            set_search_effort(index)
        ids: Ids = np.load(folder / files.ids)
    else:
        index, ids = known.index, known.ids
    return Segment(name=files.name, kind=files.kind, index=index, ids=ids, is_dead=_load_dead(folder, files, len(ids)))


def _load_dead(folder: Path, files: SegmentFiles, row_count: int) -> NDArray[np.bool_]:
    if files.dead is None:
        return np.zeros(row_count, dtype=np.bool_)
    _verify(folder, files.dead, files.digests)
    return np.unpackbits(np.load(folder / files.dead), count=row_count).astype(np.bool_)


def _verify(folder: Path, name: str, digests: Mapping[str, str]) -> None:
    if file_digest(folder / name) != digests[name]:
        raise IndexUnusableError(f"{name} is damaged")
