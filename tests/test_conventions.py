"""Conventions are tests, not prose."""

import re
from pathlib import Path

import pytest
import typer

from lake.tables import CONTRACTS
from studio.cli import app
from studio.documentation import DOCS, command_words, pages

ROOT = Path(__file__).parent.parent
PACKAGES = ("assets", "benchlake", "lake", "pipelines", "resources", "studio")
MODULES = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
SHAPELESS = {"utils", "util", "helpers", "common", "misc"}


def test_no_module_has_a_shapeless_name() -> None:
    assert [path for path in MODULES if path.stem in SHAPELESS] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_belongs_in_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.lstrip().startswith(('"""', 'r"""')), f"{path} has no docstring"


def test_generated_docs_match_the_code() -> None:
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text]
    assert stale == [], "run `make docs`"


def test_every_command_gives_an_example_or_explains_itself() -> None:
    root = typer.main.get_command(app)
    for words in command_words(root)[1:]:
        command = root
        for word in words:
            command = command.commands[word]
        assert command.help, words
        assert len(command.help.split()) >= 8, f"benchlake {' '.join(words)} --help teaches nothing"


def test_arguments_are_called_in_capitals_and_options_alike() -> None:
    """One thing has one option: `-o/--output` a file, `--limit` how many, `--svg` a picture."""
    for words in command_words(typer.main.get_command(app))[1:]:
        command = typer.main.get_command(app)
        for word in words:
            command = command.commands[word]
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                assert re.fullmatch(r"[A-Z][A-Z@.a-z\[\]]*", parameter.metavar or ""), (words, parameter.name)
                assert not (parameter.metavar or "").endswith("..."), (words, parameter.name)
            assert not {"--out", "--chart", "--picture"} & set(parameter.opts), (words, parameter.opts)


def test_every_table_is_named_in_the_docs() -> None:
    story = (DOCS / "tables" / "README.md").read_text("utf-8")
    assert [address for address in CONTRACTS if address not in story] == []


def test_links_between_docs_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)} -> {target}"
        for page in [ROOT / "README.md", *DOCS.rglob("*.md")]
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text("utf-8"))
        if "://" not in target and not target.startswith("data:") and not (page.parent / target).exists()
    ]
    assert broken == []
