"""The scenario and the decision that Benchlake ships, so that the first night has one of each to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from pipelines.experiments.decisions import DecisionEntry
    from pipelines.experiments.scenarios import ExperimentScenario

_DEFAULTS = Path(__file__).parent / "defaults"
SCENARIO_PATH, DECISION_PATH = _DEFAULTS / "scenario.yaml", _DEFAULTS / "decision.yaml"


def shipped_scenario() -> ExperimentScenario:
    """The newest night of the embedded backends side by side."""
    from pipelines.experiments.scenarios import parse_scenario

    return parse_scenario(yaml.safe_load(SCENARIO_PATH.read_text("utf-8")), source=SCENARIO_PATH.name)


def shipped_decision() -> DecisionEntry:
    """Why both embedded backends read the same weights, with a promise that is asked every night."""
    from pipelines.experiments.decisions import parse_entry

    return parse_entry(yaml.safe_load(DECISION_PATH.read_text("utf-8")), source=DECISION_PATH.name)
