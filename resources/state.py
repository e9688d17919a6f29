"""Where Benchlake keeps what it makes: lake, landing folder, model cache, Dagster home.

Everything lives under one folder, `.benchlake` beside the project unless `BENCHLAKE_HOME` moves it; `BENCHLAKE_LAKE`
puts the tables elsewhere, for instance into an object store. What is configured, as opposed to where things are, is
`resources/config.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Run retries of failed runs would repeat a night whose gate failed; queue per table so that writers do not race.
DAGSTER_YAML = """\
# Written by Benchlake on first use; edit freely, it is not written again.
telemetry: {enabled: false}
nux: {enabled: false}
run_monitoring: {enabled: true}
run_retries: {enabled: true, max_retries: 1, retry_on_asset_or_op_failure: false}
concurrency:
  runs: {max_concurrent_runs: 2}
  pools: {granularity: op, default_limit: 1}
"""


@dataclass(frozen=True, kw_only=True)
class State:
    """The folders of one installation; none need exist yet."""

    home: Path
    lake_uri: str

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, folder: Path) -> State:
        """State for a process started in `folder`: `BENCHLAKE_HOME` and `BENCHLAKE_LAKE`, else `folder/.benchlake`."""
        home = Path(environ.get("BENCHLAKE_HOME") or folder / ".benchlake").expanduser()
        home = home if home.is_absolute() else folder / home
        return cls(home=home.resolve(), lake_uri=environ.get("BENCHLAKE_LAKE") or str(home.resolve() / "lake"))

    @property
    def landing(self) -> Path:
        """Files dropped here are imported."""
        return self.home / "landing"

    @property
    def work(self) -> Path:
        """Unfinished run files, from which a killed suite run resumes."""
        return self.home / "work"

    @property
    def models(self) -> Path:
        """Converted model weights."""
        return self.home / "models"

    @property
    def indexes(self) -> Path:
        """Vector indexes: made from the lake, and made again when they are gone."""
        return self.home / "indexes"

    @property
    def optimization(self) -> Path:
        """Answers of language models, from which an optimisation run is taken up, and its lock."""
        return self.home / "optimization"

    @property
    def reports(self) -> Path:
        """Reports that nights write, a folder a date."""
        return self.home / "reports"

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance: run history, schedules, logs."""
        return self.home / "dagster"

    def prepare(self) -> State:
        """Create the folders and a quiet, persistent `dagster.yaml`; returns itself."""
        for path in (self.landing, self.work, self.models, self.dagster_home):
            path.mkdir(parents=True, exist_ok=True)
        settings = self.dagster_home / "dagster.yaml"
        if not settings.exists():
            settings.write_text(DAGSTER_YAML, encoding="utf-8")
        return self

    def environ(self) -> dict[str, str]:
        """Variables that make a child process use this state, whatever its working folder."""
        return {
            "BENCHLAKE_HOME": str(self.home),
            "BENCHLAKE_LAKE": self.lake_uri,
            "DAGSTER_HOME": str(self.dagster_home),
        }
