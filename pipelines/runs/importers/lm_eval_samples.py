"""What a sample row of lm-evaluation-harness says: prompt, answers, reference, scores.

Which run the row belongs to, and rows of several filters, are `lm_eval.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.runs.records import Fault, JsonObject, as_list, as_number, as_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Keys of a sample row that are not metrics, for versions that did not list the metrics.
_PLAIN_KEYS = frozenset(
    {
        "doc_id",
        "doc",
        "target",
        "arguments",
        "resps",
        "filtered_resps",
        "filter",
        "metrics",
        "doc_hash",
        "prompt_hash",
        "target_hash",
    }
)


class Answers(NamedTuple):
    """`output` is the first answer, `repeats` are those of further repeats, whose scores are in the first."""

    prompt: str | None
    output: str | None
    reference: str | None
    repeats: Sequence[str | None]


def read_answers(value: JsonObject) -> Answers:
    """What a row was asked and answered, in whichever of the shapes of a request it has."""
    try:
        arguments, responses, target = value["arguments"], value["resps"], value["target"]
        request = arguments["gen_args_0"]
        prompt, settings, answers = request["arg_0"], request["arg_1"], responses[0]
        answer = answers[0]
    except (KeyError, IndexError, TypeError):
        return _unusual_answers(value)
    # Nearly every generation is one request with one answer, all of it text; `match` takes four times as long to see.
    is_single = len(arguments) == len(responses) == len(answers) == 1
    are_objects = type(arguments) is type(request) is type(settings) is dict
    are_lists = type(responses) is type(answers) is list
    are_texts = type(prompt) is type(answer) is type(target) is str
    if is_single and are_objects and are_lists and are_texts:
        return Answers(prompt, answer, target, ())
    return _unusual_answers(value)


def _unusual_answers(value: JsonObject) -> Answers:
    requests = [_request(item) for item in _request_list(value.get("arguments"))]
    prompt = as_text(requests[0][0]) if requests else None
    target = as_text(value.get("target"))
    responses = as_list(value.get("resps"))
    continuations = [request[1] for request in requests]
    if continuations and all(isinstance(item, str) for item in continuations):
        return Answers(prompt, _chosen(continuations, responses), _choice_text(target, continuations), ())
    answers = as_list(responses[0]) if responses and isinstance(responses[0], list) else responses[:1]
    texts = [as_text(answer) for answer in answers]
    if continuations and continuations[0] is None:
        # Rolling log-likelihood: the response is a number about the prompt, nothing was answered.
        texts = []
    return Answers(prompt, texts[0] if texts else None, target, texts[1:])


def _request_list(arguments: object) -> list[Any]:
    return list(arguments.values()) if isinstance(arguments, dict) else as_list(arguments)


def _request(item: object) -> tuple[Any, Any]:
    """Prompt and second argument: generation settings, a continuation, or None. Old versions wrote lists."""
    if isinstance(item, dict):
        return item.get("arg_0"), item.get("arg_1")
    parts = as_list(item)
    return parts[0] if parts else None, parts[1] if len(parts) > 1 else None


def _chosen(continuations: list[str], responses: list[Any]) -> str | None:
    """The continuation with the highest log-probability; the first of equal ones, as argmax has it."""
    logprobs = [_choice_logprob(response) for response in responses[: len(continuations)]]
    known = [(logprob, -index) for index, logprob in enumerate(logprobs) if logprob is not None]
    return continuations[-max(known)[1]] if known else None


def _choice_logprob(response: object) -> float | None:
    """`[["-0.1", "False"]]`: numbers are written as text."""
    pair = as_list(response)
    while pair and isinstance(pair[0], list):
        pair = pair[0]
    return as_number(pair[0], "resps", []) if pair else None


def _choice_text(target: str | None, continuations: list[str]) -> str | None:
    """The text of the right choice, so that it can be read beside the chosen one; targets are written as indexes."""
    is_index = target is not None and len(continuations) > 1 and target.isascii() and target.isdigit()
    if target is None or not is_index or int(target) >= len(continuations):
        return target
    return continuations[int(target)]


def read_scores(value: JsonObject, faults: list[Fault]) -> list[tuple[str, float]]:
    """Scores of a row. Lists and objects are parts of a corpus metric, no score of one document: they stay raw."""
    listed = value.get("metrics")
    if isinstance(listed, list):
        names: Iterable[str] = dict.fromkeys([name for name in listed if isinstance(name, str)])
    else:
        names = sorted(value.keys() - _PLAIN_KEYS)
    scores = []
    for name in names:
        given = value.get(name)
        if type(given) is float and given - given == 0:
            scores.append((name, given))
        elif given is not None and not _is_no_score(given, is_listed=listed is not None):
            number = as_number(given, name, faults)
            if number is not None:
                scores.append((name, number))
    return scores


def _is_no_score(given: object, *, is_listed: bool) -> bool:
    """Lists and objects; of a row that does not list its metrics also texts, which may be anything."""
    return isinstance(given, list | dict) or (not is_listed and isinstance(given, str))
