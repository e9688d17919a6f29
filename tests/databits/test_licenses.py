"""What may be passed on under which licence; the expected answers are those of the licences' own texts and FAQs."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import UserError
from lake.store import Lake
from pipelines.databits.licenses import canonical_license, class_of, judge, parse_license, strictness
from pipelines.databits.lineage_steps import LICENSES, update_lineage
from pipelines.databits.revising import Changes, fork_databit, merge_databits, revise_databit
from tests.databits.units import hand, make, relicense


@pytest.mark.parametrize(
    ("license_id", "expected"),
    [
        ("CC0-1.0", "public domain"),
        ("MIT", "permissive"),
        ("CC-BY-4.0", "permissive"),
        ("ODC-By-1.0", "permissive"),
        ("LGPL-2.1-only", "weak copyleft"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "weak copyleft"),
        ("GPL-3.0-or-later", "share-alike"),
        ("CC-BY-SA-4.0", "share-alike"),
        ("ODbL-1.0", "share-alike"),
        ("AGPL-3.0-only", "network copyleft"),
        ("CC-BY-NC-4.0", "non-commercial"),
        ("CC-BY-NC-SA-4.0", "non-commercial"),
        ("CC-BY-NC-ND-4.0", "no derivatives"),
        ("LicenseRef-ours", "own terms"),
        ("Some-New-License-1.0", "own terms"),
    ],
)
def test_licences_are_classed_by_what_they_ask(license_id: str, expected: str) -> None:
    assert class_of(license_id) == expected


def test_an_expression_is_written_as_spdx_writes_it() -> None:
    assert canonical_license("apache-2.0 or mit") == "Apache-2.0 OR MIT"
    assert canonical_license("GPL-2.0+") == "GPL-2.0-or-later"
    assert canonical_license("LicenseRef-ours AND MIT") == "LicenseRef-ours AND MIT"
    for wrong in ("Apache 2", "", "MIT AND", "apach-2.0 OR MIT"):
        with pytest.raises(UserError, match="is no SPDX licence"):
            canonical_license(wrong)
    with pytest.raises(UserError, match=r"Did you mean Apache-2\.0"):
        canonical_license("Apache-2")


def test_alternatives_are_parted() -> None:
    assert parse_license("MIT OR (Apache-2.0 AND BSD-3-Clause)") == {
        frozenset({"MIT"}),
        frozenset({"Apache-2.0", "BSD-3-Clause"}),
    }


@pytest.mark.parametrize(
    ("own", "inherited", "effective", "status"),
    [
        ("MIT", [], "MIT", "clear"),
        (None, ["MIT", "GPL-3.0-only"], "GPL-3.0-only", "clear"),
        (None, ["MIT", "Apache-2.0"], "Apache-2.0 AND MIT", "clear"),
        # Apache's patent terms are no part of GPL 2, but of GPL 3.
        (None, ["Apache-2.0", "GPL-2.0-only"], "GPL-2.0-only", "incompatible"),
        (None, ["Apache-2.0", "GPL-3.0-only"], "GPL-3.0-only", "clear"),
        # Of alternatives the one that can be met is taken.
        (None, ["Apache-2.0", "GPL-2.0-only OR MIT"], "Apache-2.0 AND MIT", "clear"),
        (None, ["CC-BY-SA-4.0", "GPL-3.0-only"], "CC-BY-SA-4.0 AND GPL-3.0-only", "clear"),
        (None, ["CC-BY-SA-3.0", "GPL-3.0-only"], "CC-BY-SA-3.0 AND GPL-3.0-only", "incompatible"),
        (None, ["CC-BY-SA-4.0", "CC-BY-NC-4.0"], "CC-BY-NC-4.0", "incompatible"),
        # One may own such a thing, but make nothing of it.
        ("CC-BY-ND-4.0", [], "CC-BY-ND-4.0", "clear"),
        (None, ["CC-BY-ND-4.0"], "CC-BY-ND-4.0", "incompatible"),
        (None, [], None, "unknown"),
        ("MIT", [None], "MIT", "unknown"),
        ("no such", ["MIT"], "MIT", "unrecognised"),
    ],
)
def test_what_follows_from_the_sources(own, inherited, effective, status) -> None:
    found = judge(own, inherited)
    assert (found.effective, found.status) == (effective, status)


def test_a_work_cannot_say_less_than_its_sources_bind_it_to() -> None:
    assert judge("MIT", ["GPL-3.0-only"]).findings == ("it states MIT, but stems from GPL-3.0-only, which binds it",)
    assert judge("MIT", ["GPL-3.0-only"]).effective == "GPL-3.0-only"
    assert judge("GPL-3.0-only", ["GPL-3.0-only"]).findings == ()
    assert judge("MIT", ["Apache-2.0"]).findings == ()


SOME = st.sampled_from(
    [None, "CC0-1.0", "MIT", "MPL-2.0", "GPL-3.0-only", "AGPL-3.0-only", "CC-BY-NC-4.0", "MIT OR GPL-2.0-only"]
)


@given(SOME, st.lists(SOME, max_size=4), SOME)
@settings(deadline=None, max_examples=60)
def test_another_source_never_makes_it_freer_nor_its_order_a_difference(own, inherited, another) -> None:
    def rank(text: str | None) -> int:
        return -1 if text is None else max(map(strictness, text.split(" AND ")))

    before, after = judge(own, inherited), judge(own, [*inherited, another])
    assert rank(after.effective) >= rank(before.effective)
    assert judge(own, [another, *reversed(inherited)]) == after


# Over the lake


def licenses(lake: Lake) -> dict[tuple[str, int], tuple[str | None, str, str | None]]:
    update_lineage(lake)
    rows = lake.read(LICENSES, columns=["databit_id", "version", "effective_license", "status", "inherited_from"])
    return {(unit, version): tuple(rest) for unit, version, *rest in rows.iter_rows()}


def test_the_strictest_ancestor_binds_over_any_depth(lake: Lake) -> None:
    keys = [make(lake, "free", license_id="MIT"), make(lake, "strict", license_id="GPL-3.0-only")]
    merged = merge_databits(lake, keys, databit_id="merged", changes=Changes(), hand=hand())
    fork_databit(lake, merged, databit_id="fork", changes=Changes(content="x"), hand=hand())
    found = licenses(lake)
    # That the parent of the fork states nothing leaves nothing open: it was made from others.
    assert found["fork", 1] == ("GPL-3.0-only", "clear", "strict@1")
    assert found["free", 1] == ("MIT", "clear", None)


def test_a_licence_that_is_put_right_is_put_right_for_all_that_stems_from_it(lake: Lake) -> None:
    root = make(lake, "root")
    child = make(lake, "child", parents=[root])
    make(lake, "grandchild", parents=[child])
    assert licenses(lake)["grandchild", 1] == (None, "unknown", None)
    relicense(lake, root, "CC-BY-SA-4.0")
    assert licenses(lake)["grandchild", 1] == ("CC-BY-SA-4.0", "clear", "root@1")
    before = lake.read(LICENSES).sort(pl.col("databit_id"), "version").drop("findings")
    update_lineage(lake, mode="all")
    assert lake.read(LICENSES).sort(pl.col("databit_id"), "version").drop("findings").equals(before)


def test_other_content_under_another_licence_leaves_the_old_version_as_it_was(lake: Lake) -> None:
    root = make(lake, "root", license_id="MIT")
    make(lake, "child", parents=[root])
    revise_databit(lake, "root", Changes(content="new", license="GPL-3.0-only"), expected_version=1, hand=hand())
    assert licenses(lake)["child", 1] == ("MIT", "clear", "root@1")
