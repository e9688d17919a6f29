"""The suite that a word means: a file, a version saved in the lake, or one that Benchlake ships."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lake.errors import UserError
from pipelines.runs.suite_references import Purpose
from pipelines.runs.suite_registry import load_saved_suite
from pipelines.runs.suites import WrittenSuite, read_suite
from resources.config import DEFAULTS

if TYPE_CHECKING:
    from resources.installation import Installation

Place = Literal["file", "saved", "shipped"]
_ENDING = ".suite.yaml"


def choose_suite(
    installation: Installation,
    reference: str,
    *,
    order: Sequence[Place] = ("file", "saved", "shipped"),
    purpose: Purpose = "ask",
) -> WrittenSuite:
    """The first suite that is found under `reference`, looking at the places in `order`.

    The night looks at shipped suites before saved ones, because it saves what it asks: looked at the other way
    round, an upgraded shipped suite would never be asked. Raises `UserError` when there is none anywhere; a file or
    a saved suite that is there but wrong is told as it is.
    """
    missing: UserError | None = None
    for place in order:
        if place == "saved":
            try:
                return load_saved_suite(installation.lake, reference, purpose=purpose)
            except UserError as error:
                if _is_saved(installation, reference):
                    raise
                missing = error
        elif (path := _path(installation.folder, reference, place=place)) is not None:
            return read_suite(path)
    shipped = ", ".join(sorted(path.name.removesuffix(_ENDING) for path in DEFAULTS.glob(f"*{_ENDING}")))
    raise UserError(
        f"There is no suite {reference!r}: no such file in {installation.folder}, none that is shipped ({shipped}). "
        f"{missing}"
    )


def _path(folder: Path, reference: str, *, place: Place) -> Path | None:
    path = folder / reference if place == "file" else DEFAULTS / f"{reference}{_ENDING}"
    return path if path.is_file() else None


def _is_saved(installation: Installation, reference: str) -> bool:
    """Whether the name before any version is that of a saved suite, so that the mistake is in the rest."""
    names = installation.lake.read("silver.suites", columns=["suite"])["suite"]
    return reference in names or reference.rpartition("@")[0] in names
