"""A configured backend as something that chooses one of several words, for labels of the curation queue.

What belongs here: asking a backend so that the answer has a probability. What is asked is
`pipelines/databits/assistant.py`.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipelines.runs.backends import Backend, SamplingParameters
from resources.backends import open_backend

if TYPE_CHECKING:
    from resources.installation import Installation

# Backends report at most this many of the likeliest tokens.
TOP_K = 20
# A model that answers in words still gives the letter within so many tokens.
MAX_TOKENS = 4


class ChoosingBackend:
    """A backend that answers a question of several options by one letter.

    The probability of an option is that of its letter as the first token, among the letters. A backend without
    log-probabilities answers with certainty, as far as can be known.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def name(self) -> str:
        """Model and backend."""
        identity = self._backend.identity
        return f"{identity.model} on {identity.name}"

    def choose(self, question: str, options: Sequence[str]) -> Mapping[str, float] | None:
        """How likely each option is, adding up to 1; None when nothing came back that names an option."""
        letters = dict(zip(string.ascii_uppercase, options, strict=False))
        listed = "\n".join(f"{letter}. {option}" for letter, option in letters.items())
        prompt = f"{question}\n\nAnswer with one letter.\n{listed}"
        sampling = SamplingParameters(temperature=0.0, max_output_tokens=MAX_TOKENS, seed=0, top_k_logprobs=TOP_K)
        completion = self._backend.complete(prompt, sampling)
        if completion.status != "ok":
            return None
        for token in completion.tokens:
            if chances := letter_chances({one.token: one.logprob for one in token.top_k}, letters):
                return chances
        named = next((letters[sign] for sign in (completion.output or "") if sign in letters), None)
        return None if named is None else {option: float(option == named) for option in options}


def letter_chances(logprobs: Mapping[str, float], letters: Mapping[str, str]) -> dict[str, float]:
    """Probabilities of the options whose letters are among the tokens, adding up to 1; none when no letter is. Pure."""
    weights: dict[str, float] = {}
    for token, logprob in logprobs.items():
        letter = token.strip().rstrip(".):").upper()
        if letter in letters:
            weights[letters[letter]] = weights.get(letters[letter], 0.0) + math.exp(logprob)
    total = sum(weights.values())
    return {option: weights.get(option, 0.0) / total for option in letters.values()} if total > 0 else {}


@contextmanager
def open_assistant(installation: Installation) -> Iterator[ChoosingBackend | None]:
    """The backend that labels items of the queue, open for the length of the block; None where none is configured."""
    name = installation.config.databits.assistant
    chosen = installation.config.nightly.backends[0] if name is None and installation.config.nightly.backends else name
    if not chosen:
        yield None
        return
    with open_backend(chosen, installation.config.backends[chosen], installation.state.home) as backend:
        yield ChoosingBackend(backend)
