"""Where the files of an MLflow file store lie: which folder is a run or a trace, and which files are its parts.

What belongs here: paths, and just enough of meta.yaml to tell what a folder is. Reading the parts is
`mlflow_files.py` and `mlflow_trace_files.py`.

    <experiment>/meta.yaml
    <experiment>/<run>/meta.yaml, params/, metrics/, tags/, inputs/, outputs/, artifacts/
    <experiment>/traces/<trace>/trace_info.yaml, request_metadata/, tags/, assessments/, artifacts/traces.json
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipelines.runs.sources import is_skipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.runs.importers.protocol import Claim

FolderKind = Literal["run", "trace", "experiment"]

META, TRACE_INFO, SPANS_FILE = "meta.yaml", "trace_info.yaml", "artifacts/traces.json"
RUN_PARTS = ("params", "metrics", "tags", "inputs", "outputs")
TRACE_PARTS = ("request_metadata", "tags", "assessments")
# Folders and files below an experiment that betray it; a path without any of them is looked at no further.
_TELLING = frozenset({*RUN_PARTS, *TRACE_PARTS, META, TRACE_INFO, "artifacts", "traces", "models", "datasets"})
_META_BYTES = 1 << 16
_KEY = r"(?m)^{}:"
_IS_RUN = tuple(re.compile(_KEY.format(key).encode()) for key in ("run_(?:id|uuid)", "(?:status|lifecycle_stage)"))
_IS_EXPERIMENT = tuple(re.compile(_KEY.format(key).encode()) for key in ("experiment_id", "artifact_location"))
# What a tracking server that keeps its runs in a database leaves on disk.
_LOOSE_ARTIFACT = re.compile(r"/(?:m-|tr-)?[0-9a-f]{32}/artifacts/")
_DATABASE_LOG = re.compile(r"-(?:wal|shm|journal)$")
_TRACE_DATE = re.compile(rb"(?m)^request_time: *'?(\d{4}-\d{2}-\d{2})")


@dataclass(frozen=True)
class Place:
    """What a path belongs to; `is_part` is False for what only lies there."""

    folder: Path
    kind: FolderKind
    is_part: bool


def is_run_meta(start: bytes) -> bool:
    """Whether a file that begins like this is the meta.yaml of a run."""
    return all(sign.search(start) for sign in _IS_RUN)


def claim_of(path: Path) -> Claim | None:
    """What the path is to MLflow by where it lies."""
    place = place_of(path)
    if place is not None:
        return "part" if place.is_part else "attachment"
    if _LOOSE_ARTIFACT.search(path.as_posix()) or _is_database_log(path):
        return "attachment"
    return None


def place_of(path: Path) -> Place | None:
    """The outermost run or trace that holds the path, else the experiment."""
    found: Place | None = None
    for index in range(1, len(path.parts)):
        if path.parts[index] not in _TELLING:
            continue
        folder = Path(*path.parts[:index])
        kind = kind_of_folder(folder)
        if kind in ("run", "trace"):
            return Place(folder, kind, _is_part(kind, Path(*path.parts[index:])))
        if kind == "experiment":
            found = Place(folder, kind, is_part=False)
    return found


def kind_of_folder(folder: Path) -> FolderKind | None:
    """What a folder is by the file that describes it."""
    if folder.parent.name == "traces" and (folder / TRACE_INFO).is_file():
        return "trace"
    start = _start_of(folder / META)
    if is_run_meta(start):
        return "run"
    return "experiment" if all(sign.search(start) for sign in _IS_EXPERIMENT) else None


def group_of(path: Path) -> str:
    """The key of a part's group: its run's folder, or for traces of no run the folder of traces and their day."""
    place = place_of(path)
    if place is None or place.kind != "trace":
        return str(place.folder if place else path)
    run = _source_run(place.folder)
    if run is not None:
        return str(run)
    day = _TRACE_DATE.search(_start_of(place.folder / TRACE_INFO))
    return f"{place.folder.parent}\x1f{day[1].decode() if day else ''}"


def parts_beside(path: Path) -> list[Path]:
    """All parts of the path's group, and what several groups share: the experiment's meta.yaml, the datasets'."""
    place = place_of(path.absolute())
    if place is None or not place.is_part:
        return []
    key = group_of(path.absolute())
    folder = Path(key.partition("\x1f")[0])
    experiment = folder.parent
    traces = _traces_by_group(experiment / "traces").get(key, ())
    found = [*_files(folder, (META, *RUN_PARTS)), *_shared(folder)] if kind_of_folder(folder) == "run" else []
    found += [part for trace in traces for part in _files(trace, (TRACE_INFO, SPANS_FILE, *TRACE_PARTS))]
    return [part for part in (*found, experiment / META) if part.is_file() and part != path.absolute()]


def _is_part(kind: FolderKind, inside: Path) -> bool:
    if kind == "run":
        return inside.as_posix() == META or inside.parts[0] in RUN_PARTS
    return inside.as_posix() in (TRACE_INFO, SPANS_FILE) or inside.parts[0] in TRACE_PARTS


def _files(folder: Path, names: tuple[str, ...]) -> Iterator[Path]:
    for name in names:
        if (folder / name).is_file():
            yield folder / name
        for parent, folders, files in os.walk(folder / name):
            folders[:] = sorted(below for below in folders if not below.startswith("."))
            yield from (Path(parent, file) for file in sorted(files) if not is_skipped(file))


def _shared(run: Path) -> Iterator[Path]:
    """The datasets that a run names as its inputs; their descriptions lie beside the runs."""
    for meta in (run / "inputs").glob(f"*/{META}"):
        for name in re.findall(rb"(?m)^(?:source|destination)_id: *'?([\w-]+)", _start_of(meta)):
            yield run.parent / "datasets" / name.decode() / META


def _source_run(trace: Path) -> Path | None:
    """The run during which a trace was recorded, if it is in the same experiment."""
    name = _start_of(trace / "request_metadata" / "mlflow.sourceRun").decode("utf-8", "replace").strip()
    folder = trace.parent.parent / name
    return folder if re.fullmatch(r"[\w-]+", name) and kind_of_folder(folder) == "run" else None


def _traces_by_group(traces: Path) -> dict[str, tuple[Path, ...]]:
    try:
        return _indexed_traces(traces, traces.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=16)
def _indexed_traces(traces: Path, _modified_ns: int) -> dict[str, tuple[Path, ...]]:
    """Folders of traces by group; the time is part of the key, because a new trace makes a new folder."""
    groups: dict[str, list[Path]] = {}
    for trace in sorted(folder for folder in traces.iterdir() if kind_of_folder(folder) == "trace"):
        groups.setdefault(group_of(trace / TRACE_INFO), []).append(trace)
    return {key: tuple(folders) for key, folders in groups.items()}


def _start_of(path: Path) -> bytes:
    try:
        facts = path.stat()
        return _read_start(path, facts.st_mtime_ns, facts.st_size) if path.is_file() else b""
    except (OSError, ValueError):
        return b""


@lru_cache(maxsize=1024)
def _read_start(path: Path, _modified_ns: int, _size_bytes: int) -> bytes:
    """The first 64 KiB; time and size are part of the key, because files are written again."""
    with path.open("rb") as stream:
        return stream.read(_META_BYTES)


def _is_database_log(path: Path) -> bool:
    """Whether it is the log that SQLite keeps beside a database that is in use."""
    base, count = _DATABASE_LOG.subn("", path.name)
    return bool(count and base) and _start_of(path.with_name(base)).startswith(b"SQLite format 3\0")
