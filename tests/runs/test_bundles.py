from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.runs.bundles import bind, bind_parts, bound_kind
from pipelines.runs.sources import Limits, SourceFile, identify
from tests.runs.mlflow_stores import write_parts, write_run


def files_of(folder: Path) -> list[SourceFile]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [identify(path, root=folder.resolve(), limits=Limits()) for path in paths]


def digest_of(folder: Path, parts: dict[str, str]) -> str:
    write_parts(folder, parts)
    return bind(folder, files_of(folder)).sha256


def test_names_and_contents_make_the_digest_and_the_folders_own_name_does_not(tmp_path: Path) -> None:
    first = digest_of(tmp_path / "a", {"x": "1", "y": "2"})
    assert digest_of(tmp_path / "b", {"y": "2", "x": "1"}) == first
    assert digest_of(tmp_path / "c", {"x": "2", "y": "1"}) != first
    assert digest_of(tmp_path / "d", {"x": "1", "y": "2", "z": ""}) != first


def test_a_folder_counts_as_its_files(tmp_path: Path) -> None:
    write_parts(tmp_path, {"x": "1", "deep/y": "234"})
    bound = bind(tmp_path, reversed(files_of(tmp_path)))
    assert (bound.path, bound.size_bytes, bound.file_count) == (tmp_path, 4, 2)
    assert [part.path.name for part in bound.parts] == ["y", "x"]
    assert bound.modified_ns == max(part.modified_ns for part in bound.parts)
    assert bound.is_unchanged()
    (tmp_path / "x").write_text("12")
    assert not bound.is_unchanged()
    with pytest.raises(ValueError, match="no parts"):
        bind(tmp_path, [])


def test_parts_are_bound_in_the_place_of_the_first_and_others_are_passed_on(tmp_path: Path) -> None:
    write_run(tmp_path, {"params/lr": "0.1"})
    write_run(tmp_path, {"params/lr": "0.1"}, run_id="b" * 32)
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "z.txt").write_text("z")
    found = bind_parts([*files_of(tmp_path), "a refusal"], source_kind=None)
    # The experiment's meta.yaml is shared by both runs and stays a file of its own.
    names = [file if isinstance(file, str) else file.path.name for file in found]
    assert names == ["a.txt", "a" * 32, "b" * 32, "meta.yaml", "z.txt", "a refusal"]
    assert [bound_kind(file) for file in found if isinstance(file, SourceFile)] == [
        None,
        "mlflow",
        "mlflow",
        None,
        None,
    ]
    unbound = bind_parts(files_of(tmp_path), source_kind="lm_eval")
    assert all(isinstance(file, SourceFile) and not file.parts for file in unbound)
