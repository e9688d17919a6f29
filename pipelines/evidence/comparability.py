"""Whether two runs may be compared at all, and what a reader should know before believing the numbers.

Pure. A difference that makes every number meaningless is `incomparable`; one that may explain a number, or a fact
that nobody recorded, is `warn`. The engine is not looked at: comparing engines is what this is for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

# Differing here, the runs did not do the same task.
MUST_MATCH = {"suite_digest": "suites", "prompt_digest": "prompts"}
# Differing here, the runs did the same task in another way.
SHOULD_MATCH = {
    "chat_template_digest": "chat templates",
    "tokenizer": "tokenizers",
    "sampling_digest": "sampling parameters",
    "logprobs_mode": "logprobs modes",
    "concurrency": "numbers of concurrent requests",
    "hardware": "machines",
}
# Differing here, one run's milliseconds say nothing about the other's.
TIMING = {field: SHOULD_MATCH[field] for field in ("concurrency", "hardware")}

Fingerprint = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Comparability:
    """Whether a comparison means anything, and why it is not plainly so; no reasons when it is."""

    level: Literal["comparable", "warn", "incomparable"]
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much of two runs can be laid side by side."""

    candidate_count: int
    baseline_count: int
    paired_count: int
    mismatched_prompt_count: int


def assess(*, candidate: Mapping[str, Any], baseline: Mapping[str, Any], coverage: Coverage) -> Comparability:
    """Judge two rows of `silver.runs` (fingerprint, status, expected_sample_count) and what their outputs share."""
    fatal = [*fatal_differences(candidate["fingerprint"], baseline["fingerprint"]), *_fatal_coverage(coverage)]
    if fatal:
        return Comparability(level="incomparable", reasons=tuple(fatal))
    warnings = [
        *_warnings(candidate["fingerprint"], baseline["fingerprint"]),
        *_run_warnings("candidate", candidate, coverage.candidate_count),
        *_run_warnings("baseline", baseline, coverage.baseline_count),
        *_coverage_warnings(coverage),
    ]
    return Comparability(level="warn" if warnings else "comparable", reasons=tuple(warnings))


def fatal_differences(candidate: Fingerprint | None, baseline: Fingerprint | None) -> list[str]:
    """Sentences on what makes any comparison of the two meaningless."""
    return [
        f"{sentence} The runs did not do the same task." for sentence in _differences(MUST_MATCH, candidate, baseline)
    ]


def timing_differences(candidate: Fingerprint | None, baseline: Fingerprint | None) -> list[str]:
    """Sentences on what makes a comparison of the runs' timings meaningless."""
    return [
        f"{sentence} Timings say nothing about each other." for sentence in _differences(TIMING, candidate, baseline)
    ]


def _warnings(candidate: Fingerprint | None, baseline: Fingerprint | None) -> list[str]:
    unknown = [
        noun
        for field, noun in (MUST_MATCH | SHOULD_MATCH).items()
        if _field(candidate, field) is None or _field(baseline, field) is None
    ]
    warnings = _differences(SHOULD_MATCH, candidate, baseline)
    if unknown:
        warnings.append(f"Not recorded on both sides, so not known to be equal: {', '.join(unknown)}.")
    return warnings


def _differences(fields: Mapping[str, str], candidate: Fingerprint | None, baseline: Fingerprint | None) -> list[str]:
    sentences = []
    for field, noun in fields.items():
        left, right = _field(candidate, field), _field(baseline, field)
        if left is not None and right is not None and left != right:
            sentences.append(f"The {noun} differ: candidate {_shown(left)}, baseline {_shown(right)}.")
    return sentences


def _fatal_coverage(coverage: Coverage) -> list[str]:
    if coverage.mismatched_prompt_count:
        return [
            (
                f"{coverage.mismatched_prompt_count} outputs answer another prompt than their counterpart of the same "
                "sample id. The runs did not do the same task."
            )
        ]
    if not coverage.paired_count:
        return [
            (
                f"The runs have no sample in common: candidate {coverage.candidate_count} outputs, "
                f"baseline {coverage.baseline_count}."
            )
        ]
    return []


def _coverage_warnings(coverage: Coverage) -> Sequence[str]:
    alone = [
        f"{count - coverage.paired_count} of {count} {side} outputs"
        for side, count in (("candidate", coverage.candidate_count), ("baseline", coverage.baseline_count))
        if count > coverage.paired_count
    ]
    return [f"Without a counterpart in the other run: {' and '.join(alone)}."] if alone else []


def _run_warnings(side: str, run: Mapping[str, Any], output_count: int) -> list[str]:
    warnings = []
    if run["status"] != "success":
        warnings.append(f"The {side} run ended as {run['status']}.")
    expected = run["expected_sample_count"]
    if expected is not None and output_count < expected:
        warnings.append(f"The {side} run has {output_count} of the {expected} outputs that it promised.")
    return warnings


def _field(fingerprint: Fingerprint | None, field: str) -> object:
    return None if fingerprint is None else fingerprint.get(field)


def _shown(value: object) -> str:
    """Long values are digests: their beginning tells them apart."""
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."  # noqa: PLR2004  # longer than any name of hardware we saw
