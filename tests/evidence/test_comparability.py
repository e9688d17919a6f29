import re
from pathlib import Path

import pytest

from pipelines.evidence.comparability import (
    MUST_MATCH,
    SHOULD_MATCH,
    Coverage,
    assess,
    timing_differences,
)
from tests.evidence.rows import FINGERPRINT, run

FULL = Coverage(candidate_count=4, baseline_count=4, paired_count=4, mismatched_prompt_count=0)


def judged(candidate: dict | None = None, baseline: dict | None = None, *, coverage: Coverage = FULL, **changes):
    return assess(
        candidate=run("a", fingerprint=FINGERPRINT | (candidate or {})) | changes,
        baseline=run("b", "b", fingerprint=FINGERPRINT | (baseline or {})),
        coverage=coverage,
    )


def test_equal_fingerprints_are_comparable_whatever_the_engine():
    found = judged()
    assert (found.level, found.reasons) == ("comparable", ())


@pytest.mark.parametrize("field", MUST_MATCH)
def test_another_task_is_incomparable(field):
    found = judged({field: "other"})
    assert found.level == "incomparable"
    (reason,) = found.reasons
    assert reason.startswith(f"The {MUST_MATCH[field]} differ: candidate other, baseline {FINGERPRINT[field]}.")
    assert reason.endswith(" The runs did not do the same task.")


@pytest.mark.parametrize("field", SHOULD_MATCH)
def test_the_same_task_done_otherwise_warns(field):
    found = judged({field: 8})
    assert found.level == "warn"
    assert found.reasons == (f"The {SHOULD_MATCH[field]} differ: candidate 8, baseline {FINGERPRINT[field]}.",)


@pytest.mark.parametrize("field", MUST_MATCH | SHOULD_MATCH)
@pytest.mark.parametrize("sides", [({}, None), (None, {}), (None, None)])
def test_unknown_is_not_equal(field, sides):
    candidate, baseline = ({field: None} if side is None else {} for side in sides)
    found = judged(candidate, baseline)
    assert found.level == "warn"
    assert found.reasons == (
        f"Not recorded on both sides, so not known to be equal: {(MUST_MATCH | SHOULD_MATCH)[field]}.",
    )


def test_a_run_without_any_fingerprint_warns_once():
    found = assess(candidate=run("a", fingerprint=None), baseline=run("b"), coverage=FULL)
    assert found.level == "warn"
    assert len(found.reasons) == 1


def test_nothing_in_common_is_incomparable():
    none = Coverage(candidate_count=4, baseline_count=3, paired_count=0, mismatched_prompt_count=0)
    assert judged(coverage=none).reasons == ("The runs have no sample in common: candidate 4 outputs, baseline 3.",)


def test_other_prompts_under_the_same_ids_are_incomparable():
    other = Coverage(candidate_count=4, baseline_count=4, paired_count=4, mismatched_prompt_count=1)
    assert judged(coverage=other).level == "incomparable"


def test_what_has_no_counterpart_warns():
    partly = Coverage(candidate_count=5, baseline_count=6, paired_count=4, mismatched_prompt_count=0)
    assert judged(coverage=partly).reasons == (
        "Without a counterpart in the other run: 1 of 5 candidate outputs and 2 of 6 baseline outputs.",
    )


def test_a_broken_or_short_run_warns():
    assert judged(status="error", expected_sample_count=10).reasons == (
        "The candidate run ended as error.",
        "The candidate run has 4 of the 10 outputs that it promised.",
    )


def test_timings_need_the_same_machine_and_load():
    assert timing_differences(FINGERPRINT, FINGERPRINT) == []
    assert timing_differences(FINGERPRINT | {"hardware": None}, FINGERPRINT) == []
    assert timing_differences(FINGERPRINT | {"concurrency": 8}, FINGERPRINT) == [
        "The numbers of concurrent requests differ: candidate 8, baseline 1. Timings say nothing about each other."
    ]


def test_the_docs_name_every_field_with_its_class() -> None:
    page = (Path(__file__).parents[2] / "docs" / "comparability.md").read_text("utf-8")
    classes = dict(re.findall(r"^\| `(\w+)` \| (must|should) match", page, re.MULTILINE))
    assert classes == dict.fromkeys(MUST_MATCH, "must") | dict.fromkeys(SHOULD_MATCH, "should")
