"""Any sequence of verbs leaves what the same sequence leaves in a Python dict, in the table and in its feed."""

from __future__ import annotations

import tempfile
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lake.store import Lake
from tests.lake.rows import METRICS, metric_keys, metrics, replay, values_of

KEYS = st.sampled_from(["a", "b", "c", "it's", "ü", "z"])
ROWS = st.dictionaries(KEYS, st.integers(0, 2).map(float), max_size=5)
VERBS = st.one_of(
    st.tuples(st.just("upsert"), ROWS),
    st.tuples(st.just("replace"), st.lists(KEYS, min_size=1, max_size=3, unique=True), ROWS),
    st.tuples(st.just("remove"), st.lists(KEYS, max_size=3, unique=True)),
    st.tuples(st.just("append"), st.sampled_from(["n1", "n2", "n3"])),
    st.tuples(st.just("maintain")),
)


def do(lake: Lake, model: dict[str, float], verb: tuple[Any, ...]) -> tuple[dict[str, float], int | None]:
    """Apply the verb to the lake; gives the model after it and how many rows the verb said it wrote."""
    match verb:
        case "upsert", rows:
            return {**model, **rows}, lake.upsert(METRICS, metrics(rows)).rows_written
        case "replace", runs, rows:
            inside = {run: value for run, value in rows.items() if run in runs}
            kept = {run: value for run, value in model.items() if run not in runs}
            return {**kept, **inside}, lake.replace(METRICS, metrics(inside), where={"run_id": runs}).rows_written
        case "remove", runs:
            kept = {run: value for run, value in model.items() if run not in runs}
            return kept, lake.remove(METRICS, metric_keys(runs)).rows_written
        case "append", token:
            return {**model, token: -1.0}, lake.append(METRICS, metrics({token: -1.0}), token=token).rows_written
        case _:
            lake.maintain(METRICS)
            return model, None


@settings(max_examples=20, deadline=None)
@given(verbs=st.lists(VERBS, min_size=1, max_size=7))
def test_verbs_do_what_a_dict_does(verbs: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake, model = Lake.open(folder), dict[str, float]()
        told = {}
        for verb in verbs:
            # An appended key may be removed and appended again under its token, which then lands no second time.
            if verb[0] == "append" and verb[1] in {
                used[1] for used in verbs[: verbs.index(verb)] if used[0] == "append"
            }:
                continue
            before = lake.version(METRICS)
            after, written = do(lake, model, verb)
            if written is not None:
                assert (lake.version(METRICS) > max(before, 0)) == (after != model)
                assert written <= len(after) + len(model)
            model = after
            told[lake.version(METRICS)] = model
            assert values_of(lake) == model
        for version, content in told.items():
            if version >= 0:
                assert values_of(lake, at=version) == content
        assert replay(lake, METRICS).equals(lake.read(METRICS).sort("run_id"))
