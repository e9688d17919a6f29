import datetime as dt
import json
import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from jsonschema import Draft202012Validator

from lake.errors import UserError
from pipelines.runs.backends import (
    BackendIdentity,
    BackendStartError,
    Completion,
    OutputToken,
    SamplingParameters,
    TokenAlternative,
)
from pipelines.runs.partial_runs import RunBusyError, sole_writer
from pipelines.runs.run_lines import CodeVersion
from pipelines.runs.run_schema import json_schema
from pipelines.runs.suite_runs import SuiteRunResult, run_suite, suite_run_id
from pipelines.runs.suites import Suite, parse_suite

START = dt.datetime(2026, 11, 21, 2, 0, tzinfo=dt.UTC)
CODE = CodeVersion(commit="c0ffee", branch="main", is_dirty=False)
SUITE = parse_suite(
    """
name: small
version: 1
sampling: {max_output_tokens: 8, seed: 7}
scorers: [contains]
samples:
  - {id: a, prompt: one, reference: ONE, tags: [x, b]}
  - {id: b, prompt: two, reference: nothing}
  - {id: c, prompt: fail, reference: x}
  - {id: d, prompt: slow, reference: x}
  - {id: e, prompt: "\\u00e9\\u2028 \\U0001F642", scorers: []}
""",
    source="test",
)


class ShoutingBackend:
    """Answers in capitals; `fail` and `slow` are what they say. Counts what it is asked."""

    def __init__(self, *, concurrency: int = 1, engine_version: str = "1", limit: int | None = None) -> None:
        self.identity = BackendIdentity(name="inner", engine="shout", engine_version=engine_version, model="m")
        self.max_concurrency = concurrency
        self.asked: list[tuple[str, int | None]] = []
        self.is_closed = False
        self._limit = limit
        self._lock = threading.Lock()
        self.under_way = self.most_under_way = 0

    def complete(self, prompt: str, sampling: SamplingParameters) -> Completion:
        with self._lock:
            if self._limit is not None and len(self.asked) >= self._limit:
                raise KeyboardInterrupt
            self.asked.append((prompt, sampling.seed))
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        time.sleep(0.005 if self.max_concurrency > 1 else 0)
        with self._lock:
            self.under_way -= 1
        return _answer(prompt)

    def close(self) -> None:
        self.is_closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _answer(prompt: str) -> Completion:
    if prompt == "fail":
        raise RuntimeError("a defect")
    if prompt == "slow":
        return Completion.failed("too slow", status="timeout", latency_ms=5.0)
    likely = TokenAlternative(token_id=1, token="x", logprob=-0.5)
    never = TokenAlternative(token_id=2, token="y", logprob=float("-inf"))
    token = OutputToken(token_id=1, token="x", bytes=b"\xc3", logprob=-0.5, top_k=(likely, never))
    return Completion(status="ok", output=prompt.upper(), finish_reason="stop", tokens=(token,), latency_ms=2.0)


class Clock:
    """A second passes at every look."""

    def __init__(self, start: dt.datetime = START) -> None:
        self._now = start
        self._lock = threading.Lock()

    def __call__(self) -> dt.datetime:
        with self._lock:
            self._now += dt.timedelta(seconds=1)
            return self._now


def _run(
    folder: Path, opening: Callable[[], ShoutingBackend], *, suite: Suite = SUITE, repeats: int = 1, **options
) -> SuiteRunResult:
    return run_suite(
        suite,
        opening,
        run_id=options.pop("run_id", "run-1"),
        backend_name="shouting",
        repeats=repeats,
        work=folder / "work",
        landing=folder / "landing",
        code_version=options.pop("code_version", CODE),
        tags=options.pop("tags", ["nightly", "a"]),
        clock=options.pop("clock", Clock()),
        **options,
    )


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def _facts(path: Path) -> list[dict]:
    """Lines without the times, which differ between an undisturbed run and a resumed one."""
    return [{key: value for key, value in line.items() if not key.endswith("_at")} for line in _lines(path)]


def _undisturbed(tmp_path: Path, *, repeats: int = 1) -> Path:
    return _run(tmp_path / "undisturbed", ShoutingBackend, repeats=repeats).path


def test_a_run_file_has_the_run_its_outputs_and_the_end(tmp_path: Path) -> None:
    result = _run(tmp_path, ShoutingBackend)
    assert result.path == tmp_path / "landing" / "run-1.jsonl"
    assert (result.status, result.sample_count, result.reused_count, result.discarded_count) == ("success", 5, 0, 0)
    header, *outputs, end = _lines(result.path)
    assert header["type"] == "run"
    assert (header["suite"], header["backend"], header["engine"]) == ("small", "shouting", "shout")
    assert header["started_at"] == "2026-11-21T02:00:01.000000Z"
    assert header["expected_sample_count"] == 5
    assert header["tags"] == ["a", "nightly"]
    assert header["fingerprint"]["suite_digest"] == SUITE.digest
    assert header["fingerprint"]["concurrency"] == 1
    assert header["code_version"]["commit"] == "c0ffee"
    assert [line["sample_id"] for line in outputs] == ["a", "b", "c", "d", "e"]
    assert (end["type"], end["status"]) == ("end", "success")
    assert not list((tmp_path / "work").glob("*.jsonl"))


def test_outputs_carry_scores_tokens_and_reasons(tmp_path: Path) -> None:
    one, two, failed, slow, last = _lines(_run(tmp_path, ShoutingBackend).path)[1:-1]
    assert (one["scores"], two["scores"]) == ({"contains": 1.0}, {"contains": 0.0})
    assert one["tags"] == ["b", "x"]
    # An alternative of probability 0 is left out: JSON has no -inf.
    assert one["tokens"] == [
        {
            "token_id": 1,
            "token": "x",
            "bytes": [0xC3],
            "logprob": -0.5,
            "top_k": [{"token_id": 1, "token": "x", "logprob": -0.5}],
        }
    ]
    # A defect in a backend and a timeout are rows without scores: an error is not a score of 0.
    assert (failed["status"], failed["error_message"]) == ("error", "RuntimeError: a defect")
    assert (slow["status"], slow["error_message"], slow["output"]) == ("timeout", "too slow", None)
    assert failed["scores"] == slow["scores"] == {}
    assert last["output"] == "\u00c9\u2028 \U0001f642"


def test_a_finished_run_is_not_asked_again(tmp_path: Path) -> None:
    first = _run(tmp_path, ShoutingBackend)
    before = first.path.read_bytes()

    def opening() -> ShoutingBackend:
        raise AssertionError("opened")

    second = _run(tmp_path, opening)
    assert (second.sample_count, second.reused_count, second.status) == (5, 5, "success")
    assert second.path.read_bytes() == before


def _cuts(content: bytes) -> list[int]:
    """Every kind of place: nothing, inside each line, before and after each line feed."""
    ends = [index + 1 for index, byte in enumerate(content) if byte == 0x0A]
    starts = [0, *ends[:-1]]
    inside = [(start + end) // 2 for start, end in zip(starts, ends, strict=True)]
    return sorted({0, 1, *inside, *ends, *(end - 1 for end in ends)})


def test_a_run_killed_anywhere_resumes_to_the_same_file(tmp_path: Path) -> None:
    whole = _undisturbed(tmp_path, repeats=2)
    content = whole.read_bytes()
    prompts = {sample.id: sample.prompt for sample in SUITE.samples}
    for cut in _cuts(content):
        folder = tmp_path / f"cut-{cut}"
        partial = folder / "work" / "run-1.partial.jsonl"
        partial.parent.mkdir(parents=True)
        partial.write_bytes(content[:cut])
        kept = [json.loads(line) for line in content[:cut].split(b"\n")[:-1]]
        answered = [line for line in kept if line["type"] == "output"]
        backend = ShoutingBackend()
        result = _run(folder, lambda backend=backend: backend, repeats=2)
        assert _facts(result.path) == _facts(whole), cut
        assert result.reused_count == len(answered), cut
        assert result.discarded_count == 0
        # Only what is missing was asked, with the seed of its repeat.
        held = {(line["sample_id"], line["repeat_index"]) for line in answered}
        missing = [(id_, repeat) for repeat in range(2) for id_ in prompts if (id_, repeat) not in held]
        assert backend.asked == [(prompts[id_], 7 + repeat) for id_, repeat in missing], cut


@pytest.mark.parametrize(
    "damage", [b"\0" * 40 + b"\n", b'{"type":"output"\n', b"[]\n", b'{"type":"run"}\n', b"\xff\xfe\n"]
)
def test_what_stands_behind_a_damaged_line_is_asked_again(tmp_path: Path, damage: bytes) -> None:
    whole = _undisturbed(tmp_path)
    lines = whole.read_bytes().splitlines(keepends=True)
    partial = tmp_path / "work" / "run-1.partial.jsonl"
    partial.parent.mkdir()
    partial.write_bytes(b"".join([*lines[:3], damage, *lines[3:]]))
    result = _run(tmp_path, ShoutingBackend)
    assert result.reused_count == 2
    assert _facts(result.path) == _facts(whole)


def test_an_interrupted_run_keeps_what_was_answered(tmp_path: Path) -> None:
    first = ShoutingBackend(limit=2)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, lambda: first)
    assert first.is_closed
    second = ShoutingBackend()
    result = _run(tmp_path, lambda: second)
    assert result.reused_count == 2
    assert [prompt for prompt, _ in second.asked] == [sample.prompt for sample in SUITE.samples[2:]]
    assert _facts(result.path) == _facts(_undisturbed(tmp_path))


@pytest.mark.parametrize("change", ["engine", "suite", "code", "repeats"])
def test_outputs_of_another_configuration_are_not_mixed_in(tmp_path: Path, change: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, lambda: ShoutingBackend(limit=2))
    result = _run(
        tmp_path,
        lambda: ShoutingBackend(engine_version="2" if change == "engine" else "1"),
        suite=SUITE.model_copy(update={"version": "2"}) if change == "suite" else SUITE,
        code_version=replace(CODE, commit="beef01") if change == "code" else CODE,
        repeats=2 if change == "repeats" else 1,
    )
    assert (result.reused_count, result.discarded_count) == (0, 2)
    assert len(_lines(result.path)) == 2 + result.sample_count


def test_concurrency_is_bounded_and_loses_nothing(tmp_path: Path) -> None:
    backend = ShoutingBackend(concurrency=3)
    result = _run(tmp_path, lambda: backend, repeats=6)
    keys = sorted((line["sample_id"], line["repeat_index"]) for line in _lines(result.path)[1:-1])
    assert keys == sorted((sample.id, repeat) for sample in SUITE.samples for repeat in range(6))
    assert 1 < backend.most_under_way <= 3


def test_progress_counts_from_what_was_reused_to_the_total(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, lambda: ShoutingBackend(limit=2))
    seen: list[tuple[int, int, str]] = []
    _run(tmp_path, ShoutingBackend, progress=lambda *step: seen.append(step))
    assert seen == [(done, 5, "shouting") for done in (2, 3, 4, 5)]


def test_a_backend_that_cannot_start_is_a_run_with_status_error_and_is_tried_again(tmp_path: Path) -> None:
    def opening() -> ShoutingBackend:
        raise BackendStartError("no memory", engine="shout", model="m")

    failed = _run(tmp_path, opening)
    assert (failed.status, failed.sample_count, failed.error_message) == ("error", 0, "no memory")
    header, end = _lines(failed.path)
    assert (header["backend"], header["engine"], header["model"]) == ("shouting", "shout", "m")
    assert header["expected_sample_count"] == 5
    assert (end["status"], end["error_message"]) == ("error", "no memory")
    again = _run(tmp_path, ShoutingBackend)
    assert again.status == "success"
    assert _facts(again.path) == _facts(_undisturbed(tmp_path))


def test_a_users_mistake_is_no_run(tmp_path: Path) -> None:
    def opening() -> ShoutingBackend:
        raise UserError("not installed")

    with pytest.raises(UserError, match="not installed"):
        _run(tmp_path, opening)
    assert not (tmp_path / "landing").exists()


def test_a_scorer_that_gives_up_leaves_no_score(tmp_path: Path) -> None:
    suite = parse_suite(
        """
name: slow
version: 1
samples: [{id: a, prompt: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!, scorers: [regex: {pattern: '^(A|A|AA)+$'}]}]
""",
        source="test",
    )
    (output,) = _lines(_run(tmp_path, ShoutingBackend, suite=suite).path)[1:-1]
    assert (output["status"], output["scores"]) == ("ok", {})
    assert "took more than" in output["scorer_errors"]["regex"]


def test_half_a_surrogate_pair_does_not_stop_the_run(tmp_path: Path) -> None:
    class Broken(ShoutingBackend):
        def complete(self, prompt: str, sampling: SamplingParameters) -> Completion:
            return Completion(status="ok", output="x\ud83d y \ud83d\ude42", latency_ms=1.0)

    first = _lines(_run(tmp_path, Broken).path)[1]
    assert first["output"] == "x\ufffd y \U0001f642"


def _hold(path: Path, held: object, done: object) -> None:
    with sole_writer(path):
        held.set()
        done.wait(30)


def test_two_processes_do_not_answer_the_same_run(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    path = tmp_path / "work" / "run-1.partial.jsonl"
    other = context.Process(target=_hold, args=(path, held, done))
    other.start()
    try:
        assert held.wait(30)
        with pytest.raises(RunBusyError, match="answered by another process"):
            _run(tmp_path, ShoutingBackend)
    finally:
        done.set()
        other.join(30)
    assert _run(tmp_path, ShoutingBackend).status == "success"


@pytest.mark.parametrize("run_id", ["../up", "a/b", "", ".hidden", "a" * 129])
def test_a_run_id_that_is_no_file_name_is_refused(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(UserError, match="cannot be a file name"):
        _run(tmp_path, ShoutingBackend, run_id=run_id)


def test_repeats_begin_at_1_and_the_clock_knows_its_zone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="repeats is 0"):
        _run(tmp_path, ShoutingBackend, repeats=0)
    with pytest.raises(ValueError, match="without a time zone"):
        _run(tmp_path, ShoutingBackend, clock=Clock(dt.datetime(2026, 1, 1)))  # noqa: DTZ001


def test_the_run_id_is_of_suite_backend_night_and_label() -> None:
    parts = {"suite_digest": "s", "backend_digest": "b", "run_date": dt.date(2026, 11, 21), "label": "nightly"}
    first = suite_run_id(**parts)
    assert suite_run_id(**parts) == first
    changed = [{"suite_digest": "t"}, {"backend_digest": "c"}, {"run_date": dt.date(2026, 11, 22)}, {"label": "x"}]
    assert len({first, *(suite_run_id(**{**parts, **change}) for change in changed)}) == 5


def test_every_line_of_a_suite_run_keeps_the_schema(tmp_path: Path) -> None:
    validator = Draft202012Validator(json_schema())
    result = _run(tmp_path, ShoutingBackend, repeats=2)
    lines = _lines(result.path)
    assert {line["type"] for line in lines} == {"run", "output", "end"}
    assert [error.message for line in lines for error in validator.iter_errors(line)] == []
