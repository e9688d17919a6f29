"""What an asv result file says of its run: one commit, measured in one environment on one machine.

What belongs here: identity, time, environment, and the units of benchmarks. The measurements are `asv_results.py`.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lake.identity import derived_id
from pipelines.runs.parameters import as_parameters
from pipelines.runs.records import (
    Fault,
    JsonObject,
    RecordError,
    as_instant,
    as_number,
    as_object,
    as_text,
    parse_json,
)
from pipelines.runs.sources import Limits, SourceError, SourceFile, identify, read_pieces

if TYPE_CHECKING:
    from pipelines.runs.importers.protocol import SourceGroup

KIND = "asv"
BENCHMARKS, MACHINE, CONFIG = "benchmarks.json", "machine.json", "asv.conf.json"
# What asv keeps in `params` about the machine; the rest of it are the versions of what was installed.
_MACHINE_KEYS = ("machine", "arch", "cpu", "num_cpu", "os", "ram")
# The configuration is JSON with comments, of which one word is wanted.
_PROJECT = re.compile(rb'^\s*"project"\s*:\s*"([^"\\]+)"', re.MULTILINE)
_NEIGHBOUR_BYTES = 64 << 20


@dataclass(kw_only=True)
class ResultTimes:
    """When the benchmarks ran, gathered over the file; milliseconds and seconds as asv writes them."""

    started_ms: float | None = None
    ended_ms: float | None = None

    def add(self, started_at: object, duration: object) -> None:
        """Take one benchmark's start and length into account."""
        started = as_number(started_at, "started_at", [], minimum=0)
        if started is None:
            return
        seconds = as_number(duration, "duration", [], minimum=0) or 0.0
        self.started_ms = min(started, self.started_ms if self.started_ms is not None else started)
        self.ended_ms = max(started + 1000 * seconds, self.ended_ms or 0.0)


@dataclass(kw_only=True)
class AsvRun:
    """The run of one result file."""

    run_id: str
    run_date: dt.date
    row: JsonObject
    units: dict[str, str] = field(default_factory=dict)


def read_run(header: JsonObject, times: ResultTimes, group: SourceGroup, faults: list[Fault]) -> AsvRun:
    """The run from everything in the file but its results."""
    (file,) = group.files
    params = as_object(header.get("params"))
    committed_at = _instant(header.get("date"), "date", faults)
    started_at = _instant(times.started_ms, "started_at", faults) or committed_at or file.modified_at
    commit, environment = as_text(header.get("commit_hash")), as_text(header.get("env_name"))
    machine = as_text(params.get("machine"))
    identity = (machine, environment, commit) if commit else (file.sha256,)
    run = AsvRun(run_id=derived_id("run", KIND, *identity), run_date=started_at.date(), row={})
    run.row = {
        "run_id": run.run_id,
        "run_date": run.run_date,
        "source_kind": KIND,
        "source_run_id": "-".join(part for part in (commit, environment) if part) or None,
        "file_sha256": file.sha256,
        "content_digest": group.content_digest,
        "suite": project_of(file) or KIND,
        "backend": environment or "unknown",
        "model": "unknown",
        "parameters": as_parameters(
            {
                "env_name": environment,
                "python": header.get("python", params.get("python")),
                "requirements": as_object(header.get("requirements")),
            }
        ),
        "environment": as_parameters(
            {
                **params,
                "env_vars": as_object(header.get("env_vars")),
                "committed_at": committed_at.isoformat() if committed_at else None,
            }
        ),
        "fingerprint": {"hardware": _hardware(params)},
        "code_version": {"commit": commit},
        "started_at": started_at,
        "ended_at": _instant(times.ended_ms, "duration", faults),
        "status": "success",
    }
    return run


def units_of(file: SourceFile) -> dict[str, str]:
    """Units of the benchmarks by name, from the list that lies above the machine's folder; empty without one."""
    content = _neighbour(file, file.path.parent.parent / BENCHMARKS)
    try:
        listed = as_object(parse_json(content)[0]) if content else {}
    except RecordError:
        return {}
    return {name: unit for name, entry in listed.items() if isinstance(unit := as_object(entry).get("unit"), str)}


def project_of(file: SourceFile) -> str | None:
    """The project's name, from asv's configuration above the folder of results."""
    content = _neighbour(file, file.path.parent.parent.parent / CONFIG)
    found = _PROJECT.search(content or b"")
    return found[1].decode("utf-8", "replace") if found else None


def is_companion(path: Path) -> bool:
    """Whether a file is one that asv keeps beside its results."""
    name = path.name.removesuffix(".gz")
    signs = {BENCHMARKS: (b'"version"', b'"type"'), MACHINE: (b'"machine"',), CONFIG: (b'"project"',)}.get(name)
    if signs is None:
        return False
    try:
        file = identify(path, root=path.parent.resolve(), limits=Limits(file_bytes=_NEIGHBOUR_BYTES))
        start = next(read_pieces(file, limits=Limits()), b"")
    except SourceError:
        return False
    return all(sign in start for sign in signs)


def _neighbour(file: SourceFile, path: Path) -> bytes | None:
    """A small file near the result file, if it is inside the folder that was imported."""
    try:
        modified_ns = path.stat().st_mtime_ns
    except OSError:
        return None
    return _read_neighbour(path, file.root, modified_ns)


@lru_cache(maxsize=4)
def _read_neighbour(path: Path, root: Path, _modified_ns: int) -> bytes | None:
    """The same file for every result beside it; the time is part of the key, because asv writes it again."""
    try:
        found = identify(path, root=root, limits=Limits(file_bytes=_NEIGHBOUR_BYTES))
        return b"".join(read_pieces(found, limits=Limits()))
    except SourceError:
        return None


def _instant(milliseconds: object, where: str, faults: list[Fault]) -> dt.datetime | None:
    number = as_number(milliseconds, where, faults, minimum=0)
    return None if number is None else as_instant(number / 1000, where, faults)


def _hardware(params: JsonObject) -> str | None:
    named = {key: text for key in _MACHINE_KEYS if (text := as_text(params.get(key)))}
    return as_parameters({key: named[key] for key in ("machine", "cpu") if key in named})
