"""What can be configured of embeddings. No model or runtime is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PACKAGED = "packaged"
HASHING = "hashing"
Runtime = Literal["auto", "onnx", "torch"]


class EmbeddingsConfig(BaseModel):
    """Which model makes vectors of texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        default=PACKAGED,
        min_length=1,
        description="`packaged` (all-MiniLM-L6-v2 of the extra `local`), a folder, a sentence-transformers model on "
        "the hub such as BAAI/bge-large-en-v1.5, or `hashing` (shared words only, no model).",
    )
    revision: str | None = Field(default=None, description="Commit or tag on the hub; its newest when absent.")
    runtime: Runtime = Field(
        default="auto",
        description="`onnx` is fast and covers BERT-like encoders, `torch` runs whatever sentence-transformers can; "
        "`auto` takes onnx where it fits.",
    )
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="CPU threads; when absent the machine's cores, at most four."
    )
    max_lag_seconds: float = Field(
        default=86_400.0,
        ge=0,
        allow_inf_nan=False,
        description="How old a change may be that the vector index has not seen, before its freshness check warns.",
    )
