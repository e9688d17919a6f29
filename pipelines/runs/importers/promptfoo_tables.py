"""Version 2 of promptfoo's files: results without indexes, and a table of tests by prompts that has the order.

What belongs here: which cell of the table a result is, and a cell as a result where there are none.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from lake.identity import text_digest
from pipelines.runs.records import Fault, JsonObject, as_count, as_list, as_object, as_text

if TYPE_CHECKING:
    from collections.abc import Iterator

# Between what went wrong and what was answered, in the text of a cell that failed.
_SEPARATOR = "\n---\n"


class Cell(NamedTuple):
    """A place in the table."""

    test_index: int
    prompt_index: int


@dataclass(kw_only=True)
class TableCells:
    """Cells by prompt and provider, each given out once; the same question asked again has a cell of its own."""

    _cells: dict[tuple[str, str], deque[Cell]] = field(default_factory=dict)

    def learn(self, row: JsonObject, row_index: int) -> None:
        """Take up a row of the table's body."""
        test_index = index_of(row, row_index)
        for prompt_index, item in enumerate(as_list(row.get("outputs"))):
            output = as_object(item)
            key = _key(as_text(output.get("prompt")), as_text(output.get("provider")))
            self._cells.setdefault(key, deque()).append(Cell(test_index, prompt_index))

    def take(self, result: JsonObject) -> Cell | None:
        """The next cell that asks what the result asked; None when there is none left."""
        prompt = as_text(as_object(result.get("prompt")).get("raw"))
        provider = as_object(result.get("provider"))
        for name in (provider.get("label"), provider.get("id")):
            cells = self._cells.get(_key(prompt, as_text(name)))
            if cells:
                return cells.popleft()
        return None


def results_of(row: JsonObject, row_index: int, variables: list[str]) -> Iterator[JsonObject]:
    """The cells of a row as results of version 3."""
    values = as_list(row.get("vars"))
    named = dict(zip(variables, values, strict=False))
    for prompt_index, item in enumerate(as_list(row.get("outputs"))):
        output = as_object(item)
        error, text = _parts(output)
        yield output | {
            "testIdx": index_of(row, row_index),
            "promptIdx": prompt_index,
            "success": output.get("pass"),
            "prompt": {"raw": output.get("prompt")},
            "provider": {"id": output.get("provider")},
            "response": as_object(output.get("response")) or {"output": text, "tokenUsage": output.get("tokenUsage")},
            "error": output.get("error") or error,
            "testCase": {"vars": named} | as_object(row.get("test")),
            "vars": named,
        }


def index_of(row: JsonObject, row_index: int) -> int:
    """The index of a row's test: its own, else its place."""
    ignored: list[Fault] = []
    own = as_count(row.get("testIdx"), "testIdx", ignored)
    return row_index if own is None else own


def _parts(output: JsonObject) -> tuple[str | None, str | None]:
    """What went wrong and what was answered: a cell has both in one text."""
    text = as_text(output.get("text"))
    if output.get("pass") is not False or text is None:
        return None, text
    error, separator, answer = text.partition(_SEPARATOR)
    return error or None, answer if separator else None


def _key(prompt: str | None, provider: str | None) -> tuple[str, str]:
    return text_digest(prompt or "")[:20], provider or ""
