"""The installation: lake, configuration, suite, policy and folders in one plain object.

The CLI uses it as it is; `resources/dagster_resources.py` hands the same object to assets.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lake.store import Lake
from resources.config import Config
from resources.state import State

if TYPE_CHECKING:
    from pipelines.embeddings.embedder import Embedder
    from pipelines.embeddings.service import EmbeddingService
    from pipelines.evidence.policy import Policy
    from pipelines.runs.suites import Suite, WrittenSuite
    from pipelines.trends.code_history import CodeHistory

# How far long work is: done, total, what is being done.
Progress = Callable[[int, int, str], None]


class Installation:
    """Everything a step needs from outside, read once: folders, configuration, lake, suite, policy."""

    def __init__(
        self,
        *,
        folder: Path,
        state: State | None = None,
        config: Config | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        self.folder = folder
        self.on_progress = on_progress
        self.state = (state or State.from_environ(os.environ, folder=folder)).prepare()
        self.config = config or Config.load(folder)
        self._embedders: dict[str | None, Embedder] = {}

    @cached_property
    def lake(self) -> Lake:
        """The configured lake."""
        return self.config.open_lake(self.state)

    @property
    def code_history(self) -> CodeHistory:
        """The repository in which commits of runs are looked for."""
        from resources.code_history import GitHistory

        return GitHistory(folder=self.folder / (self.config.trends.repository or ""))

    @cached_property
    def landing(self) -> Path:
        """The landing folder."""
        return self.config.landing(self.state, folder=self.folder)

    @cached_property
    def suite(self) -> Suite:
        """The suite that the night runs."""
        return self.written_suite.suite

    @cached_property
    def written_suite(self) -> WrittenSuite:
        """The suite that the night runs, with its text: a file, else a shipped suite, else a saved one."""
        from resources.suite_choice import choose_suite

        return choose_suite(self, self.config.nightly.suite, order=("file", "shipped", "saved"))

    @cached_property
    def policy(self) -> Policy:
        """The policy that judges."""
        from pipelines.evidence.policy import load_policy

        return load_policy(self.config.policy_path(self.folder))

    @cached_property
    def embedder(self) -> Embedder:
        """The configured embedding model; loaded when it is first asked."""
        return self.open_embedder(None)

    def open_embedder(self, model: str | None) -> Embedder:
        """The embedder of a model as configuration names them, the configured one for None; opened once."""
        if model not in self._embedders:
            from resources.embedders import open_embedder

            config = self.config.embeddings
            if model is not None and model != config.model:
                config = config.model_copy(update={"model": model, "revision": None})
            self._embedders[model] = open_embedder(config, folder=self.folder, models=self.state.models)
        return self._embedders[model]

    @cached_property
    def embeddings(self) -> EmbeddingService:
        """Vectors of texts and the index over them."""
        from pipelines.embeddings.service import EmbeddingService

        return EmbeddingService(self.lake, open_embedder=self.open_embedder, indexes=self.state.indexes)
