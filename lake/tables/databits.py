"""Tables of the training data: versioned units, their lineage, licences, quality and curation.

A DataBit's version is written once and never changed: a revision, a licence put right and a retraction are each a
further version. What is derived from versions (edges, closure, licences, scores, duplicates) is gold and can be
rebuilt from `silver.databits`.
"""

from __future__ import annotations

import dataframely as dy

from lake.contracts import TableContract, count, measure, timestamp, vocabulary

DUPLICATE_KINDS = ("exact", "near")
LICENSE_STATUSES = ("clear", "unknown", "unrecognised", "incompatible")
CURATION_SUBJECTS = ("databit", "example", "output")
CURATION_STATES = ("open", "claimed", "accepted", "edited", "rejected")
CURATION_LABELS = ("accept", "edit", "reject")
MODALITIES = ("text", "json", "code", "image", "audio", "video")

_DIGEST = "^[0-9a-f]{64}$"


class Databits(dy.Schema):
    """A unit of data as one of its versions had it."""

    databit_id = dy.String(
        primary_key=True, min_length=1, description="Id of the unit (UUID), the same in all versions."
    )
    version = dy.Int64(primary_key=True, min=1, description="Version of the unit, from 1, without gaps.")
    content = dy.String(
        description="What the unit holds: any JSON value as canonical JSON text (a text is a JSON string)."
    )
    content_digest = dy.String(regex=_DIGEST, description="SHA-256 of the canonical JSON text.")
    modality = dy.List(
        dy.String(regex=f"^({'|'.join(MODALITIES)})$"), description=f"What is in it, of: {', '.join(MODALITIES)}."
    )
    attribution = dy.Struct(
        {
            "creator": dy.String(nullable=True),
            "source": dy.String(nullable=True),
            "license": dy.String(nullable=True),
            "derived_from": dy.List(dy.Struct({"databit_id": dy.String(), "version": dy.Int64()})),
        },
        description="Who made it, where it was taken from, its licence as an SPDX expression (null while unknown), and "
        "the versions of other units that it was made from.",
    )
    quality_scores = dy.List(
        dy.Struct({"scorer": dy.String(), "value": dy.Float64()}),
        description="Scores that came with the unit, from its author or its source; what our own scorers find is in "
        "gold.quality_scores.",
    )
    search_keys = dy.List(dy.String(), description="Words by which it is found, as name=value or plain; sorted.")
    created_at = timestamp("When the version was written.", nullable=False)
    created_by = dy.String(description="Who wrote the version.")
    change_note = dy.String(nullable=True, description="What is different from the version before, in words.")
    is_deleted = dy.Bool(description="Whether this version retracts the unit.")


class LineageEdges(dy.Schema):
    """That a version was made from another unit's version."""

    child_id = dy.String(primary_key=True, description="Unit that was made; joins silver.databits.")
    child_version = dy.Int64(primary_key=True, min=1, description="Its version.")
    parent_id = dy.String(primary_key=True, description="Unit that it was made from.")
    parent_version = dy.Int64(primary_key=True, min=1, description="Version of the parent.")
    parent_index = dy.Int64(min=0, description="Place among the parents, from 0.")
    created_at = timestamp("When the child was written.", nullable=False)


class LineageClosure(dy.Schema):
    """That a version stems from another, directly or over others."""

    descendant_id = dy.String(primary_key=True, description="Unit that stems from the ancestor.")
    descendant_version = dy.Int64(primary_key=True, min=1, description="Its version.")
    ancestor_id = dy.String(primary_key=True, description="Unit that it stems from.")
    ancestor_version = dy.Int64(primary_key=True, min=1, description="Version of the ancestor.")
    depth = dy.Int64(min=1, description="Fewest derivations between the two; 1 for a parent.")


class DatabitLicenses(dy.Schema):
    """Under which licence a version may be used, given all that it stems from."""

    databit_id = dy.String(primary_key=True, description="Unit; joins silver.databits.")
    version = dy.Int64(primary_key=True, min=1, description="Its version.")
    declared_license = dy.String(nullable=True, description="SPDX expression that its attribution states.")
    effective_license = dy.String(
        nullable=True, description="The strictest among its own and its ancestors'; null when none is known."
    )
    status = vocabulary(*LICENSE_STATUSES, description="Whether it may be passed on under the effective licence.")
    inherited_from = dy.String(nullable=True, description="id@version of the ancestor whose licence is the strictest.")
    findings = dy.List(dy.String(), description="What stands in the way, in words; empty when it is clear.")
    rules_digest = dy.String(regex=_DIGEST, description="SHA-256 of the rule table by which it was judged.")


class QualityScores(dy.Schema):
    """What one of our scorers found in a version."""

    databit_id = dy.String(primary_key=True, description="Unit; joins silver.databits.")
    version = dy.Int64(primary_key=True, min=1, description="Its version.")
    scorer = dy.String(primary_key=True, description="Name of the scorer; docs/databits.md lists them.")
    scorer_digest = dy.String(regex=_DIGEST, description="SHA-256 of the scorer's name, revision and options.")
    value = measure("as the scorer says", "What it found; null where it does not apply.")
    detail = dy.String(
        nullable=True, description="What the value stands on, for instance the language or kinds of PII."
    )


class DatabitDuplicates(dy.Schema):
    """That a unit says what an earlier one says already."""

    databit_id = dy.String(primary_key=True, description="The later unit.")
    version = dy.Int64(min=1, description="Its newest version when it was compared.")
    duplicate_kind = vocabulary(*DUPLICATE_KINDS, description="Whether they are equal or nearly so.")
    canonical_id = dy.String(description="The earliest unit that it repeats.")
    canonical_version = dy.Int64(min=1, description="Version of that unit.")
    similarity_ratio = measure("ratio", "Jaccard similarity of their 5-character shingles; 1 for equal ones.", min=0)
    scorer_digest = dy.String(regex=_DIGEST, description="SHA-256 of the method's settings.")


class DuplicateKeys(dy.Schema):
    """By what the newest version of a unit is found among others like it."""

    databit_id = dy.String(primary_key=True, description="Unit; joins silver.databits.")
    version = dy.Int64(min=1, description="The version that was looked at: its newest then.")
    text_digest = dy.String(regex=_DIGEST, description="SHA-256 of its normalised text: equal for exact duplicates.")
    bands = dy.List(dy.Int64(), description="Hash of each band of its MinHash signature; empty for very short texts.")
    scorer_digest = dy.String(regex=_DIGEST, description="SHA-256 of the method's settings.")
    created_at = timestamp(
        "When that version was written; the earliest of a group is its canonical member.", nullable=False
    )


class CurationItems(dy.Schema):
    """Something that a person should look at, and what became of it."""

    item_id = dy.String(primary_key=True, description="Stable id: of subject, version and rule.")
    subject_kind = vocabulary(*CURATION_SUBJECTS, description="What is to be judged.")
    subject_id = dy.String(description="Id of it: a databit_id, an example_id, or run_id/sample_id/repeat_index.")
    subject_version = dy.Int64(nullable=True, min=1, description="Version of a DataBit.")
    rule = dy.String(description="Which rule or score put it into the queue.")
    reason = dy.String(description="Why, in words.")
    proposed_content = dy.String(nullable=True, description="What it would become if accepted, as JSON text.")
    target_id = dy.String(description="DataBit that the decision writes: a new version of it, or the unit itself.")
    license = dy.String(nullable=True, description="Licence of what is proposed, as an SPDX expression.")
    derived_from = dy.List(
        dy.Struct({"databit_id": dy.String(), "version": dy.Int64()}),
        description="Versions that what is proposed was made from.",
    )
    search_keys = dy.List(dy.String(), description="Words by which what is proposed is to be found.")
    priority = measure("1", "More urgent is higher; the queue is worked from the top.", nullable=False)
    state = vocabulary(*CURATION_STATES, description="How far it is.")
    assistant_label = vocabulary(
        *CURATION_LABELS, description="What the language model would do; null while not asked.", nullable=True
    )
    assistant_confidence = measure("ratio", "How sure it is: probability of its label among the three.", min=0)
    assistant_model = dy.String(nullable=True, description="Model that labelled it.")
    claimed_by = dy.String(nullable=True, description="Who works on it.")
    claim_expires_at = timestamp("The claim runs out then; null when nobody claimed it.")
    reviewer = dy.String(nullable=True, description="Who decided.")
    decision_note = dy.String(nullable=True, description="Why it was decided so.")
    result_id = dy.String(nullable=True, description="DataBit that the decision wrote.")
    result_version = dy.Int64(nullable=True, min=1, description="Its version.")
    created_at = timestamp("When it was put into the queue.", nullable=False)
    decided_at = timestamp("When it was decided.")


class DatabitExports(dy.Schema):
    """That DataBits left the lake as a file."""

    export_id = dy.String(primary_key=True, description="Stable id of the act.")
    path = dy.String(description="File that was written.")
    row_count = count("Versions in it.", nullable=False)
    databits_version = dy.Int64(min=0, description="Delta version of silver.databits that was exported.")
    overridden_count = count("Versions in it whose licence is not clear.", nullable=False)
    override_reason = dy.String(nullable=True, description="Why they were exported all the same.")
    exported_at = timestamp("When it was done.", nullable=False)
    exported_by = dy.String(description="Who did it.")


TABLES: tuple[TableContract, ...] = (
    TableContract(
        name="databits",
        layer="silver",
        grain="One row per version of a DataBit.",
        schema=Databits,
        sort_by=("databit_id", "version"),
    ),
    TableContract(
        name="curation_items",
        layer="silver",
        grain="One row per thing that a person should look at, by one rule.",
        schema=CurationItems,
        sort_by=("created_at", "item_id"),
    ),
    TableContract(
        name="databit_exports",
        layer="silver",
        grain="One row per export of DataBits into a file.",
        schema=DatabitExports,
        sort_by=("exported_at",),
        is_append_only=True,
    ),
    TableContract(
        name="duplicate_keys",
        layer="silver",
        grain="One row per DataBit, as its newest version was when duplicates were looked for.",
        schema=DuplicateKeys,
        sort_by=("databit_id",),
    ),
    TableContract(
        name="lineage_edges",
        layer="gold",
        grain="One row per version of a DataBit and version that it was made from.",
        schema=LineageEdges,
        sort_by=("child_id", "child_version", "parent_index"),
    ),
    TableContract(
        name="lineage_closure",
        layer="gold",
        grain="One row per version of a DataBit and version that it stems from, over any number of derivations.",
        schema=LineageClosure,
        sort_by=("descendant_id", "descendant_version", "depth"),
    ),
    TableContract(
        name="databit_licenses",
        layer="gold",
        grain="One row per version of a DataBit, with the licence that follows from all it stems from.",
        schema=DatabitLicenses,
        sort_by=("databit_id", "version"),
    ),
    TableContract(
        name="quality_scores",
        layer="gold",
        grain="One row per version of a DataBit and scorer.",
        schema=QualityScores,
        sort_by=("databit_id", "version", "scorer"),
    ),
    TableContract(
        name="databit_duplicates",
        layer="gold",
        grain="One row per DataBit that repeats an earlier one, at its newest version.",
        schema=DatabitDuplicates,
        sort_by=("canonical_id", "databit_id"),
    ),
)
