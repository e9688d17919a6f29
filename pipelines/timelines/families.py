"""Families of things that time is spent on, in words that fit in a sentence: `attention kernels`, `copies`.

Pure. Hundreds of kernels differ by tile size and type of number; whoever asks what got slower means the family.
"""

from __future__ import annotations

import re

import polars as pl

# The first pattern that is found in a kernel's name decides. Names are those of cuBLAS, CUTLASS, cuDNN, FlashAttention,
# Triton, FBGEMM and PyTorch's own kernels.
_KERNELS = (
    ("attention kernels", r"flash|fmha|attention|attn|sdpa|paged_kv"),
    ("matrix multiplication kernels", r"gemm|gemv|cutlass|cublas|matmul|wgmma|splitk|dot_kernel"),
    ("convolution kernels", r"conv|cudnn|winograd|implicit_con|nchwto|nhwcto"),
    ("embedding kernels", r"embedding|index_select|gather|scatter|index_put|jagged|permute_.*sparse"),
    ("normalisation kernels", r"layer_?norm|rms_?norm|batch_?norm|group_?norm|softmax"),
    ("optimiser kernels", r"multi_tensor_apply|adam|sgd|adagrad|lamb"),
    ("sorting kernels", r"sort|radix|scan|unique|topk|cub::|thrust"),
    ("reduction kernels", r"reduce|sum|mean"),
    ("elementwise kernels", r"elementwise|vectorized|fill|copy|cat(array|_)|triton_poi|triton_per|pointwise"),
)
_OF_KIND = {
    "communication": "communication",
    "copy": "copies",
    "runtime": "calls of the GPU runtime",
    "idle": "idle time",
    "step": "the step's own code",
}
OTHER_KERNELS = "other kernels"
_MANY = re.compile(r"kernels|copies|calls")


def family_expr() -> pl.Expr:
    """The family of rows that have span_kind and name; CPU operators and phases stand for themselves."""
    kernel: pl.Expr = pl.lit(OTHER_KERNELS)
    for family, pattern in reversed(_KERNELS):
        kernel = pl.when(pl.col("name").str.contains(f"(?i){pattern}")).then(pl.lit(family)).otherwise(kernel)
    kind = pl.col("span_kind").cast(pl.String)
    known = kind.replace_strict(_OF_KIND, default=None, return_dtype=pl.String)
    return pl.when(kind == "kernel").then(kernel).otherwise(pl.coalesce(known, "name")).alias("family")


def is_countable(family: str) -> bool:
    """Whether one can say how many more there are of it."""
    return _MANY.search(family) is not None
