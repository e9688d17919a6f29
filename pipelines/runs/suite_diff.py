"""What differs between two versions of a suite: one row per change. Pure.

Two suites have no change exactly when their digests are equal, so descriptions and comments make none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import orjson
import polars as pl

from pipelines.evidence.segments import cut
from pipelines.runs.suites import Sample, Suite

Change = Literal["added", "removed", "changed"]
# Texts in which people change a word here and there; in every other field the two values say it all.
_PROSE = frozenset({"prompt", "reference"})


class SuiteChange(NamedTuple):
    """One change; `part` is suite, sampling or sample, values are text or canonical JSON, None where absent.

    `edits` are the word edits of a changed prompt or reference, `[-removed-]` and `{+added+}`.
    """

    part: str
    sample_id: str | None
    field: str
    change: Change
    baseline: str | None
    candidate: str | None
    edits: str | None


def diff_suites(baseline: Suite, candidate: Suite) -> pl.DataFrame:
    """Changes from `baseline` to `candidate`: of the suite, of its sampling, then sample by sample.

    Columns as in `SuiteChange`. An added or removed sample is one row with its prompt; a sample's scorers are those
    that judge it, whether its own or the suite's.
    """
    rows = [
        *_changed_fields("suite", None, _suite_fields(baseline), _suite_fields(candidate)),
        *_changed_fields("sampling", None, baseline.sampling.model_dump(), candidate.sampling.model_dump()),
        *_order_changes(baseline, candidate),
        *_sample_changes(baseline, candidate),
    ]
    schema = dict.fromkeys(SuiteChange._fields, pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row")


def word_edits(baseline: str, candidate: str) -> str:
    """The candidate's text with `[-removed-]` and `{+added+}` words marked in it."""
    return "".join(
        (f"[-{part.baseline}-]" if part.baseline else "") + (f"{{+{part.candidate}+}}" if part.candidate else "")
        if part.is_edit
        else part.baseline
        for part in cut(baseline, candidate, "word")
    )


def _suite_fields(suite: Suite) -> Mapping[str, Any]:
    return {"name": suite.name, "version": suite.version, "schema_version": suite.schema_version}


def _sample_fields(suite: Suite, sample: Sample) -> Mapping[str, Any]:
    return {
        "prompt": sample.prompt,
        "reference": sample.reference,
        "scorers": [use.model_dump(mode="json") for use in suite.uses_of(sample)],
        "tags": list(sample.tags),
    }


def _changed_fields(
    part: str, sample_id: str | None, baseline: Mapping[str, Any], candidate: Mapping[str, Any]
) -> Iterator[SuiteChange]:
    for field, value in baseline.items():
        before, after = _as_text(value), _as_text(candidate[field])
        if before == after:
            continue
        edits = word_edits(before, after) if field in _PROSE and before is not None and after is not None else None
        change: Change = "added" if before is None else "removed" if after is None else "changed"
        yield SuiteChange(part, sample_id, field, change, before, after, edits)


def _order_changes(baseline: Suite, candidate: Suite) -> Iterator[SuiteChange]:
    """One row when the samples that both have are asked in another order."""
    in_both = {sample.id for sample in baseline.samples} & {sample.id for sample in candidate.samples}
    before, after = ([one.id for one in suite.samples if one.id in in_both] for suite in (baseline, candidate))
    if before != after:
        yield SuiteChange("suite", None, "order of samples", "changed", _as_text(before), _as_text(after), None)


def _sample_changes(baseline: Suite, candidate: Suite) -> Iterator[SuiteChange]:
    before = {sample.id: sample for sample in baseline.samples}
    after = {sample.id: sample for sample in candidate.samples}
    for id_, sample in before.items():
        if id_ in after:
            fields = _sample_fields(baseline, sample), _sample_fields(candidate, after[id_])
            yield from _changed_fields("sample", id_, *fields)
        else:
            yield SuiteChange("sample", id_, "prompt", "removed", sample.prompt, None, None)
    for id_, sample in after.items():
        if id_ not in before:
            yield SuiteChange("sample", id_, "prompt", "added", None, sample.prompt, None)


def _as_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
