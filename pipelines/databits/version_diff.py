"""What differs between two versions of a unit, or between any two units. Pure.

What belongs here: the content path by path where both are JSON, word by word where both are texts, and the other
members beside it. Cutting texts is `pipelines.evidence.segments`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipelines.databits.units import parse_content
from pipelines.evidence.json_diff import JsonChange, compact, describe, diff_json
from pipelines.evidence.segments import Segment, readable_segments

VALUE_CHARACTERS = 120
# Members of a row that say what a version is, beside its content.
_MEMBERS = ("modality", "search_keys", "quality_scores", "is_deleted")


class MemberChange(NamedTuple):
    """A member of the version other than its content, before and after, as text."""

    member: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class VersionDiff:
    """What differs: members, and the content as JSON changes or, of two texts, as segments of words."""

    members: Sequence[MemberChange]
    json_changes: Sequence[JsonChange]
    segments: Sequence[Segment]

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not self.members and not self.json_changes and not any(segment.is_edit for segment in self.segments)

    def content_lines(self) -> list[str]:
        """JSON changes as one line each."""
        return [describe(change, limit=VALUE_CHARACTERS) for change in self.json_changes]


def diff_versions(before: Mapping[str, Any], after: Mapping[str, Any]) -> VersionDiff:
    """What differs between two rows of silver.databits."""
    contents = parse_content(before["content"]), parse_content(after["content"])
    members = [MemberChange(name, _text(old), _text(new)) for name, old, new in _members(before, after) if old != new]
    if all(isinstance(content, str) for content in contents):
        return VersionDiff(members=members, json_changes=(), segments=readable_segments(*contents))
    return VersionDiff(members=members, json_changes=diff_json(*contents), segments=())


def _members(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, object, object]]:
    own = [(name, before[name], after[name]) for name in _MEMBERS]
    attributions = before["attribution"], after["attribution"]
    return [*own, *((name, attributions[0][name], attributions[1][name]) for name in attributions[0])]


def _text(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list) and value and all(isinstance(one, dict) and "databit_id" in one for one in value):
        return ", ".join(f"{one['databit_id']}@{one['version']}" for one in value)
    return value if isinstance(value, str) else compact(value)  # type: ignore[arg-type]  # a JSON value by contract
