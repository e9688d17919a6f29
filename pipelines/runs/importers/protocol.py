"""What every importer is: the interface between a format and the import step.

A format is one module with one class that keeps this protocol; the list of them is `pipelines.runs.importers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from lake.identity import text_digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipelines.runs.importers.frames import ImportBatch
    from pipelines.runs.importers.guide import FormatGuide
    from pipelines.runs.sources import FileHead, Limits, SourceFile


# What a file is to a format that keeps a run in a folder: a part of the run, or something that only lies there.
Claim = Literal["part", "attachment"]


@dataclass(frozen=True, kw_only=True)
class SourceGroup:
    """Files that are read together because they tell of the same runs, in the order of their paths."""

    source_kind: str
    importer_version: int
    files: tuple[SourceFile, ...]

    @property
    def file_count(self) -> int:
        """Files on disk, those of a folder that is read as one counted singly."""
        return sum(file.file_count for file in self.files)

    @property
    def content_digest(self) -> str:
        """Digest of every file of the group and of the importer's version, whatever the files are called."""
        digests = sorted({file.sha256 for file in self.files})
        return text_digest("\x1f".join([self.source_kind, str(self.importer_version), *digests]))


class Importer(Protocol):
    """One format. `version` goes up when the same file would give other rows, which imports it again."""

    @property
    def source_kind(self) -> str:
        """Name of the format, as it stands in silver.runs."""

    @property
    def version(self) -> int:
        """Version of the mapping, from 1."""

    @property
    def guide(self) -> FormatGuide:
        """What the docs say about the format."""

    def detects(self, head: FileHead) -> bool:
        """Whether a file that begins like this is of the format, by content alone."""

    def claims(self, path: Path, /) -> Claim | None:
        """What a file is by the folder that it lies in; None for all formats whose files speak for themselves.

        A "part" is read with its group without being looked at. An "attachment" is left alone unless its own content
        is of a format.
        """

    def group_key(self, file: SourceFile) -> str:
        """Files with the same key are read together.

        Of a part: the folder that it belongs to, and after U+001F what tells two groups of one folder
        apart. The parts of a key reach `read` bound into one file (see `pipelines.runs.bundles`).
        """

    def companions(self, path: Path, /) -> list[Path]:
        """Files beside `path` that belong to the same group, for when only one of them was named."""

    def read(self, group: SourceGroup, *, limits: Limits) -> Iterator[ImportBatch]:
        """Batches of bounded size. Never raises for what a file holds: that becomes rejects."""


class FileImporter:
    """What is the same for formats whose every file stands alone."""

    def claims(self, _path: Path, /) -> Claim | None:
        """Nothing: a file speaks for itself."""
        return None

    def group_key(self, file: SourceFile) -> str:
        """Every file is read by itself."""
        return file.sha256

    def companions(self, _path: Path, /) -> list[Path]:
        """None: a file is complete."""
        return []
