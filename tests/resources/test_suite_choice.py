"""Which suite a word means, and that the night saves the one it asks."""

import datetime as dt

import pytest

from lake.errors import UserError
from pipelines.runs.suite_registry import list_suites, save_suite
from pipelines.runs.suites import WrittenSuite, parse_suite, read_suite
from resources.config import DEFAULTS
from resources.installation import Installation
from resources.nightly_suite import run_nightly_suite
from resources.state import State
from resources.suite_choice import choose_suite
from tests.kill_nightly import prepare
from tests.openai_server import openai_server

NOW = dt.datetime(2026, 11, 20, 2, 0, tzinfo=dt.UTC)
SHIPPED = read_suite(DEFAULTS / "starter.suite.yaml")


@pytest.fixture
def installation(tmp_path) -> Installation:
    return Installation(folder=tmp_path, state=State(home=tmp_path / "state", lake_uri=str(tmp_path / "lake")))


def save(installation: Installation, text: str) -> WrittenSuite:
    written = WrittenSuite(parse_suite(text, source="test"), text)
    save_suite(installation.lake, written, now=NOW, author="ada")
    return written


def test_a_file_comes_before_a_saved_suite_and_that_before_a_shipped_one(installation) -> None:
    assert choose_suite(installation, "starter") == SHIPPED
    saved = save(installation, SHIPPED.text.replace("France", "Spain"))
    assert choose_suite(installation, "starter") == saved
    # The night saves what it asks, so an upgrade of the shipped suite must win over what earlier nights saved.
    assert installation.written_suite == SHIPPED
    (installation.folder / "starter").write_text(SHIPPED.text.replace("France", "Italy"))
    assert "Italy" in choose_suite(installation, "starter").text


def test_a_mistake_in_what_is_there_is_told_as_it_is(installation) -> None:
    save(installation, SHIPPED.text)
    with pytest.raises(UserError, match="has no version '7'"):
        choose_suite(installation, "starter@7")
    (installation.folder / "bad.yaml").write_text("name: bad")
    with pytest.raises(UserError, match=r"bad\.yaml is not a valid suite"):
        choose_suite(installation, "bad.yaml")
    with pytest.raises(UserError, match=r"'startr'.*shipped \(starter\).*Did you mean starter"):
        choose_suite(installation, "startr")


def test_the_night_saves_the_suite_it_asks_once(tmp_path) -> None:
    with openai_server() as base_url:
        prepare(tmp_path, base_url)
        installation = Installation(folder=tmp_path, state=State(home=tmp_path / "s", lake_uri=str(tmp_path / "lake")))
        said: list[str] = []
        results = run_nightly_suite(installation, now=NOW, on_message=said.append)
        run_nightly_suite(installation, now=NOW, on_message=said.append)
    assert said[0].startswith("kill-test is saved as version 1")
    (saved,) = list_suites(installation.lake).to_dicts()
    assert saved["suite_digest"] in results[0].path.read_text()
