"""The night's backends score each other by the policy's pairs, and nothing is asked twice."""

import datetime as dt
from pathlib import Path

import pytest

from lake.errors import UserError
from pipelines.evidence.steps import judge_what_is_new
from pipelines.runs.remarks import find_run
from resources.installation import Installation
from resources.state import State
from resources.token_scorings import score_night, score_tokens_of
from tests.evidence.rows import DAY, START, run
from tests.evidence.scoring import ListedBackend
from tests.evidence.test_scoring_steps import FAR, land


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    installation = Installation(folder=tmp_path, state=State.from_environ({}, folder=tmp_path))
    land(installation.lake, run("a1", "transformers"), run("b1", "llama.cpp"))
    return installation


class Opening:
    """Opens backends in code, and remembers which."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def __call__(self, name: str) -> ListedBackend:
        self.opened.append(name)
        return ListedBackend(name, probabilities=FAR) if name == "transformers" else ListedBackend(name)


def night(installation: Installation, opening: Opening, *, at: dt.datetime = START) -> tuple[list[str], int]:
    told: list[str] = []
    results = score_night(installation, clock=lambda: at, on_message=told.append, opener=opening)
    return told, sum(result.scored_count for result in results)


def test_the_candidate_of_tonight_scores_its_baseline(installation: Installation) -> None:
    opening = Opening()
    told, count = night(installation, opening)
    assert count == 24  # of 25 samples, as configured
    assert "24 outputs of llama.cpp" in told[0]
    judge_what_is_new(installation.lake, installation.policy)
    bands = installation.lake.read("gold.divergence_bands")
    assert bands.select("candidate_run_id", "band").rows() == [("a1", "broken")]
    gate = installation.lake.read("gold.gate_results", where={"gate": "token_divergence", "candidate_run_id": "a1"})
    assert gate["verdict"].to_list() == ["fail"]


def test_a_night_that_is_done_opens_nothing(installation: Installation) -> None:
    night(installation, Opening())
    again = Opening()
    assert night(installation, again) == ([], 0)
    assert again.opened == []
    later = Opening()
    assert night(installation, later, at=START + DAY) == ([], 0)
    assert later.opened == []


def test_a_backend_that_changed_since_it_answered_is_told_of(installation: Installation) -> None:
    land(installation.lake, run("b1", "llama.cpp", engine_version="an older one"))
    told, count = night(installation, Opening())
    assert count == 0
    assert "llama.cpp is not what it was" in told[0]


def test_a_night_may_score_nothing(installation: Installation) -> None:
    nightly = installation.config.nightly.model_copy(update={"scored_samples": 0})
    installation.config = installation.config.model_copy(update={"nightly": nightly})
    opening = Opening()
    assert night(installation, opening) == ([], 0)
    assert opening.opened == []


def test_a_run_is_scored_on_demand(installation: Installation) -> None:
    told: list[str] = []

    def score(backend: str, *, is_recorded: bool = False) -> bool:
        result = score_tokens_of(
            installation,
            find_run(installation.lake, "b1"),
            backend,
            top_k=None,
            is_recorded=is_recorded,
            sample_limit=None,
            clock=lambda: START,
            on_message=told.append,
            opener=Opening(),
        )
        assert result.scored_count == 25
        return result.is_exact

    assert score("transformers")
    assert not score("transformers", is_recorded=True)
    assert told == []
    land(installation.lake, run("b1", "gone"))
    assert not score("transformers")
    assert "no backend named 'gone'" in told[0]
    with pytest.raises(UserError, match="backend"):
        score("absent")
