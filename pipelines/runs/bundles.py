"""Folders that a format reads as one: their files, bound together under one digest.

What belongs here: binding. Which files are parts of what is each importer's `claims`, reading them is the importer.

A folder of tiny files cannot be marked file by file: half of them hold the same few bytes in every run, and a part
that took on another run's value would look as if it had been imported. So names and contents count together.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lake.identity import text_digest
from pipelines.runs.importers import IMPORTERS
from pipelines.runs.sources import SourceFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipelines.runs.importers import Importer

_Other = TypeVar("_Other")


def bind_parts(files: Iterable[SourceFile | _Other], *, source_kind: str | None) -> list[SourceFile | _Other]:
    """The files with the parts of each folder bound into one, in the place of its first part.

    With `source_kind` only that format's folders are bound. Entries that are no files are passed on.
    """
    given = list(files)
    by_path = {file.path: file for file in given if isinstance(file, SourceFile)}
    folders: dict[tuple[str, str], list[SourceFile]] = {}
    places: list[SourceFile | _Other | tuple[str, str]] = []
    for file in given:
        kind = _claiming_kind(file, source_kind) if isinstance(file, SourceFile) else None
        if kind is None or not isinstance(file, SourceFile):
            places.append(file)
            continue
        key = (kind, IMPORTERS[kind].group_key(file))
        if key not in folders:
            places.append(key)
        folders.setdefault(key, []).append(file)
    return [
        _bind_folder(IMPORTERS[place[0]], place[1], folders[place], by_path) if isinstance(place, tuple) else place
        for place in places
    ]


def bind(folder: Path, parts: Iterable[SourceFile]) -> SourceFile:
    """The parts as one file, with a digest of what they hold and where they lie in the folder.

    They lie in the order of their names. Raises `ValueError` if there are none.
    """
    named = sorted((Path(os.path.relpath(part.path, folder)).as_posix(), part) for part in parts)
    if not named:
        raise ValueError(f"{folder} has no parts")
    ordered = tuple(part for _, part in named)
    return SourceFile(
        path=folder,
        root=ordered[0].root,
        sha256=text_digest("\x1f".join(f"{name}\x1f{part.sha256}" for name, part in named)),
        size_bytes=sum(part.size_bytes for part in ordered),
        modified_ns=max(part.modified_ns for part in ordered),
        parts=ordered,
    )


def bound_kind(file: SourceFile) -> str | None:
    """The format that a bound folder is of; None for a file."""
    return next((kind for part in file.parts if (kind := _claiming_kind(part, None))), None)


def _claiming_kind(file: SourceFile, source_kind: str | None) -> str | None:
    kinds = IMPORTERS if source_kind is None else (source_kind,)
    return next((kind for kind in kinds if IMPORTERS[kind].claims(file.path) == "part"), None)


def _bind_folder(importer: Importer, key: str, parts: list[SourceFile], by_path: dict[Path, SourceFile]) -> SourceFile:
    """The parts and those of their companions that were given too, such as what several folders share."""
    beside = (by_path.get(path.resolve()) for path in importer.companions(parts[0].path))
    found = {file.path: file for file in (*parts, *beside) if file is not None}
    return bind(Path(key.partition("\x1f")[0]), found.values())
