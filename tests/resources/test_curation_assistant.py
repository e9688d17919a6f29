import math

import pytest

from pipelines.runs.backends import Completion, OutputToken, TokenAlternative
from resources.curation_assistant import ChoosingBackend, letter_chances

OPTIONS = ("accept", "edit", "reject")


def token(*alternatives: tuple[str, float]) -> OutputToken:
    top = tuple(TokenAlternative(token_id=None, token=text, logprob=math.log(p)) for text, p in alternatives)
    return OutputToken(token_id=None, token=alternatives[0][0], bytes=None, logprob=top[0].logprob, top_k=top)


class Answering:
    def __init__(self, completion: Completion) -> None:
        self.completion = completion
        self.prompts: list[str] = []

    def complete(self, prompt, sampling):
        self.prompts.append(prompt)
        return self.completion


def test_chances_are_those_of_the_letters_among_themselves() -> None:
    # A 0.3 and " a" 0.1 are one letter, B has 0.1, C none: of 0.5 in all 0.8, 0.2 and 0.
    logprobs = {"A": math.log(0.3), " a": math.log(0.1), "B.": math.log(0.1), "The": math.log(0.5)}
    assert letter_chances(logprobs, dict(zip("ABC", OPTIONS, strict=True))) == pytest.approx(
        {"accept": 0.8, "edit": 0.2, "reject": 0.0}
    )
    assert letter_chances({"The": -1.0}, {"A": "accept"}) == {}


def test_the_first_token_that_is_a_letter_decides() -> None:
    backend = Answering(
        Completion(status="ok", output="\nB", tokens=(token(("\n", 0.9)), token(("B", 0.6), ("A", 0.2))))
    )
    assert ChoosingBackend(backend).choose("What?", OPTIONS) == pytest.approx(
        {"accept": 0.25, "edit": 0.75, "reject": 0}
    )
    assert "A. accept\nB. edit\nC. reject" in backend.prompts[0]


def test_without_logprobs_the_letter_counts_and_without_an_answer_nothing() -> None:
    said = ChoosingBackend(Answering(Completion(status="ok", output="C"))).choose("What?", OPTIONS)
    assert said == {"accept": 0.0, "edit": 0.0, "reject": 1.0}
    assert ChoosingBackend(Answering(Completion(status="ok", output="well"))).choose("What?", OPTIONS) is None
    assert ChoosingBackend(Answering(Completion(status="timeout", output=None))).choose("What?", OPTIONS) is None
