"""Everything in promptfoo's file but its results: put together again from the parts that the file is split into."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.runs.records import JsonObject, RecordError, parse_json
from pipelines.runs.redaction import redact

if TYPE_CHECKING:
    from pipelines.runs.importers.frames import BatchBuilder
    from pipelines.runs.json_parts import Part


@dataclass(kw_only=True)
class HeaderReader:
    """Gathers the parts that are no results; what cannot be read is rejected."""

    builder: BatchBuilder
    is_cut: bool = False
    _kept: list[tuple[list[str], bytes]] = field(default_factory=list)
    _value: JsonObject = field(default_factory=dict)

    def take(self, part: Part) -> None:
        """Take up one part."""
        if part.raw is None:
            self.builder.reject("member_bytes", f"Member {part.key} of the file is too long.", record_index=0)
            return
        path = _path(part.key)
        # With its name, because a name is what gives a secret away.
        named = redact(b'"' + path[-1].encode() + b'": ' + part.raw)
        raw = named[len(path[-1].encode()) + 4 :]
        try:
            value, faults = parse_json(raw)
        except RecordError as error:
            self.builder.reject(error.rule, f"Member {part.key} of the file: {error}", record_index=0, raw=raw)
            return
        self.builder.note(faults, record_index=0, where=f"Header {part.key}")
        self._kept.append((path, raw))
        _put(self._value, path, value)

    def finish(self) -> JsonObject:
        """The header, kept as record 0."""
        tree: dict[str, Any] = {}
        for path, raw in self._kept:
            _put(tree, path, raw)
        self.builder.keep(_written(tree), record_index=0)
        return self._value


def _path(key: str) -> list[str]:
    """`results.stats` is a member of `results`; a member of the file itself may have dots in its name."""
    for opened in ("results.table", "results"):
        if key.startswith(f"{opened}."):
            return [*opened.split("."), key.removeprefix(f"{opened}.")]
    return [key]


def _put(tree: dict[str, Any], path: list[str], value: object) -> None:
    """Set a value deep in a tree; where something else stands in the way, it gives way."""
    for name in path[:-1]:
        if not isinstance(tree.get(name), dict):
            tree[name] = {}
        tree = tree[name]
    tree[path[-1]] = value


def _written(tree: dict[str, Any]) -> bytes:
    members = (
        b'"' + name.encode() + b'": ' + (_written(item) if isinstance(item, dict) else item)
        for name, item in tree.items()
    )
    return b"{" + b", ".join(members) + b"}"
