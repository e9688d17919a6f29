"""Transformers in this process, on the weights of a GGUF file as 32-bit floats.

The file is dequantised once and kept as safetensors below the state folder; that takes half a minute the first time
and half a second afterwards. Decoding is an own loop over the model and its key-value cache, a few lines: it gives
the first token's true delay, raw log-probabilities, a time limit between tokens and a seeded generator, where
`generate` would take hooks for each and the global seed.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from lake.errors import BenchlakeError
from pipelines.runs.backends import (
    BackendIdentity,
    BackendStartError,
    Completion,
    CompletionPhase,
    GivenToken,
    OutputToken,
    SamplingParameters,
    ScoredPositions,
    TokenAlternative,
    TokenScoringError,
    phases_in_turn,
)
from resources.backends.converted_models import convert_model, quiet_loading
from resources.backends.gguf_models import GgufModel, find_model, need_packages
from resources.backends.machine import embedded_identity
from resources.backends.token_scoring import given_ids, whole_vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from resources.backends.configuration import TransformersConfig


class TransformersBackend:
    """A model answered by Transformers, one prompt at a time; raises as `open_backend` says."""

    def __init__(self, name: str, config: TransformersConfig, *, state_dir: Path) -> None:
        need_packages("gguf", "accelerate")
        # All files are local; without this a hub is asked for newer ones. Read when the library is imported.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
        self._gguf = find_model(config.gguf)
        self._config = config
        try:
            self._tokenizer, self._model = _load(convert_model(self._gguf, state_dir / "models"), config.threads)
        except BenchlakeError:
            raise
        except Exception as error:
            raise BackendStartError(
                f"Transformers cannot load {self._gguf.path}: {type(error).__name__}: {error}",
                engine="transformers",
                model=self._gguf.name,
            ) from error
        self._identity = _identity(name, self._gguf, config)
        self._one_at_a_time = Lock()
        self.complete("Hello", SamplingParameters(max_output_tokens=1, top_k_logprobs=0))

    @property
    def identity(self) -> BackendIdentity:
        """What answers."""
        return self._identity

    @property
    def max_concurrency(self) -> int:
        """One: PyTorch already spreads a prompt over the threads."""
        return 1

    def complete(self, prompt: str, sampling: SamplingParameters) -> Completion:
        """Ask one prompt; latency is from the prompt's text to the last token, waiting for another prompt apart."""
        asked = time.perf_counter()
        with self._one_at_a_time:
            started = time.perf_counter()
            try:
                completion = self._decode(prompt, sampling, started=started)
                return replace(completion, phases=_after_queue(completion.phases, (started - asked) * 1000))
            except (RuntimeError, ValueError) as error:
                latency_ms = (time.perf_counter() - started) * 1000
                return Completion.failed(f"Transformers: {type(error).__name__}: {error}", latency_ms=latency_ms)

    def score_tokens(
        self,
        prompt: str,
        tokens: Sequence[GivenToken],
        *,
        top_k: int | None,  # noqa: ARG002 - all of it costs nothing more
    ) -> ScoredPositions:
        """Score given tokens in one pass over prompt and output; always lists the whole vocabulary."""
        ids = given_ids(tokens)
        prompt_ids = self.tokenize(prompt)
        if len(prompt_ids) + len(ids) > self._config.context_tokens:
            raise TokenScoringError(
                f"Prompt and output have {len(prompt_ids) + len(ids)} tokens, the context "
                f"{self._config.context_tokens}; raise context_tokens of the backend."
            )
        with self._one_at_a_time:
            try:
                logprobs = _forced_logprobs(self._model, prompt_ids, ids)
            except (RuntimeError, ValueError, IndexError) as error:
                raise TokenScoringError(f"Transformers: {type(error).__name__}: {error}") from error
        return whole_vocabulary(ids, logprobs, self._gguf)

    def tokenize(self, prompt: str) -> list[int]:
        """Ids of the prompt's tokens as the model is given them, chat template included."""
        ids: list[int] = self._tokenizer(self._gguf.render_prompt(prompt), add_special_tokens=False)["input_ids"]
        return ids

    def close(self) -> None:
        """Free the weights."""
        self._model = self._tokenizer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _decode(self, prompt: str, sampling: SamplingParameters, *, started: float) -> Completion:
        import torch

        ids = self.tokenize(prompt)
        limit = self._config.context_tokens
        if len(ids) >= limit:
            return Completion.failed(
                f"The prompt has {len(ids)} tokens, the context {limit}; raise context_tokens of the backend.",
                latency_ms=(time.perf_counter() - started) * 1000,
            )
        ends = _end_ids(self._model)
        answer = _Answer(input_token_count=len(ids), started=started, stop=sampling.stop)
        answer.tokenise_ms = answer.seconds() * 1000
        generator = None if sampling.seed is None else torch.Generator().manual_seed(sampling.seed)
        step, cache = torch.tensor([ids]), None
        with torch.inference_mode():
            for _ in range(min(sampling.max_output_tokens, limit - len(ids))):
                result = self._model(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1)
                logits, cache = result.logits[0, -1], result.past_key_values
                token_id = _choose(logits, sampling.temperature, generator)
                answer.add(_token(token_id, logits, sampling.top_k_logprobs, self._gguf), is_end=token_id in ends)
                if answer.finish_reason is not None:
                    break
                if answer.seconds() > self._config.timeout_seconds:
                    return answer.completion(status="timeout", message="No answer within the time limit.")
                step = torch.tensor([[token_id]])
        return answer.completion()


@dataclass(kw_only=True)
class _Answer:
    """An output that grows token by token."""

    input_token_count: int
    started: float
    stop: tuple[str, ...]
    tokens: list[OutputToken] = field(default_factory=list)
    content: bytearray = field(default_factory=bytearray)
    finish_reason: str | None = None
    tokenise_ms: float = 0.0
    first_token_ms: float | None = None

    def add(self, token: OutputToken, *, is_end: bool) -> None:
        """Take the next token; sets `finish_reason` if it is the last."""
        if self.first_token_ms is None:
            self.first_token_ms = self.seconds() * 1000
        self.tokens.append(token)
        self.content += token.token.encode() if token.bytes is None else token.bytes
        if is_end or self._stop_at() is not None:
            self.finish_reason = "stop"

    def seconds(self) -> float:
        """Time since the prompt came."""
        return time.perf_counter() - self.started

    def completion(self, *, status: Any = "ok", message: str | None = None) -> Completion:  # noqa: ANN401
        """What came of it, cut before a stop text."""
        decoded_ms = self.seconds() * 1000
        output = bytes(self.content[: self._stop_at()]).decode("utf-8", "replace")
        first_ms = self.first_token_ms
        return Completion(
            status=status,
            output=output,
            finish_reason=self.finish_reason or ("length" if status == "ok" else None),
            tokens=tuple(self.tokens),
            input_token_count=self.input_token_count,
            output_token_count=len(self.tokens),
            latency_ms=self.seconds() * 1000,
            time_to_first_token_ms=self.first_token_ms,
            error_message=message,
            phases=phases_in_turn(
                tokenise=self.tokenise_ms,
                prefill=None if first_ms is None else first_ms - self.tokenise_ms,
                decode=None if first_ms is None else decoded_ms - first_ms,
                detokenise=self.seconds() * 1000 - decoded_ms,
            ),
        )

    def _stop_at(self) -> int | None:
        places = [place for text in self.stop if (place := self.content.find(text.encode())) >= 0]
        return min(places, default=None)


def _after_queue(phases: tuple[CompletionPhase, ...], queue_ms: float) -> tuple[CompletionPhase, ...]:
    """The phases of a prompt that had to wait for another."""
    later = (replace(phase, start_ms=phase.start_ms + queue_ms) for phase in phases)
    return (*phases_in_turn(queue=queue_ms), *later)


def _load(folder: Path, threads: int) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(threads)
    with quiet_loading():
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    return tokenizer, model.eval()


def _identity(name: str, model: GgufModel, config: TransformersConfig) -> BackendIdentity:
    return embedded_identity(
        name,
        model,
        config,
        engine="transformers",
        packages=("transformers", "torch", "tokenizers"),
        weights="float32, dequantised",
    )


def _forced_logprobs(model: Any, prompt_ids: list[int], ids: list[int]) -> Any:  # noqa: ANN401 - no types
    """Log-probabilities of the vocabulary at each of `ids`, shape (ids, vocabulary), as 64-bit floats."""
    import torch

    with torch.inference_mode():
        given = torch.tensor([[*prompt_ids, *ids[:-1]]])
        logits = model(input_ids=given, use_cache=False, logits_to_keep=len(ids)).logits[0]
        return logits.double().log_softmax(-1).numpy()


def _end_ids(model: Any) -> frozenset[int]:  # noqa: ANN401 - a Transformers model
    ends = model.generation_config.eos_token_id
    return frozenset(ends if isinstance(ends, list) else [ends])


def _choose(logits: Any, temperature: float, generator: Any) -> int:  # noqa: ANN401 - tensors
    if temperature == 0:
        return int(logits.argmax())
    import torch

    return int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator))


def _token(token_id: int, logits: Any, top_k: int, model: GgufModel) -> OutputToken:  # noqa: ANN401 - a tensor
    alternatives: tuple[TokenAlternative, ...] = ()
    logprob = None
    if top_k:
        logprobs = logits.log_softmax(-1)
        logprob = float(logprobs[token_id])
        values, indices = logprobs.topk(top_k)
        alternatives = tuple(
            TokenAlternative(token_id=index, token=model.token_text(index), logprob=value)
            for value, index in zip(values.tolist(), indices.tolist(), strict=True)
        )
    return OutputToken(
        token_id=token_id,
        token=model.token_text(token_id),
        bytes=model.token_bytes(token_id),
        logprob=logprob,
        top_k=alternatives,
    )
