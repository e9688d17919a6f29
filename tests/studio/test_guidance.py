"""Where nothing is selected or found, every command says what to do next, in words that can be typed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import typer.main

from studio.cli import app
from tests.studio.command_line import type_words

# What makes something, serves something or tells of the installation: nothing can be missing.
ALWAYS_ANSWERED = {
    "ui", "nightly", "demo", "batch run", "trends seed", "index sync", "index rebuild", "dspy templates demo",
    "dspy optimizers", "tables", "gates lint", "gates explain", "gates schema", "scenarios template",
    "decisions template", "databits create", "databits curation label",
}  # fmt: skip
# They count what they did, and nothing is what they did; an empty lake has nothing to maintain.
COUNTED = {"examples update", "maintain"}


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words."""
    if hasattr(command, "commands") and not (path and command.invoke_without_command):
        for name, child in command.commands.items():
            yield from leaves(child, (*path, name))
        return
    yield " ".join(path), command
    for name, child in getattr(command, "commands", {}).items():
        yield from leaves(child, (*path, name))


LEAVES = dict(leaves(typer.main.get_command(app)))


def asked_without_words() -> list[str]:
    """Commands that need no word and could find nothing."""
    return sorted(
        name
        for name, command in LEAVES.items()
        if name not in ALWAYS_ANSWERED | COUNTED and not any(parameter.required for parameter in command.params)
    )


def needing_words() -> dict[str, Sequence[str]]:
    """Commands that need words, with how many of them."""
    return {
        name: [parameter.name for parameter in command.params if parameter.required]
        for name, command in LEAVES.items()
        if any(parameter.required for parameter in command.params)
    }


@pytest.fixture
def empty_lake(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.usefixtures("empty_lake")
@pytest.mark.parametrize("words", asked_without_words())
def test_an_empty_lake_is_told_with_what_to_type_next(words: str, monkeypatch, capsys) -> None:
    answer = type_words(monkeypatch, capsys, *words.split())
    said = answer.stdout + answer.stderr
    assert answer.returncode in {0, 2, 3}
    assert "benchlake " in said, said


@pytest.mark.usefixtures("empty_lake")
@pytest.mark.parametrize("words", sorted(needing_words()))
def test_a_missing_word_is_told_with_an_example(words: str, monkeypatch, capsys) -> None:
    answer = type_words(monkeypatch, capsys, *words.split())
    assert answer.returncode == 3
    assert f"Example:  benchlake {words}" in answer.stderr


@pytest.mark.usefixtures("empty_lake")
@pytest.mark.parametrize(
    "words",
    [
        "compare aaaa bbbb",
        "diff aaaa bbbb",
        "explore aaaa bbbb",
        "report runs aaaa bbbb",
        "timeline diff aaaa bbbb",
        "link run aaaa",
        "tag add slow aaaa",
        "baseline set aaaa",
        "export out runs",
        "databits show aaaa",
        "databits export out.jsonl",
        "decisions show aaaa",
        "decisions export out",
        "scenarios show aaaa",
        "dspy trials latest",
        "dspy templates show aaaa",
        "sql 'from silver.runs'",
        "sql 'from silver.run'",
        "suite show aaaa",
        "batch show aaaa",
        "batch run --suite aaaa --backend llama.cpp",
        "dspy runs aaaa",
        "attribution unit aaaa",
        "attribution deltas aaaa",
        "baseline withdraw aaaa",
        "databits curation accept aaaa",
        "note add --on example:aaaa -m x",
        "maintain silver.run",
    ],
)
def test_what_is_not_there_is_told_with_what_to_type_next(words: str, monkeypatch, capsys) -> None:
    answer = type_words(monkeypatch, capsys, *shlex.split(words))
    assert answer.returncode in {0, 3}
    assert "benchlake " in answer.stdout + answer.stderr
