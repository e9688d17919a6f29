"""The policy: which runs are compared with which, and which gates judge them.

What belongs here: reading and checking the file. How runs are paired by it is `pairing.py`, how a gate judges is
`gates.py`.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lake.errors import UserError
from lake.identity import json_digest
from pipelines.runs.run_query import field_of, matches

Family = Literal["score_parity", "latency_regression", "failure_rate", "token_divergence"]
SameColumn = Literal["suite", "backend", "model", "engine", "engine_version", "source_kind"]

# The margin that the evidence itself gives.
AUTO: Final = "auto"
# The mean over a sample's scorers; any other metric of score_parity is the name of one scorer.
ANY_SCORER = "score"
_DEFAULT_METRIC: dict[Family, str] = {
    "score_parity": ANY_SCORER,
    "latency_regression": "latency_ms",
    "failure_rate": "failure_rate",
    "token_divergence": "mean_kl",
}
_METRICS: dict[Family, tuple[str, ...]] = {
    "latency_regression": ("latency_ms", "time_to_first_token_ms"),
    "failure_rate": ("failure_rate",),
    "token_divergence": ("mean_kl", "other_top_ratio", "shift_ratio"),
}
_UNITS: dict[Family, str] = {
    "score_parity": "score",
    "latency_regression": "ratio",
    "failure_rate": "ratio",
    "token_divergence": "ratio",
}


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_tuple, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RunFilter(_Part):
    """Which runs are meant: each key is one value or glob, or a list of them, and all keys must hold."""

    suite: Names | None = None
    backend: Names | None = None
    model: Names | None = None
    engine: Names | None = None
    branch: Names | None = None
    pull_request: Names | None = None
    tag: Names | None = Field(default=None, description="The run has at least one of these tags.")

    def admits(self, run: Mapping[str, Any]) -> bool:
        """Whether a row of `silver.runs` is meant."""
        wanted = {
            "suite": self.suite,
            "backend": self.backend,
            "model": self.model,
            "engine": self.engine,
            "branch": self.branch,
            "pull_request": self.pull_request,
        }
        if any(allowed is not None and not matches(field_of(run, name), allowed) for name, allowed in wanted.items()):
            return False
        return self.tag is None or any(matches(tag, self.tag) for tag in run["tags"])


class ComparisonRule(_Part):
    """Which runs are judged, and against what.

    The baseline is another run by a filter, the `previous` run of the same kind, or the one that somebody
    `designated` (`benchlake baseline set`).
    """

    name: str = Field(min_length=1)
    candidate: RunFilter = RunFilter()
    baseline: RunFilter | Literal["previous", "designated"]
    same: tuple[SameColumn, ...] | None = Field(
        default=None, description="Columns in which both runs agree; the suite always does."
    )

    @property
    def matched_columns(self) -> tuple[str, ...]:
        """Columns in which candidate and baseline must be equal."""
        # What two tools measured of one suite may have nothing in common but its name.
        default = ("suite", "backend", "model", "source_kind") if self.baseline == "previous" else ("suite",)
        return tuple(dict.fromkeys(("suite", *(default if self.same is None else self.same))))


class Gate(_Part):
    """One non-regression statement: how much worse is still acceptable, and how sure we want to be.

    `margin` is in score points for `score_parity`, a ratio (1.10 is ten per cent slower) for `latency_regression`, and
    a difference of shares (0.02 is two outputs in a hundred) for `failure_rate`; nats, or a share of positions or
    samples, for `token_divergence`. `auto` is the noise between repeats, or between runs of unchanged code.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Also the name of the Dagster check.")
    family: Family
    metric: str = ""
    margin: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        description="How much worse is still acceptable; auto takes the noise between the repeats of a run, or "
        "else between runs of unchanged code."
    )
    quantile: float = Field(
        default=0.5, gt=0, lt=1, description="Quantile over samples, for latency_regression: 0.95 judges the p95."
    )
    sample_tag: Names | None = Field(default=None, description="Only samples with a tag like one of these.")
    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    minimum_n: int = Field(default=20, ge=2)
    severity: Literal["block", "warn"] = "block"
    confirm_on_rerun: bool = Field(
        default=False,
        description="A failure counts only once a re-run of the same code and settings has failed too; until a re-run "
        "fails or passes it is inconclusive.",
    )
    applies_to: tuple[str, ...] | None = Field(default=None, description="Names of comparisons; all when absent.")
    is_higher_better: bool = Field(default=True, description="Direction of the scorer, for score_parity.")

    @model_validator(mode="before")
    @classmethod
    def _name_metric(cls, given: object) -> object:
        if isinstance(given, dict) and not given.get("metric"):
            return {**given, "metric": _DEFAULT_METRIC.get(given.get("family", ""), "")}
        return given

    @model_validator(mode="after")
    def _fits_family(self) -> Gate:
        allowed = _METRICS.get(self.family)
        if allowed is not None and self.metric not in allowed:
            raise ValueError(
                f"metric {self.metric!r} is not one of {', '.join(allowed)}, which {self.family} can judge"
            )
        if self.family == "latency_regression" and self.margin != AUTO and self.margin < 1:
            raise ValueError(f"margin {self.margin} is a ratio and must be at least 1 (1.10: ten per cent slower)")
        if self.family == "failure_rate" and self.margin != AUTO and self.margin > 1:
            raise ValueError(
                f"margin {self.margin} is a difference of shares and must be at most 1 (0.02: two in a hundred)"
            )
        if self.family != "score_parity" and not self.is_higher_better:
            raise ValueError("is_higher_better is for score_parity alone; the other families know their direction")
        if self.family != "latency_regression" and self.quantile != 0.5:  # noqa: PLR2004  # the default
            raise ValueError("quantile is for latency_regression alone")
        if self.family == "token_divergence":
            self._check_divergence()
        return self

    def _check_divergence(self) -> None:
        if self.margin == AUTO:
            raise ValueError("token_divergence needs a margin in numbers: a run has no divergence from itself")
        if self.confirm_on_rerun:
            raise ValueError("confirm_on_rerun is not for token_divergence: what a backend makes of given tokens stays")
        if self.metric != "mean_kl" and self.margin > 1:
            raise ValueError(f"margin {self.margin} is a share and must be at most 1 (0.05: one position in twenty)")

    @property
    def fixed_margin(self) -> float | None:
        """The margin, unless the evidence itself gives it."""
        return None if self.margin == AUTO else self.margin

    @property
    def is_ratio(self) -> bool:
        """Whether effect and margin are candidate over baseline, rather than a difference."""
        return self.family == "latency_regression"

    @property
    def unit(self) -> str:
        """Unit of effect, interval and margin."""
        return "nats" if self.metric == "mean_kl" and self.family == "token_divergence" else _UNITS[self.family]

    def applies(self, pairing: str) -> bool:
        """Whether the comparison rule named `pairing` is judged by this gate."""
        return self.applies_to is None or pairing in self.applies_to


class Policy(_Part):
    """What is compared, and what must hold before a run is promoted."""

    version: Literal[1]
    on_inconclusive: Literal["hold", "promote"] = Field(
        default="hold", description="What an undecided blocking gate means for promotion."
    )
    unchanged_runs: RunFilter | None = Field(
        default=None,
        description="Runs like these count as runs of one code, whatever commit they name: for margin auto.",
    )
    comparisons: tuple[ComparisonRule, ...] = Field(min_length=1)
    gates: tuple[Gate, ...] = ()

    @model_validator(mode="after")
    def _names_are_known(self) -> Policy:
        rules = [rule.name for rule in self.comparisons]
        for kind, names in (("comparisons", rules), ("gates", [gate.name for gate in self.gates])):
            repeated = [name for name, count in Counter(names).items() if count > 1]
            if repeated:
                raise ValueError(f"{kind}: the name {repeated[0]!r} is used more than once")
        for gate in self.gates:
            for name in gate.applies_to or ():
                if name not in rules:
                    raise ValueError(
                        f"gates.{gate.name}.applies_to: there is no comparison {name!r}; known: {', '.join(rules)}"
                    )
        return self

    @property
    def digest(self) -> str:
        """Digest of what the policy says; comments, order of keys and spelled-out defaults do not change it."""
        return json_digest(self.model_dump(mode="json"))

    @property
    def asks_reruns(self) -> bool:
        """Whether any gate waits for a re-run before it fails."""
        return any(gate.confirm_on_rerun for gate in self.gates)

    @property
    def asks_history(self) -> bool:
        """Whether any gate may take its margin from runs of unchanged code."""
        return any(gate.margin == AUTO for gate in self.gates)

    @property
    def asks_tokens(self) -> bool:
        """Whether any gate is about tokens, which are far heavier to read than outputs."""
        return any(gate.family == "token_divergence" for gate in self.gates)

    def gates_of(self, pairing: str) -> tuple[Gate, ...]:
        """The gates that judge a comparison rule, in the order of the file."""
        return tuple(gate for gate in self.gates if gate.applies(pairing))


def policy_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a policy file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Policy.model_json_schema()}


def load_policy(path: Path) -> Policy:
    """The policy in a YAML file. Raises `UserError` that names file, key, value and what is allowed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The policy {path} cannot be read: {error}") from error
    return parse_policy(text, source=str(path))


def parse_policy(text: str, *, source: str) -> Policy:
    """The policy in YAML text; `source` is how errors call it."""
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(given, dict):
        raise UserError(f"{source} must hold the keys version, comparisons and gates; found {type(given).__name__}.")
    try:
        return Policy.model_validate(given)
    except ValidationError as error:
        problems = "\n  ".join(_explain(error))
        raise UserError(f"{source} is not a valid policy:\n  {problems}\nSee docs/gates.md.") from error


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"] if not _names_a_type(part)) or "policy"
        if problem["type"] == "extra_forbidden":
            yield f"{place}: unknown key.{_nearest_key(str(problem['loc'][-1]))}"
        elif problem["type"] == "missing":
            yield f"{place}: this key is required."
        elif problem["type"] == "value_error":
            yield f"{place}: {problem['ctx']['error']}."
        else:
            yield f"{place}: {problem['msg']} (given: {_shown(problem['input'])})"


def _names_a_type(part: int | str) -> bool:
    """Pydantic puts the tried member of a union into the path; no reader has written that."""
    return part in {"RunFilter", "literal['previous','designated']"}


def _nearest_key(key: str) -> str:
    known = {name for part in (Policy, ComparisonRule, Gate, RunFilter) for name in part.model_fields}
    near = get_close_matches(key, sorted(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def _shown(value: object) -> str:
    text = value.isoformat() if isinstance(value, dt.date) else repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."  # noqa: PLR2004  # a line of a terminal
