"""What a span is, in one word for all sources: its kind, the device that was busy, its step.

What belongs here: rules over categories and names. Where a span stands in its lane is `span_places.py`.
"""

from __future__ import annotations

import polars as pl

from lake.tables.runs import DEVICES, SPAN_KINDS

_GPU_KERNELS = ("kernel",)
_GPU_COPIES = ("gpu_memcpy", "gpu_memset", "memcpy", "memset")
_GPU_NOTES = ("gpu_user_annotation",)
# The profiler's own record of itself: it lies over everything and is nothing that ran.
BOOKKEEPING_CATEGORY = "Trace"
_KIND_OF_CATEGORY = {
    **dict.fromkeys(("user_annotation", *_GPU_NOTES, "phase"), "phase"),
    **dict.fromkeys(("cpu_op", "operator", "python_function", "execute_tool", "tool", "retrieval"), "operator"),
    **dict.fromkeys(
        ("cuda_runtime", "cuda_driver", "hip_runtime", "hip_driver", "xpu_runtime", "xpu_driver", "runtime", "driver"),
        "runtime",
    ),
    **dict.fromkeys(_GPU_KERNELS, "kernel"),
    **dict.fromkeys(_GPU_COPIES, "copy"),
    **dict.fromkeys(
        ("request", "model", "chat", "completion", "text_completion", "generate_content", "embeddings"), "request"
    ),
    **dict.fromkeys(("solver", "scorer", "scorers", "sample", "agent", "subtask", "invoke_agent", "init"), "phase"),
}
_COMMUNICATION = r"(?i)^(void )?(nccl|rccl|oneccl|hccl|mscclpp|nvshmem)|ncclDevKernel|ncclKernel"
_STEP = r"^ProfilerStep#(\d{1,18})$"


def device_expr() -> pl.Expr:
    """`cpu` or `gpu`, from the category."""
    category = pl.col("category").str.to_lowercase()
    is_gpu = category.is_in([*_GPU_KERNELS, *_GPU_COPIES, *_GPU_NOTES]).fill_null(value=False)
    return pl.when(is_gpu).then(pl.lit("gpu")).otherwise(pl.lit("cpu")).cast(pl.Enum(DEVICES))


def kind_expr() -> pl.Expr:
    """One of `SPAN_KINDS`, from category and name."""
    category, name = pl.col("category").str.to_lowercase(), pl.col("name")
    is_note = category.is_in(["user_annotation", *_GPU_NOTES]).fill_null(value=False)
    is_kernel = category.is_in(_GPU_KERNELS).fill_null(value=False)
    return (
        pl.when(is_note & name.str.contains(_STEP))
        .then(pl.lit("step"))
        .when(is_kernel & name.str.contains(_COMMUNICATION))
        .then(pl.lit("communication"))
        .otherwise(category.replace_strict(_KIND_OF_CATEGORY, default="other", return_dtype=pl.String))
        .fill_null("other")
        .cast(pl.Enum(SPAN_KINDS))
    )


def step_expr() -> pl.Expr:
    """The number of the iteration that a span of kind `step` marks; null for every other."""
    return pl.when(pl.col("span_kind") == "step").then(pl.col("name").str.extract(_STEP).cast(pl.Int64, strict=False))


def correlation_expr() -> pl.Expr:
    """What a kernel or copy shares with the call that launched it; null where the source gives nothing."""
    return pl.col("attributes").str.extract(r'"correlation":\s*(-?\d{1,18})\b').cast(pl.Int64, strict=False)
