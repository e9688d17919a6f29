"""Libraries kept off the network and out of the home folder, as `resources/language_models` does it."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import pytest

from lake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def local_libraries(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ.setdefault("DSPY_CACHEDIR", str(tmp_path_factory.mktemp("dspy")))
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "true")
    with warnings.catch_warnings():
        # What DSPy's own dependencies say while they are imported is not ours to mend.
        warnings.simplefilter("ignore")
        import dspy
        import dspy.teleprompt  # noqa: F401


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")
