"""Under which licence something made from others may be passed on: SPDX expressions, judged by the rule table.

Pure. The table is `license_rules.py`; which versions stem from which is `lineage.py`, and the judgement of every
version is written by `lineage_steps.py`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from lake.errors import UserError
from pipelines.databits.license_rules import BINDING, CLASS_PATTERNS, CLASSES, CONFLICTS, Class

if TYPE_CHECKING:
    from license_expression import Licensing

Status = Literal["clear", "unknown", "unrecognised", "incompatible"]
# Ways to choose between alternatives (OR) that are tried; beyond, the first alternatives of the rest are taken.
MAX_CHOICES = 512
_STRICTNESS = {name: rank for rank, name in enumerate(CLASSES)}
_OWN_TERMS = re.compile(r"LicenseRef-[A-Za-z0-9.-]+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The licence of a work made from others.

    `effective` is an SPDX expression of the strictest licences that bind it, None when none is known. `findings` say
    in words what stands in the way, or what is worth knowing.
    """

    effective: str | None
    status: Status
    findings: tuple[str, ...]


def canonical_license(text: str) -> str:
    """An SPDX expression with its ids written as SPDX writes them.

    `LicenseRef-…` names terms of one's own. Raises `UserError` naming the part that is no licence, and near ones.
    """
    if parse_license(text) is None:
        words = [word for word in re.split(r"[()\s]+", text) if word and word.upper() not in {"AND", "OR", "WITH"}]
        unknown = next((word for word in words if parse_license(word) is None), text)
        near = get_close_matches(unknown, _spdx_ids(), n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UserError(
            f"{unknown!r} is no SPDX licence.{hint} Write an "
            "expression such as MIT or 'Apache-2.0 OR MIT' (https://spdx.org/licenses), or LicenseRef-NAME for terms "
            "of your own."
        )
    return str(_licensing().parse(text).render())


@cache
def parse_license(text: str) -> frozenset[frozenset[str]] | None:
    """The alternatives of an SPDX expression, each the set of licences that then hold together; None if it is none.

    `MIT OR (Apache-2.0 AND BSD-3-Clause)` is {{MIT}, {Apache-2.0, BSD-3-Clause}}.
    """
    from license_expression import ExpressionError, ExpressionParseError

    licensing = _licensing()
    try:
        parsed = licensing.parse(text)
        unknown = [] if parsed is None else licensing.unknown_license_keys(parsed)
    except (ExpressionError, ExpressionParseError, ValueError):
        return None
    if parsed is None or any(not _OWN_TERMS.fullmatch(key) for key in unknown):
        return None
    return frozenset(_together(option) for option in _options(parsed))


def class_of(license_id: str) -> Class:
    """How strict a licence is; one that the table does not know counts as terms of its own."""
    return next(
        (name for pattern, name in CLASS_PATTERNS if re.fullmatch(pattern, license_id, re.IGNORECASE)), "own terms"
    )


def judge(own: str | None, inherited: Collection[str | None]) -> Judgement:
    """The licence of a work with the stated licence `own`, made from works with the licences `inherited`.

    None stands for a licence that nobody stated. A work that states none takes that of its sources. Of alternatives
    the choice is taken that has the fewest conflicts, then the freest.
    """
    stated = sorted({text for text in (own, *inherited) if text is not None})
    unread = [text for text in stated if parse_license(text) is None]
    read = [alternatives for text in stated if (alternatives := parse_license(text)) is not None]
    findings = [f"{text!r} is no SPDX expression" for text in unread]
    chosen = _best_choice(read)
    conflicts = _conflicts(chosen)
    sources = _best_choice([found for text in inherited if text is not None and (found := parse_license(text))])
    conflicts += [
        f"{name} does not allow that something is made from it"
        for name in sorted(sources)
        if class_of(name) == "no derivatives"
    ]
    findings += conflicts
    if any(text is None for text in inherited):
        findings.append("an ancestor has no stated licence")
    if own is not None:
        findings += _weakened(own, sources)
    return Judgement(
        effective=_expression(chosen), status=_status(own, inherited, unread, conflicts), findings=tuple(findings)
    )


def _status(
    own: str | None, inherited: Collection[str | None], unread: Collection[str], conflicts: Collection[str]
) -> Status:
    if conflicts:
        return "incompatible"
    if unread:
        return "unrecognised"
    is_unknown = any(text is None for text in inherited) or (own is None and not inherited)
    return "unknown" if is_unknown else "clear"


def _weakened(own: str, sources: Collection[str]) -> list[str]:
    """What the work says of itself that its sources do not allow it to say."""
    alternatives = parse_license(own)
    binding = {name for name in sources if class_of(name) in BINDING}
    if alternatives is None or not binding:
        return []
    strictest = max(binding, key=strictness)
    if any(max(map(strictness, together)) >= strictness(strictest) for together in alternatives):
        return []
    return [f"it states {own}, but stems from {strictest}, which binds it"]


def strictness(license_id: str) -> int:
    """Rank of a licence's class, 0 for the freest."""
    return _STRICTNESS[class_of(license_id)]


def strictness_of_expression(text: str | None) -> int:
    """Rank of the freest alternative of an expression; -1 for none, or one that cannot be read."""
    alternatives = None if text is None else parse_license(text)
    return -1 if alternatives is None else min(max(map(strictness, together)) for together in alternatives)


def _best_choice(alternatives: Collection[frozenset[frozenset[str]]]) -> frozenset[str]:
    """One alternative of each, together: with the fewest conflicts, then the freest, then by name."""
    ordered = [sorted(options, key=_cost) for options in sorted(alternatives, key=len, reverse=True)]
    choices = itertools.islice(itertools.product(*reversed(ordered)), MAX_CHOICES)
    return min((frozenset().union(*choice) for choice in choices), key=_cost, default=frozenset())


def _cost(together: frozenset[str]) -> tuple[int, int, list[str]]:
    return len(_conflicts(together)), max(map(strictness, together), default=-1), sorted(together)


def _conflicts(together: Iterable[str]) -> list[str]:
    return [
        f"{first} and {second}: {why}"
        for first, second in itertools.combinations(sorted(together), 2)
        if (why := _why_not_together(first, second)) is not None
    ]


@cache
def _why_not_together(first: str, second: str) -> str | None:
    bases = [name.split(" WITH ")[0] for name in (first, second)]
    if bases[0] == bases[1]:
        return None
    for one, other, why in CONFLICTS:
        for left, right in (bases, bases[::-1]):
            if re.fullmatch(one, left, re.IGNORECASE) and re.fullmatch(other, right, re.IGNORECASE):
                return why
    return None


def _expression(together: frozenset[str]) -> str | None:
    """The strictest of licences that hold together, as one expression; those that bind no less are named beside it."""
    if not together:
        return None
    strictest = max(map(strictness, together))
    return " AND ".join(sorted(name for name in together if strictness(name) == strictest))


@cache
def _licensing() -> Licensing:
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


@cache
def _spdx_ids() -> list[str]:
    known = _licensing().known_symbols.items()
    return [key for key, symbol in known if not symbol.is_exception and not key.startswith("LicenseRef-")]


def _options(parsed: Any) -> list[Any]:  # noqa: ANN401 - a node of boolean.py's tree, which ships no types
    """The alternatives of a parsed expression."""
    normal = _licensing().dnf(parsed.simplify())
    return list(normal.args) if normal.__class__.__name__ == "OR" else [normal]


def _together(option: Any) -> frozenset[str]:  # noqa: ANN401 - as above
    parts = option.args if option.__class__.__name__ == "AND" else [option]
    return frozenset(part.render() for part in parts)
