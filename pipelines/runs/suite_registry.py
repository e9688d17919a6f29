"""Versions of prompt suites in the lake: save, load, list, archive and restore them. Steps over a `Lake`.

What belongs here: what becomes a row of silver.suites and silver.prompts, and when. What a suite is, is `suites.py`;
which version a word means `suite_references.py`; what differs between two versions `suite_diff.py`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl
import yaml

from lake.errors import ConflictError, UserError
from lake.identity import text_digest
from lake.store import MAX_TRIES, Lake
from lake.tables import contract_of
from pipelines.runs.redaction import redact, redact_text
from pipelines.runs.suite_references import NO_SUITE, Purpose, Version, find_version, find_versions, shown_version
from pipelines.runs.suites import Suite, WrittenSuite, parse_suite

SUITES, PROMPTS = "silver.suites", "silver.prompts"


@dataclass(frozen=True, kw_only=True)
class SavedSuite:
    """A suite version as it stands in the lake after `save_suite`.

    `is_new` is false when the same content stood there before. `same_label_index` is the version_index of an earlier
    version with other content whose author called it the same. `is_redacted` when secrets were taken out.
    """

    suite: str
    suite_digest: str
    version_index: int
    version: str
    prompt_count: int
    is_new: bool
    is_archived: bool
    is_redacted: bool
    same_label_index: int | None


def save_suite(
    lake: Lake, written: WrittenSuite, *, now: dt.datetime, author: str, note: str | None = None
) -> SavedSuite:
    """Keep a suite as the next version of its name, unless a version with this digest stands already.

    `note` says what is different from the version before. Versions are numbered without gaps, also when several
    processes save at once. Secrets are taken out of what is stored; such a version can be read, but not asked from
    the lake. Raises `ConflictError` when other writers never let this one through.
    """
    suite = written.suite
    for _ in range(MAX_TRIES):
        versions = _versions_of(lake, suite.name)
        standing = versions.filter(pl.col("suite_digest") == suite.digest)
        if standing.height:
            return _saved(standing.row(0, named=True), versions, is_new=False)
        index = _highest_index(versions) + 1
        rows = _version_rows(written, version_index=index, now=now, author=author, note=note)
        # First, so that whoever sees a version also finds its prompts.
        lake.upsert(PROMPTS, _prompt_rows(suite))
        if _insert(lake, rows):
            return _saved(rows.row(0, named=True), versions, is_new=True)
    raise ConflictError(f"The suite {suite.name!r} was saved by others {MAX_TRIES} times meanwhile; save it again.")


def load_saved_suite(lake: Lake, reference: str, *, purpose: Purpose = "ask") -> WrittenSuite:
    """The suite that `reference` means (see `find_version`), with the digest it was saved under.

    Raises `UserError` when there is none; to ask it, also when it is archived and not named by digest, or when
    secrets were taken out of it, so that asking it would not be asking the same.
    """
    version = read_version(lake, reference, purpose=purpose)
    if version["is_redacted"] and purpose == "ask":
        raise UserError(
            f"{shown_version(version)} was saved with secrets taken out, so it cannot be asked from the lake. "
            f"Give its file instead, or take the secrets out of the file and save it again."
        )
    suite = parse_suite(version["content"], source=shown_version(version))
    if suite.digest != version["suite_digest"] and purpose == "ask":
        raise UserError(
            f"{shown_version(version)} reads as {suite.digest[:12]} now, which is another suite: it was saved by "
            f"another version of Benchlake. Give its file instead."
        )
    return WrittenSuite(suite, version["content"])


def read_version(lake: Lake, reference: str, *, purpose: Purpose = "read") -> Version:
    """The row of silver.suites that `reference` means, content and all; raises `UserError` as `find_version`."""
    found = find_version(_all_versions(lake), reference, purpose=purpose)
    where = {"suite": found["suite"], "suite_digest": found["suite_digest"]}
    return lake.read(SUITES, where=where).row(0, named=True)


def read_prompts(lake: Lake, suite_digest: str) -> pl.DataFrame:
    """The prompts of a version, in the order in which they are asked."""
    return lake.read(PROMPTS, where={"suite_digest": suite_digest}).sort("sample_index")


def list_suites(lake: Lake, *, suite: str | None = None, has_archived: bool = False) -> pl.DataFrame:
    """Versions by name and age, without those that are archived unless `has_archived`.

    Columns of silver.suites but the content, and `run_count`: runs in the lake that asked this version. Raises
    `UserError` for a suite that has no versions at all.
    """
    versions = _all_versions(lake)
    if suite is not None:
        known = versions["suite"].unique().to_list()
        if suite not in known:
            raise UserError.unknown("saved suite", suite, known, none=NO_SUITE)
        versions = versions.filter(pl.col("suite") == suite)
    shown = versions if has_archived else versions.filter(~pl.col("is_archived"))
    asked = lake.read("silver.runs", columns=["fingerprint"]).select(pl.col("fingerprint").struct.field("suite_digest"))
    counts = asked.group_by("suite_digest").agg(run_count=pl.len().cast(pl.Int64))
    return (
        shown.join(counts, on="suite_digest", how="left")
        .with_columns(pl.col("run_count").fill_null(0))
        .sort("suite", "version_index")
    )


def archive_suite(lake: Lake, reference: str, *, now: dt.datetime, author: str, reason: str | None) -> list[Version]:
    """Put versions away: one, or for a bare name all of them. Gives those that were not archived before."""
    changes = {"is_archived": True, "archived_at": now, "archived_by": author, "archive_reason": reason}
    return _mark(lake, reference, changes)


def restore_suite(lake: Lake, reference: str, *, now: dt.datetime, author: str, reason: str | None) -> list[Version]:
    """Take versions out of the archive: one, or for a bare name all. Gives those that were archived.

    Who archived them, when and why stays in the row until they are archived again.
    """
    changes = {"is_archived": False, "restored_at": now, "restored_by": author, "restore_reason": reason}
    return _mark(lake, reference, changes)


def _mark(lake: Lake, reference: str, changes: dict[str, Any]) -> list[Version]:
    meant = find_versions(_all_versions(lake), reference)
    changed = [version for version in meant if version["is_archived"] != changes["is_archived"]]
    if changed:
        standing = lake.read(SUITES, where={"suite_digest": [version["suite_digest"] for version in changed]})
        rows = [{**row, **changes} for row in standing.iter_rows(named=True)]
        lake.upsert(SUITES, pl.DataFrame(rows, schema=contract_of(SUITES).dtypes))
    return changed


def _all_versions(lake: Lake) -> pl.DataFrame:
    return lake.read(SUITES, columns=[name for name in contract_of(SUITES).dtypes if name != "content"])


def _versions_of(lake: Lake, suite: str) -> pl.DataFrame:
    names = [name for name in contract_of(SUITES).dtypes if name != "content"]
    return lake.read(SUITES, columns=names, where={"suite": suite})


def _highest_index(versions: pl.DataFrame) -> int:
    return int(versions["version_index"].max() or 0)  # type: ignore[arg-type]  # the column holds whole numbers


def _insert(lake: Lake, rows: pl.DataFrame) -> bool:
    """Add a version if its place is still free; the commit fails by itself when the table changes after the look."""
    name, index = rows["suite"][0], rows["version_index"][0]

    def is_next(standing: pl.DataFrame) -> bool:
        return standing.is_empty() and _highest_index(_versions_of(lake, name)) == index - 1

    return lake.compare_and_upsert(SUITES, rows, expected=is_next)


def _saved(row: Version, versions: pl.DataFrame, *, is_new: bool) -> SavedSuite:
    others = versions.filter((pl.col("version") == row["version"]) & (pl.col("version_index") < row["version_index"]))
    return SavedSuite(
        suite=row["suite"],
        suite_digest=row["suite_digest"],
        version_index=row["version_index"],
        version=row["version"],
        prompt_count=row["prompt_count"],
        is_new=is_new,
        is_archived=row["is_archived"],
        is_redacted=row["is_redacted"],
        same_label_index=_highest_index(others) or None,
    )


def _version_rows(
    written: WrittenSuite, *, version_index: int, now: dt.datetime, author: str, note: str | None
) -> pl.DataFrame:
    suite = written.suite
    content, is_redacted = _storable_content(written)
    row = {
        "suite": suite.name,
        "suite_digest": suite.digest,
        "version_index": version_index,
        "version": suite.version,
        "prompt_digest": suite.prompt_digest,
        "sampling_digest": suite.sampling_digest,
        "description": redact_text(suite.description) or None,
        "content": content,
        "is_redacted": is_redacted,
        "prompt_count": len(suite.samples),
        "created_at": now,
        "created_by": author,
        "change_note": note,
        "is_archived": False,
    }
    return pl.DataFrame([row], schema=contract_of(SUITES).dtypes)


def _prompt_rows(suite: Suite) -> pl.DataFrame:
    samples = _clean([sample.model_dump(mode="json") for sample in suite.samples])
    uses = _clean([[use.model_dump(mode="json") for use in suite.uses_of(sample)] for sample in suite.samples])
    rows = [
        {
            "suite_digest": suite.digest,
            "sample_id": sample["id"],
            "suite": suite.name,
            "sample_index": index,
            "prompt_digest": text_digest(sample["prompt"]),
            "prompt": sample["prompt"],
            "reference": sample["reference"],
            "scorers": orjson.dumps(uses[index], option=orjson.OPT_SORT_KEYS).decode(),
            "tags": sample["tags"],
        }
        for index, sample in enumerate(samples)
    ]
    return pl.DataFrame(rows, schema=contract_of(PROMPTS).dtypes)


def _storable_content(written: WrittenSuite) -> tuple[str, bool]:
    """The author's text, or, if there is a secret in it, the suite without the secret; and whether there was one."""
    document = written.suite.model_dump(mode="json")
    clean = _clean(document)
    if clean == document and redact_text(written.text) == written.text:
        return written.text, False
    return redact_text(yaml.safe_dump(clean, sort_keys=False, allow_unicode=True)), True


def _clean(document: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Redacted as the importers redact a run file, so that prompts have the digest that silver.outputs has."""
    return orjson.loads(redact(orjson.dumps(document)))
