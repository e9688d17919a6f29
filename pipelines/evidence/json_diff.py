"""Structural diff of two texts that are both JSON: which paths were added, removed or changed.

What belongs here: reading JSON as a model writes it, and comparing two values. The order of an object's keys, white
space, how a number is written and a code fence around the whole are no differences; anything else is.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from itertools import accumulate
from typing import Literal, NamedTuple

from rapidfuzz.distance import Indel

# Longer texts are compared as text alone, and of longer lists of changes the first are kept: a path may be as long as
# the text, so that without bounds a hostile answer would need the square of its size.
MAX_JSON_CHARACTERS = 200_000
MAX_JSON_CHANGES = 1_000
# Deeper nesting is no answer, and would run into the interpreter's own limit.
MAX_JSON_DEPTH = 100
# Elements of two arrays beyond this many pairs are compared place by place.
_MAX_CELLS = 1 << 22

# Exponents in this range are written out; beyond, a short text could ask for a billion zeros.
_MAX_ZEROS = 40

_BRACKETS = re.compile(r"[\[\]{}]")
_FENCED = re.compile(r"\A```[\w+-]*[ \t]*\r?\n(.*?)\r?\n?```\Z", re.DOTALL)

JsonValue = dict[str, "JsonValue"] | list["JsonValue"] | str | Decimal | bool | None


class JsonChange(NamedTuple):
    """One difference at a JSON Pointer (RFC 6901); an absent side has no value and is None."""

    path: str
    change: Literal["added", "removed", "changed"]
    baseline: JsonValue = None
    candidate: JsonValue = None


def parse_container(text: str) -> dict[str, JsonValue] | list[JsonValue] | None:
    """The object or array that the whole text is, fence apart; None for any other text.

    A bare number or string is prose as much as JSON, so it is none. Neither is an object that has a key twice: what
    it says depends on the reader.
    """
    if len(text) > MAX_JSON_CHARACTERS:
        return None
    text = text.strip()
    if text.startswith("```"):
        fenced = _FENCED.match(text)
        text = fenced[1].strip() if fenced else ""
    if not text.startswith(("{", "[")) or _depth(text) > MAX_JSON_DEPTH:
        return None
    try:
        found = json.loads(
            text, object_pairs_hook=_object, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse
        )
    except (ValueError, ArithmeticError):
        return None
    return found if isinstance(found, dict | list) else None


def diff_json(baseline: JsonValue, candidate: JsonValue) -> tuple[JsonChange, ...]:
    """The differences in the order of the baseline, at most `MAX_JSON_CHANGES`; none when both say the same.

    Array elements are aligned, so that one element inserted is one path added. A removed element has its place in the
    baseline, any other its place in the candidate.
    """
    changes: list[JsonChange] = []
    _compare(baseline, candidate, "", changes)
    return tuple(changes[:MAX_JSON_CHANGES])


def compact(value: JsonValue) -> str:
    """The value as JSON text: keys sorted, no white space, equal numbers written alike. Equal values, equal texts."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{_text(key)}:{compact(value[key])}' for key in sorted(value))}}}"
    if isinstance(value, list):
        return f"[{','.join(map(compact, value))}]"
    return _number_text(value) if isinstance(value, Decimal) else _text(value)


def describe(change: JsonChange, *, limit: int) -> str:
    """One line about a change; values are cut at `limit` characters."""
    values = {"added": (change.candidate,), "removed": (change.baseline,)}.get(change.change, change[2:])
    shown = (text if len(text) <= limit else f"{text[:limit]}\u2026" for text in map(compact, values))
    return f"{change.path or '/'} {change.change}: " + " \u2192 ".join(shown)


def _compare(baseline: JsonValue, candidate: JsonValue, path: str, changes: list[JsonChange]) -> None:
    if len(changes) > MAX_JSON_CHANGES:
        return
    if isinstance(baseline, dict) and isinstance(candidate, dict):
        for key in dict.fromkeys((*baseline, *candidate)):
            place = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
            if key not in candidate:
                changes.append(JsonChange(place, "removed", baseline=baseline[key]))
            elif key not in baseline:
                changes.append(JsonChange(place, "added", candidate=candidate[key]))
            else:
                _compare(baseline[key], candidate[key], place, changes)
    elif isinstance(baseline, list) and isinstance(candidate, list):
        _compare_arrays(baseline, candidate, path, changes)
    elif compact(baseline) != compact(candidate):
        changes.append(JsonChange(path, "changed", baseline, candidate))


def _compare_arrays(
    baseline: list[JsonValue], candidate: list[JsonValue], path: str, changes: list[JsonChange]
) -> None:
    for b_start, b_end, c_start, c_end in _edited_stretches(baseline, candidate):
        shared = min(b_end - b_start, c_end - c_start)
        for offset in range(shared):
            _compare(baseline[b_start + offset], candidate[c_start + offset], f"{path}/{c_start + offset}", changes)
        removed = range(b_start + shared, b_end)
        added = range(c_start + shared, c_end)
        changes.extend(JsonChange(f"{path}/{place}", "removed", baseline=baseline[place]) for place in removed)
        changes.extend(JsonChange(f"{path}/{place}", "added", candidate=candidate[place]) for place in added)


def _edited_stretches(baseline: list[JsonValue], candidate: list[JsonValue]) -> list[tuple[int, int, int, int]]:
    if len(baseline) * len(candidate) > _MAX_CELLS:
        return [(0, len(baseline), 0, len(candidate))]
    found = Indel.opcodes([compact(value) for value in baseline], [compact(value) for value in candidate])
    stretches: list[tuple[int, int, int, int]] = []
    for edit in found:
        if edit.tag == "equal":
            continue
        bounds = (edit.src_start, edit.src_end, edit.dest_start, edit.dest_end)
        if stretches and stretches[-1][1] == bounds[0] and stretches[-1][3] == bounds[2]:
            before = stretches.pop()
            bounds = (before[0], bounds[1], before[2], bounds[3])
        stretches.append(bounds)
    return stretches


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("An object has a key twice.")
    return found


def _refuse(name: str) -> JsonValue:
    raise ValueError(f"{name} is no JSON.")


def _text(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False)


def _number_text(value: Decimal) -> str:
    """Without a fraction of zeros and without an exponent, where that is not too long."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # JSON has no infinity
    significant = "".join(map(str, digits)).rstrip("0")
    if not significant:
        return "0"
    exponent += len(digits) - len(significant)
    minus = "-" if sign else ""
    if abs(exponent) > _MAX_ZEROS:
        return f"{minus}{significant}e{exponent}"
    return f"{minus}{Decimal(f'{significant}e{exponent}'):f}"


def _depth(text: str) -> int:
    """The deepest nesting, brackets inside strings counted too."""
    return max(accumulate((1 if bracket in "[{" else -1 for bracket in _BRACKETS.findall(text)), initial=0))
