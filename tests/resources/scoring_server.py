"""Servers on loopback that score given tokens as vLLM and llama.cpp do, as far as our requests go.

vLLM's shapes are those of its OpenAI-compatible server: `prompt_logprobs` is a list of objects by token id, None first.
llama.cpp's are those of the embedded server, which the tests of the embedded backend ask for real.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

PROMPT_IDS = [7, 8, 9]
LISTED = {1: 0.6, 2: 0.3, 3: 0.05}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kind: Literal["vllm", "llama.cpp", "neither"] = "vllm"

    def do_GET(self) -> None:
        known = {"/v1/models": {"data": []}}
        if self.kind == "vllm":
            known["/version"] = {"version": "0.20"}
        if self.kind == "llama.cpp":
            known["/props"] = {"default_generation_settings": {}}
        self._send(known.get(self.path))

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answers = {
            "/tokenize": lambda: {"tokens": PROMPT_IDS if "messages" in request else _cut(request)},
            "/apply-template": lambda: {"prompt": f"<user>{request['messages'][0]['content']}<assistant>"},
            "/v1/completions": lambda: _vllm(request),
            "/completion": lambda: _llama_cpp(request),
        }
        self._send(answers[self.path]() if self.path in answers else None)

    def _send(self, answer: dict | None) -> None:
        body = json.dumps(answer if answer is not None else {"error": "not found"}).encode()
        self.send_response(200 if answer is not None else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


def _cut(request: dict) -> list[int]:
    """A token a character, as digits say."""
    return [int(letter) for letter in request.get("prompt", request.get("content", ""))]


def _vllm(request: dict) -> dict:
    ids = request["prompt"]
    assert ids[: len(PROMPT_IDS)] == PROMPT_IDS
    top = dict(sorted(LISTED.items(), key=lambda one: -one[1])[: request["prompt_logprobs"]])
    places = [
        {
            str(token_id): {"logprob": math.log(p), "rank": rank, "decoded_token": str(token_id)}
            for rank, (token_id, p) in enumerate({**top, given: LISTED[given]}.items(), start=1)
        }
        for given in ids[len(PROMPT_IDS) :]
    ]
    reported = [None] * len(PROMPT_IDS) + places
    return {"choices": [{"text": "x", "finish_reason": "length", "prompt_logprobs": reported}]}


def _llama_cpp(request: dict) -> dict:
    ids = [int(word.strip("<[]>")) for word in request["grammar"].removeprefix("root ::= ").split()]
    top = sorted(LISTED.items(), key=lambda one: -one[1])[: request["n_probs"]]
    entries = [
        {
            "id": given,
            "token": str(given),
            "bytes": list(str(given).encode()),
            "logprob": math.log(LISTED[given]),
            "top_logprobs": [{"id": one, "token": str(one), "logprob": math.log(p)} for one, p in top],
        }
        for given in ids
    ]
    return {"tokens": ids, "completion_probabilities": entries}


@contextmanager
def scoring_server(kind: Literal["vllm", "llama.cpp", "neither"]) -> Iterator[str]:
    """Serve on a free port of 127.0.0.1; gives the base URL, which ends in /v1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"kind": kind}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
