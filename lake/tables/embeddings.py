"""Tables of vectors: the texts that can be found by meaning, and one vector a text and model.

The vector index is no table: it is a file made from `silver.embeddings` that may be thrown away at any time.
"""

from __future__ import annotations

import dataframely as dy

from lake.contracts import TableContract, count, vocabulary

TEXT_SOURCES = ("example_inputs", "example_outputs", "databits", "prompts")


class Texts(dy.Schema):
    """What stands for a thing when it is looked for by meaning."""

    text_source = vocabulary(*TEXT_SOURCES, description="Which texts of which table these are.", primary_key=True)
    subject_id = dy.String(
        primary_key=True,
        description="What the text is about: example_id, databit_id, or prompt_digest.",
    )
    text_digest = dy.String(regex="^[0-9a-f]{64}$", description="SHA-256 of the text; joins silver.embeddings.")
    vector_id = count("Number of the text in every vector index: the first 60 bits of its digest.", nullable=False)
    text = dy.String(min_length=1, description="The text that is embedded.")


class Embeddings(dy.Schema):
    """The vector of a text under a model."""

    text_digest = dy.String(
        primary_key=True, regex="^[0-9a-f]{64}$", description="SHA-256 of the text; joins silver.texts."
    )
    model_name = dy.String(primary_key=True, min_length=1, description="Embedding model that made the vector.")
    vector_id = count("Number of the text in every vector index: the first 60 bits of its digest.", nullable=False)
    revision = dy.String(
        min_length=1, description="What exactly the model was: digest of its files, or commit on its hub."
    )
    dimension = dy.Int32(min=1, description="Length of the vector.")
    is_normalised = dy.Bool(description="Whether the vector has length 1, so that a dot product is a cosine.")
    vector = dy.List(dy.Float32(), min_length=1, description="The vector.")


TABLES = (
    TableContract(
        name="texts",
        layer="silver",
        grain="One row per text source and subject: the text by which the subject is found.",
        schema=Texts,
        sort_by=("text_source", "subject_id"),
    ),
    TableContract(
        name="embeddings",
        layer="silver",
        grain="One row per embedding model and text.",
        schema=Embeddings,
        # Not partitioned by model: delta-rs 1.6 cannot read the change feed of a partition whose value has a slash,
        # which the name of nearly every model has.
        sort_by=("model_name", "text_digest"),
    ),
)
