"""Which files an import reads, in which groups, and what it says about it afterwards.

What belongs here: decisions, made from files and from the marks of earlier imports. Reading formats is `importers/`,
writing is `steps.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from lake.validation import Reject, reject_rows
from pipelines.runs.bundles import bound_kind
from pipelines.runs.importers import IMPORTERS, REGISTRY_VERSION, SourceGroup, detect_importer, importer_of
from pipelines.runs.importers.frames import STEP, ImportBatch
from pipelines.runs.redaction import redact_text
from pipelines.runs.sources import Limits, SourceError, SourceFile, identify, is_skipped, read_head, walk_files

if TYPE_CHECKING:
    import datetime as dt

# Stands as the source kind of files that no importer knew.
UNKNOWN_KIND = "unknown"
MAX_MESSAGES = 20


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What an import did. `messages` has a sentence a problem, at most 20 and then how many more.

    `files`, `runs` and `samples` count what was read now; `unchanged_files` what was there already. `run_dates` are
    the UTC dates whose evidence may have to be computed again.
    """

    files: int
    runs: int
    samples: int
    rejects: int
    unchanged_files: int
    run_dates: frozenset[dt.date]
    messages: tuple[str, ...]


@dataclass(frozen=True)
class Refusal:
    """A whole file that was not read; `file` is None when it could not even be hashed."""

    uri: str
    rule: str
    message: str
    file: SourceFile | None = None

    @property
    def reject(self) -> pl.DataFrame:
        """Its row of bronze.rejects."""
        entry = Reject(record_index=None, rule=self.rule, message=redact_text(self.message), raw=None)
        sha256 = self.file.sha256 if self.file else None
        return reject_rows(table=STEP, source_uri=self.uri, source_sha256=sha256, entries=[entry])


@dataclass(frozen=True)
class Candidate:
    """A file that may be imported, and the folder that it must lie in."""

    path: Path
    root: Path


@dataclass(frozen=True)
class Mark:
    """That a file was imported, from bronze.run_files."""

    source_kind: str
    importer_version: int


Marks = Mapping[str, Sequence[Mark]]


@dataclass(kw_only=True)
class ImportPlan:
    """Groups to read, files that cannot be, and how many are in the lake already."""

    groups: list[SourceGroup] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    unchanged_files: int = 0


def find_candidates(paths: Iterable[str | Path], *, root: str | Path | None) -> Iterator[Candidate | Refusal]:
    """Files behind `paths`, folders with all below them.

    Without `root`, a folder is its own root, so that a link in it cannot lead out; a file that is named was meant. With
    a named file come those beside it that belong to the same invocation, so that a part is never taken for all.
    """
    fixed = Path(root).expanduser().resolve() if root is not None else None
    for given in paths:
        path = Path(given).expanduser()
        if not path.exists():
            yield Refusal(str(path), "readable", f"{path} does not exist.")
        elif path.is_dir():
            inside = fixed or path.resolve()
            if not path.resolve().is_relative_to(inside):
                yield Refusal(str(path), "inside_root", f"{path} leads outside {inside} and was not read.")
                continue
            yield from (Candidate(found, inside) for found in walk_files(path))
        else:
            yield Candidate(path, fixed or path.resolve().parent)
            # Each in its own folder: a link among them must not lead out, and a part may lie beside the part named.
            beside = ((found, fixed or found.parent.resolve()) for found in _companions(path))
            yield from (
                Candidate(found, inside) for found, inside in beside if found.parent.resolve().is_relative_to(inside)
            )


def identify_files(candidates: Iterable[Candidate | Refusal], *, limits: Limits) -> Iterator[SourceFile | Refusal]:
    """Hash every candidate once, however many paths lead to it."""
    seen: set[Path] = set()
    for candidate in candidates:
        if isinstance(candidate, Refusal):
            yield candidate
            continue
        try:
            file = identify(candidate.path, root=candidate.root, limits=limits)
        except SourceError as error:
            yield Refusal(str(candidate.path), error.rule, str(error))
            continue
        if file.path not in seen:
            seen.add(file.path)
            yield file


def plan_import(
    files: Iterable[SourceFile | Refusal], marks: Marks, *, source_kind: str | None, limits: Limits
) -> ImportPlan:
    """Group the files by format and invocation and leave out the groups whose every file is marked."""
    plan = ImportPlan()
    grouped: dict[tuple[str, str], list[SourceFile]] = {}
    for file in files:
        if isinstance(file, Refusal):
            plan.refusals.append(file)
            continue
        kind = (
            _named_kind(file, source_kind, limits)
            if source_kind is not None
            else bound_kind(file) or _marked_kind(marks.get(file.sha256, ())) or _detected_kind(file, limits)
        )
        if isinstance(kind, Refusal):
            plan.refusals.append(kind)
        elif kind == UNKNOWN_KIND:
            plan.unchanged_files += 1
        else:
            key = file.sha256 if file.parts else importer_of(kind).group_key(file)
            grouped.setdefault((kind, key), []).append(file)
    known: set[tuple[str, ...]] = set()
    for (kind, _), members in grouped.items():
        group = SourceGroup(
            source_kind=kind, importer_version=importer_of(kind).version, files=tuple(_distinct(members))
        )
        if _is_marked(group, marks) or (kind, *_digests(group)) in known:
            plan.unchanged_files += sum(file.file_count for file in members)
            continue
        known.add((kind, *_digests(group)))
        plan.unchanged_files += len(members) - len(group.files)
        plan.groups.append(group)
    return plan


def mark_rows(group: SourceGroup, batches: Sequence[BatchSummary], *, now: dt.datetime) -> dict[str, pl.DataFrame]:
    """Rows of bronze.run_files for a group that is all in the lake, by token."""
    rows = {}
    for file in group.files:
        parts = [batch for batch in batches if batch.sha256 == file.sha256]
        rows[mark_token(file.sha256, group.importer_version)] = _mark_frame(
            file,
            group.source_kind,
            group.importer_version,
            run_ids=sorted(
                {run_id for batch in parts for run_id in batch.run_ids}
                | {run_id for batch in batches for run_id, header in batch.headers if header == file.sha256}
            ),
            records=sum(batch.records for batch in parts),
            rejects=sum(batch.rejects for batch in parts),
            now=now,
        )
    return rows


def refusal_marks(refusals: Iterable[Refusal], *, now: dt.datetime) -> dict[str, pl.DataFrame]:
    """Marks of files that no importer knew, so that they are not opened again until an importer changes."""
    return {
        mark_token(refusal.file.sha256, REGISTRY_VERSION): _mark_frame(
            refusal.file, UNKNOWN_KIND, REGISTRY_VERSION, run_ids=[], records=0, rejects=1, now=now
        )
        for refusal in refusals
        if refusal.file is not None
    }


def mark_token(sha256: str, version: int) -> str:
    """The token by which a mark lands once."""
    return f"{sha256}:{version}"


def raw_token(batch: ImportBatch, version: int) -> str:
    """The token by which the raw records of a batch land once."""
    return f"{batch.file.sha256}:{version}:{batch.chunk}"


@dataclass(frozen=True, kw_only=True)
class BatchSummary:
    """What is remembered of a batch once its rows are written; `headers` pairs its runs with their header's file."""

    sha256: str
    records: int
    rejects: int
    run_ids: frozenset[str]
    headers: frozenset[tuple[str, str]]


def summarise(batch: ImportBatch) -> BatchSummary:
    """Counts and runs of a batch."""
    ids = {run_id for frame in (batch.runs, batch.outputs) for run_id in frame["run_id"].unique()}
    return BatchSummary(
        sha256=batch.file.sha256,
        records=batch.record_count,
        rejects=batch.rejects.height,
        run_ids=frozenset(ids),
        headers=frozenset(batch.runs.select("run_id", "file_sha256").iter_rows()),
    )


def cap_messages(messages: Iterable[str]) -> tuple[str, ...]:
    """The first 20 different messages and how many more there are."""
    distinct = list(dict.fromkeys(messages))
    more = len(distinct) - MAX_MESSAGES
    return (*distinct[:MAX_MESSAGES], f"and {more} more") if more > 0 else tuple(distinct)


def _companions(path: Path) -> list[Path]:
    beside = {found for importer in IMPORTERS.values() for found in importer.companions(path)}
    return sorted(found for found in beside if found.is_file() and not is_skipped(found.name))


def _marked_kind(marks: Sequence[Mark]) -> str | None:
    """The format of a file by its mark, which spares opening it; only if that importer is still the same."""
    for mark in marks:
        importer = IMPORTERS.get(mark.source_kind)
        if importer is not None and importer.version == mark.importer_version:
            return mark.source_kind
        if mark == Mark(UNKNOWN_KIND, REGISTRY_VERSION):
            return UNKNOWN_KIND
    return None


def _named_kind(file: SourceFile, source_kind: str, limits: Limits) -> str | Refusal:
    """The format that was named, unless the content is plainly another: read as that, it would be a run of nothing."""
    try:
        importer = detect_importer(read_head(file, limits=limits))
    except (SourceError, OSError):
        return source_kind
    claims = {kind: other.claims(file.path) for kind, other in IMPORTERS.items()} if importer is None else {}
    if "attachment" in claims.values():
        return UNKNOWN_KIND
    owner = importer.source_kind if importer else next((kind for kind, claim in claims.items() if claim), source_kind)
    if owner == source_kind:
        return source_kind
    # Without the file there is no mark, which would keep the right importer from it later.
    reason = "content" if importer else "folder"
    message = f"{file.path} is {owner} by its {reason}, not {source_kind}; leave the format out."
    return Refusal(file.uri, "format", message)


def _detected_kind(file: SourceFile, limits: Limits) -> str | Refusal:
    try:
        importer = detect_importer(read_head(file, limits=limits))
    except SourceError as error:
        return UNKNOWN_KIND if _is_attachment(file) else Refusal(file.uri, error.rule, f"{file.path}: {error}", file)
    except OSError as error:
        return Refusal(file.uri, "readable", f"{file.path} cannot be read: {error.strerror}.")
    if importer is None and _is_attachment(file):
        return UNKNOWN_KIND
    if importer is None:
        return Refusal(
            file.uri,
            "format",
            f"{file.path} is of no format that is known here (docs/formats.md). If it is, name it with --format.",
            file,
        )
    return importer.source_kind


def _is_attachment(file: SourceFile) -> bool:
    """Whether the file only lies in a format's folder, and may be anything."""
    return any(importer.claims(file.path) == "attachment" for importer in IMPORTERS.values())


def _distinct(files: Sequence[SourceFile]) -> list[SourceFile]:
    """Files in the order of their paths; equal content within a group counts once."""
    return list({file.sha256: file for file in sorted(files, key=lambda file: file.path, reverse=True)}.values())[::-1]


def _digests(group: SourceGroup) -> list[str]:
    return sorted(file.sha256 for file in group.files)


def _is_marked(group: SourceGroup, marks: Marks) -> bool:
    mark = Mark(group.source_kind, group.importer_version)
    return all(mark in marks.get(file.sha256, ()) for file in group.files)


def _mark_frame(
    file: SourceFile, kind: str, version: int, *, run_ids: list[str], records: int, rejects: int, now: dt.datetime
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "file_sha256": [file.sha256],
            "importer_version": [version],
            "source_kind": [kind],
            "uri": [file.uri],
            "size_bytes": [file.size_bytes],
            "run_ids": [run_ids],
            "record_count": [records],
            "reject_count": [rejects],
            "imported_at": [now],
        },
        schema_overrides={"importer_version": pl.Int32, "run_ids": pl.List(pl.String)},
    )
