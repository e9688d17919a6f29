"""A small OpenAI-compatible server on loopback whose answers follow from the prompt alone.

For tests that need a whole night in seconds: it streams chat completions with log-probabilities, so the real HTTP
backend is exercised, and two runs of one night answer alike.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def answer(model: str, prompt: str) -> list[str]:
    """Words that differ between models for about half of the prompts."""
    digest = hashlib.sha256(prompt.encode()).digest()
    words = [f"word{byte % 16}" for byte in digest[:6]]
    if model == "b" and digest[6] % 2:
        words[3] = "other"
    return words


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words = answer(request["model"], request["messages"][-1]["content"])
        if request.get("stream"):
            self._stream(request, words)
        else:
            self._send("application/json", json.dumps(_whole(request, words)).encode())

    def do_GET(self) -> None:
        self._send("application/json", json.dumps({"object": "list", "data": [{"id": "a"}, {"id": "b"}]}).encode())

    def _stream(self, request: dict, words: list[str]) -> None:
        chunks = [
            {
                "id": "x",
                "object": "chat.completion.chunk",
                "model": request["model"],
                "choices": [
                    {
                        "index": 0,
                        "delta": {"content": text},
                        "logprobs": {"content": [_logprob(text)]},
                        "finish_reason": None,
                    }
                ],
            }
            for text in _spaced(words)
        ]
        chunks.append(
            {"id": "x", "model": request["model"], "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        )
        chunks.append({"id": "x", "model": request["model"], "choices": [], "usage": _usage(words)})
        body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        self._send("text/event-stream", body.encode())

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


def _spaced(words: list[str]) -> list[str]:
    return [word if index == 0 else f" {word}" for index, word in enumerate(words)]


def _logprob(text: str) -> dict:
    other = {"token": " no", "logprob": -3.0, "bytes": list(b" no")}
    this = {"token": text, "logprob": -0.1, "bytes": list(text.encode())}
    return {**this, "top_logprobs": [this, other]}


def _usage(words: list[str]) -> dict:
    return {"prompt_tokens": 10, "completion_tokens": len(words), "total_tokens": 10 + len(words)}


def _whole(request: dict, words: list[str]) -> dict:
    return {
        "id": "x",
        "object": "chat.completion",
        "model": request["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": " ".join(words)},
                "logprobs": {"content": [_logprob(text) for text in _spaced(words)]},
                "finish_reason": "stop",
            }
        ],
        "usage": _usage(words),
    }


@contextmanager
def openai_server() -> Iterator[str]:
    """Serve on a free port of 127.0.0.1; gives the base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
