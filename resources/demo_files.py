"""The small sample files of every format that Benchlake ships, and putting them where they are imported.

What belongs here: which samples there are, copying them into the landing folder and taking them away again. They are
in `resources/defaults/demo`, our own content written by the tools themselves where `contents.yaml` says so; importing
them is `pipelines/runs/steps.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

SHIPPED = Path(__file__).parent / "defaults" / "demo"
_CONTENTS = "contents.yaml"
# The folder below the landing folder.
FOLDER = "demo"


class DemoSource(BaseModel):
    """The samples of one tool: a folder of files that are imported together or one by one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str = Field(pattern=r"^[a-z_]+$")
    source_kind: str
    made_with: str
    is_hand_written: bool = False
    shows: str

    def files(self) -> Iterator[Path]:
        """The files, relative to the folder of all samples."""
        yield from (path.relative_to(SHIPPED) for path in sorted((SHIPPED / self.folder).rglob("*")) if path.is_file())


@dataclass(frozen=True, kw_only=True)
class Placed:
    """What was done for one source: files written now, files that stood already, and where."""

    source: DemoSource
    folder: Path
    written_count: int
    standing_count: int


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """Files taken away, and files of the samples' names that somebody has changed, which stay."""

    removed_count: int
    changed: tuple[Path, ...]


def demo_sources() -> tuple[DemoSource, ...]:
    """Every source of samples, in the order of the docs."""
    import yaml

    entries = yaml.safe_load((SHIPPED / _CONTENTS).read_text(encoding="utf-8"))
    return tuple(DemoSource.model_validate(entry) for entry in entries)


def place_demo(landing: Path) -> list[Placed]:
    """Copy the samples below `landing`; a file that stands there as it is shipped is not written again."""
    return [_place(source, landing / FOLDER) for source in demo_sources()]


def clean_demo(landing: Path) -> Cleaned:
    """Take away from `landing` what `place_demo` put there and nobody has changed, and folders that this empties."""
    removed, changed = 0, []
    for source in demo_sources():
        for name in source.files():
            path = landing / FOLDER / name
            if not path.is_file():
                continue
            if path.read_bytes() != (SHIPPED / name).read_bytes():
                changed.append(path)
                continue
            path.unlink()
            removed += 1
    _remove_empty(landing / FOLDER)
    return Cleaned(removed_count=removed, changed=tuple(changed))


def _place(source: DemoSource, target: Path) -> Placed:
    written = standing = 0
    for name in source.files():
        content, path = (SHIPPED / name).read_bytes(), target / name
        if path.is_file() and path.read_bytes() == content:
            standing += 1
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        # An import that runs meanwhile must not read half a file; it leaves hidden names alone.
        hidden = path.with_name(f".{path.name}.part")
        hidden.write_bytes(content)
        hidden.replace(path)
        written += 1
    return Placed(source=source, folder=target / source.folder, written_count=written, standing_count=standing)


def _remove_empty(folder: Path) -> None:
    # The deepest come first when paths are sorted backwards.
    for inner in [*sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True), folder]:
        if inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()
