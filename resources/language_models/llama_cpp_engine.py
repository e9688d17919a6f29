"""llama.cpp in this process as DSPy's engine: conversations, held to the JSON schema of the answer."""

from __future__ import annotations

import secrets
from typing import Any

import httpx

from resources.backends.gguf_models import find_model, need_packages
from resources.backends.llama_cpp import start_server
from resources.language_models.configuration import EmbeddedModelConfig


class LlamaCppEngine:
    """The packaged model, or the configured GGUF file; raises as `open_backend` says.

    The grammar that llama.cpp makes of the schema is what lets a small model answer in JSON at all. Equal beginnings of
    prompts are computed once (`cache_prompt`), which is most of a prompt with demos; answers are the same without.
    """

    supports_response_schema = True
    supported_params = frozenset({"response_format", "temperature", "max_tokens", "top_p", "seed", "stop"})

    def __init__(self, name: str, config: EmbeddedModelConfig) -> None:
        need_packages("xllamacpp")
        self.name = name
        self._model = find_model(config.gguf)
        self.model = f"{self._model.name}:{self._model.digest[:12]}"
        self.max_concurrency = config.concurrency
        key = secrets.token_hex(16)
        self._server: Any = start_server(self._model, config, key=key)
        self._client = httpx.Client(
            base_url=self._server.listening_address,
            headers={"Authorization": f"Bearer {key}"},
            timeout=config.timeout_seconds,
            trust_env=False,  # a proxy must not see loopback
        )

    def complete(self, request: Any) -> Any:  # noqa: ANN401 - dspy.lm15.Request and Response
        """Answer one request; raises DSPy's `ServerError` with llama.cpp's own message when it does not."""
        from dspy.lm15 import Message, Response, ServerError, Usage

        try:
            reply = self._client.post("/completion", json=self._body(request)).json()
        except (httpx.HTTPError, ValueError) as error:
            raise ServerError(f"llama.cpp: {type(error).__name__}: {error}") from error
        if "error" in reply:
            raise ServerError(f"llama.cpp: {reply['error'].get('message')}")
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant(reply["content"]),
            finish_reason="length" if reply["stop_type"] == "limit" else "stop",
            usage=Usage(input_tokens=reply["tokens_evaluated"], output_tokens=reply["tokens_predicted"]),
        )

    def cost_usd(self, response: Any) -> float | None:  # noqa: ANN401, ARG002 - dspy.lm15.Response
        """Nothing but time."""
        return 0.0

    def close(self) -> None:
        """Stop the server."""
        self._client.close()
        self._server = None

    def _body(self, request: Any) -> dict[str, Any]:  # noqa: ANN401 - dspy.lm15.Request
        config = request.config
        wanted = config.response_format or {}
        # A temperature of 0 needs no samplers; one above draws from the whole distribution, as other engines do.
        return {
            "prompt": self._model.render_messages(_messages(request)),
            "n_predict": config.max_tokens or -1,
            "temperature": config.temperature or 0.0,
            "samplers": ["top_p", "temperature"] if config.top_p is not None else ["temperature"],
            "cache_prompt": True,
            "stop": list(config.stop),
            **({"top_p": config.top_p} if config.top_p is not None else {}),
            **({"seed": config.seed} if config.seed is not None else {}),
            **({"json_schema": wanted["schema"]} if "schema" in wanted else {}),
            **({"json_schema": {"type": "object"}} if wanted.get("type") == "json_object" else {}),
        }


def _messages(request: Any) -> list[dict[str, str]]:  # noqa: ANN401 - dspy.lm15.Request
    system = request.system
    text = system if system is None or isinstance(system, str) else "".join(part.text for part in system)
    first = [{"role": "system", "content": text}] if text else []
    return [*first, *({"role": message.role, "content": message.text or ""} for message in request.messages)]
