"""Which sample a test is, and which repeat of it.

promptfoo counts every repetition of `--repeat` as a test of its own, so the same test comes again under another index.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from lake.identity import text_digest
from pipelines.runs.records import JsonObject, as_object, canonical_json

# Enough of a digest that no two tests of a suite share it, and little enough to hold a million.
_DIGEST_CHARACTERS = 20
_TEST_KEYS = ("vars", "assert", "description", "options", "threshold", "metadata", "provider", "providerOutput")


class Place(NamedTuple):
    """A sample and its repeat."""

    sample_id: str
    repeat_index: int


@dataclass(kw_only=True)
class SamplePlaces:
    """Places of tests by their index, once all of them are known."""

    _digests: dict[int, str] = field(default_factory=dict)
    _places: dict[int, Place] = field(default_factory=dict)

    def learn(self, test_index: int, result: JsonObject) -> None:
        """Take up a test from one of its results."""
        if test_index not in self._digests:
            test = as_object(result.get("testCase")) or {"vars": result.get("vars")}
            content = {key: test[key] for key in _TEST_KEYS if test.get(key) is not None}
            known = text_digest(canonical_json(content))[:_DIGEST_CHARACTERS] if content.get("vars") else ""
            # A test without variables says nothing by which it could be known again.
            self._digests[test_index] = known or f"#{test_index}"

    def settle(self) -> None:
        """Number the samples: a test keeps its index, less the repetitions before it."""
        first: dict[str, str] = {}
        counts: dict[str, int] = {}
        repetitions = 0
        for test_index in sorted(self._digests):
            digest = self._digests[test_index]
            if digest in first:
                repetitions += 1
            else:
                first[digest] = str(test_index - repetitions)
            self._places[test_index] = Place(first[digest], counts.get(digest, 0))
            counts[digest] = counts.get(digest, 0) + 1

    def place_of(self, test_index: int) -> Place:
        """The sample and repeat of a test."""
        return self._places.get(test_index) or Place(str(test_index), 0)
