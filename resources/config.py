"""Configuration: `benchlake.toml`, the defaults shipped with the package, and the environment that overrides both.

Secrets are never configuration: a backend names the environment variable that holds its key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lake.errors import UserError
from lake.store import Lake
from resources.attribution_config import AttributionConfig
from resources.backends import BackendConfig
from resources.embedding_models.configuration import EmbeddingsConfig
from resources.language_models.configuration import LanguageModelConfig
from resources.optimization_config import OptimizationConfig
from resources.state import State

FILE_NAME = "benchlake.toml"
DEFAULTS = Path(__file__).parent / "defaults"
_CRON = re.compile(r"[\d*/,\-]+(?: [\d*/,\-]+){2}(?: [\w*/,\-]+){2}")


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{name!r} is no IANA time zone, such as Europe/Berlin") from None
    return name


def _five_fields(cron: str) -> str:
    if not _CRON.fullmatch(cron):
        raise ValueError(f"{cron!r} is not five cron fields (minute hour day month weekday), such as 0 2 * * *")
    return cron


TrendSeverity = Literal["block", "warn"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NightlyConfig(_Section):
    """What a night runs, and when the schedule starts it."""

    suite: str = Field(
        default="starter",
        description="Path of a suite file, name of a shipped suite, or a saved one: NAME, NAME@VERSION or a digest.",
    )
    backends: list[str] = Field(
        default=["llama.cpp", "transformers"], description="Backends that answer the suite, by name."
    )
    repeats: int = Field(default=1, ge=1, description="How often each sample is asked.")
    scored_samples: int = Field(
        default=24,
        ge=0,
        description="Samples whose tokens each backend scores of the one it is compared with; 0 scores none.",
    )
    cron: Annotated[str, AfterValidator(_five_fields)] = Field(default="0 2 * * *", description="Start of the night.")
    time_zone: Annotated[str, AfterValidator(_known_zone)] = Field(
        default="UTC", description="IANA time zone of the schedule."
    )
    tags: list[str] = Field(default=["nightly"], description="Tags of the runs that the night makes.")


class LakeConfig(_Section):
    """Where the tables are."""

    storage_options: dict[str, str] = Field(
        default_factory=dict, description="Options of the object store, as delta-rs names them; no secrets."
    )


class ImportConfig(_Section):
    """What is imported besides the night's own runs."""

    landing: str | None = Field(default=None, description="Landing folder; default <BENCHLAKE_HOME>/landing.")


class GatesConfig(_Section):
    """Which policy judges."""

    policy: str = Field(default="gates.yaml", description="Policy file; the shipped one when it does not exist.")


class DatabitsConfig(_Section):
    """What is known of the units of suites, and who looks at the curation queue first."""

    suite_licenses: dict[str, str] = Field(
        default_factory=dict, description="Licences of suites by name, as SPDX expressions; unknown where absent."
    )
    assistant: str | None = Field(
        default=None,
        description="Backend that labels items of the curation queue; the night's first when absent, none when empty.",
    )
    labels_per_night: int = Field(default=10, ge=0, description="Items that the assistant labels in a night.")


class ExamplesConfig(_Section):
    """What the night does for the example store."""

    probes_per_night: int = Field(
        default=8, ge=0, description="Samples of the night's suite that are asked again with one example; 0 for none."
    )
    probe_backend: str | None = Field(default=None, description="Backend that is asked; the night's first if absent.")


class TrendSeverities(_Section):
    """What a confirmed regression does to the asset check of its group: `block` fails it, `warn` warns."""

    quality: TrendSeverity = Field(default="block", description="Scores, accuracy, loss.")
    failures: TrendSeverity = Field(default="block", description="Failed outputs and fallbacks.")
    speed: TrendSeverity = Field(default="warn", description="Latency, throughput, time.")
    resources: TrendSeverity = Field(default="warn", description="Memory, cost, tokens.")
    other: TrendSeverity = Field(default="warn", description="Every other metric with a better direction.")


class TrendsConfig(_Section):
    """How histories are watched."""

    sample_history: bool = Field(
        default=True, description="Show a made-up history, marked as a sample, beside your own until you have one."
    )
    minimum_change_ratio: float = Field(
        default=0.01, ge=0, lt=1, description="Least change that matters, as a share of the level before."
    )
    alarm_days: int = Field(
        default=30, ge=1, description="Confirmed regressions of so many days fail or warn until acknowledged."
    )
    repository: str | None = Field(
        default=None, description="Clone in which commits of runs are looked for; default the working folder."
    )
    severities: TrendSeverities = TrendSeverities()


class Config(_Section):
    """The whole of `benchlake.toml`."""

    nightly: NightlyConfig = NightlyConfig()
    lake: LakeConfig = LakeConfig()
    imports: ImportConfig = ImportConfig()
    gates: GatesConfig = GatesConfig()
    embeddings: EmbeddingsConfig = EmbeddingsConfig()
    databits: DatabitsConfig = DatabitsConfig()
    trends: TrendsConfig = TrendsConfig()
    examples: ExamplesConfig = ExamplesConfig()
    optimization: OptimizationConfig = OptimizationConfig()
    attribution: AttributionConfig = AttributionConfig()
    backends: dict[str, BackendConfig] = Field(default_factory=dict, description="Backends by name.")
    language_models: dict[str, LanguageModelConfig] = Field(
        default_factory=dict, description="Language models that templates ask, by name."
    )

    @classmethod
    def load(cls, folder: Path) -> Config:
        """The shipped defaults, with the tables of `folder/benchlake.toml` laid over them.

        Raises `UserError` that names file, key, value and what is allowed.
        """
        merged = _read_toml(DEFAULTS / FILE_NAME)
        own = folder / FILE_NAME
        if own.exists():
            merged = _laid_over(merged, _read_toml(own))
        try:
            config = cls.model_validate(merged)
        except ValidationError as error:
            raise UserError(_explain(own, error)) from error
        probed = config.examples.probe_backend
        if probed is not None and probed not in config.backends:
            raise UserError.unknown(f"backend in {own} examples.probe_backend", probed, config.backends)
        unknown = [name for name in config.nightly.backends if name not in config.backends]
        if unknown:
            raise UserError.unknown(f"backend in {own} nightly.backends", unknown[0], config.backends)
        assistant = config.databits.assistant
        if assistant and assistant not in config.backends:
            raise UserError.unknown(f"backend in {own} databits.assistant", assistant, config.backends)
        return config

    def open_lake(self, state: State) -> Lake:
        """The lake of this installation."""
        return Lake.open(state.lake_uri, storage_options=self.lake.storage_options)

    def landing(self, state: State, *, folder: Path) -> Path:
        """The landing folder."""
        return state.landing if self.imports.landing is None else (folder / self.imports.landing).resolve()

    def policy_path(self, folder: Path) -> Path:
        """The policy file: `gates.policy` relative to `folder`, else the shipped one."""
        return find_file(self.gates.policy, folder=folder, shipped="gates.yaml", kind="policy")


def find_file(name: str, *, folder: Path, shipped: str, kind: str) -> Path:
    """`folder/name` if it is a file, else the shipped default; raises `UserError` naming both places."""
    for path in (folder / name, DEFAULTS / shipped):
        if path.is_file():
            return path
    raise UserError(f"There is no {kind} {name!r}: neither {folder / name} nor a shipped one of that name exists.")


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error


def _laid_over(base: Mapping[str, object], top: Mapping[str, object]) -> dict[str, object]:
    """`top` over `base`, one level into tables; a named backend is replaced whole."""
    merged = dict(base)
    for name, value in top.items():
        standing = merged.get(name)
        merged[name] = {**standing, **value} if isinstance(standing, dict) and isinstance(value, dict) else value
    return merged


def _explain(path: Path, error: ValidationError) -> str:
    problems = [
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']} (given: {problem['input']!r})"
        for problem in error.errors()
    ]
    return f"{path} is not a valid configuration:\n  " + "\n  ".join(problems) + "\nSee docs/configuration.md."
