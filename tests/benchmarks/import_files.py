"""Sample files for `bench_import`: as large as asked, written in pieces, shaped as today's tools write them.

What belongs here: the files. The words are drawn with a fixed seed, so that every run measures the same bytes. The
shapes were read off logs that inspect_ai 0.3.285 and lm-evaluation-harness 0.4.13 write themselves.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson
import zstandard

from tests.runs.run_files import inspect_header, lm_eval_name, lm_eval_results

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ZSTD, DEFLATE = 93, 8
_WORDS = [f"word{number}" for number in range(3_000)]
_MODEL = "openai/tiny"


def lm_eval_file(folder: Path, count: int) -> Path:
    """`count` generations of one task, about 2.2 kB each, one filter, one metric; their results lie beside them."""
    effective = {"speed": {"original": count, "effective": count}}
    (folder / lm_eval_name()).write_bytes(lm_eval_results(("speed",), **{"n-samples": effective}))
    path = folder / lm_eval_name("speed")
    seed = random.Random(7)
    with path.open("wb") as stream:
        for index in range(count):
            stream.write(orjson.dumps(_lm_eval_sample(index, seed)) + b"\n")
    return path


def inspect_json_file(folder: Path, count: int) -> Path:
    """One object, indented by two as Inspect does."""
    path = folder / "log.json"
    with path.open("wb") as stream:
        head = json.dumps(_header(count), indent=2)
        stream.write(head[: head.rindex("\n}")].encode() + b',\n  "samples": [')
        for index, sample in enumerate(_inspect_samples(count)):
            text = orjson.dumps(sample, option=orjson.OPT_INDENT_2).replace(b"\n", b"\n    ")
            stream.write((b"," if index else b"") + b"\n    " + text)
        stream.write(b"\n  ]\n}\n")
    return path


def inspect_zip_file(folder: Path, count: int, *, method: int = ZSTD) -> Path:
    """A zip with one member a sample, packed by zstd or deflate."""
    path = folder / f"log_{method}.eval"
    with path.open("wb") as stream:
        archive = _ZipWriter(stream, method)
        header = _header(count)
        archive.add("_journal/start.json", orjson.dumps({key: header[key] for key in ("version", "eval", "plan")}))
        for sample in _inspect_samples(count):
            archive.add(f"samples/{sample['id']}_epoch_1.json", orjson.dumps(sample))
        archive.add("header.json", orjson.dumps(header))
        archive.end()
    return path


class _ZipWriter:
    """A zip of any number of members; Python's zipfile writes no zstd before 3.14."""

    def __init__(self, stream: BinaryIO, method: int) -> None:
        self._stream, self._method = stream, method
        self._directory = bytearray()
        self._count = 0

    def add(self, name: str, content: bytes) -> None:
        """Write one member."""
        packed = _pack(content, self._method)
        facts = (45, 0, self._method, 0, 33, zlib.crc32(content), len(packed), len(content), len(name), 0)
        at = self._stream.tell()
        self._stream.write(struct.pack("<4s5H3I2H", b"PK\x03\x04", *facts) + name.encode() + packed)
        self._directory += struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 45, *facts, 0, 0, 0, 0, at) + name.encode()
        self._count += 1

    def end(self) -> None:
        """Write the directory, its long form included, because there may be more than 65,535 members."""
        start, size, count = self._stream.tell(), len(self._directory), self._count
        self._stream.write(self._directory)
        self._stream.write(struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start))
        self._stream.write(struct.pack("<4sIQI", b"PK\x06\x07", 0, start + size, 1))
        short = min(count, 0xFFFF)
        self._stream.write(struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, short, short, size, start, 0))


def _pack(content: bytes, method: int) -> bytes:
    if method == ZSTD:
        return zstandard.ZstdCompressor().compress(content)
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def _text(seed: random.Random, words: int) -> str:
    return " ".join(seed.choices(_WORDS, k=words))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _id(seed: random.Random) -> str:
    return f"{seed.getrandbits(128):032x}"[:22]


def _lm_eval_sample(index: int, seed: random.Random) -> dict[str, Any]:
    question, answer, response = _text(seed, 60), str(seed.randrange(1_000)), _text(seed, 40)
    settings = {"until": ["\n"], "do_sample": False, "temperature": 0.0}
    return {
        "doc_id": index,
        "doc": {"question": question, "answer": answer},
        "target": answer,
        "arguments": {"gen_args_0": {"arg_0": f"Question: {question}\nAnswer:", "arg_1": settings}},
        "resps": [[response]],
        "filtered_resps": [response],
        "filter": "none",
        "metrics": ["exact_match"],
        "doc_hash": _digest(question),
        "prompt_hash": _digest("p" + question),
        "target_hash": _digest(answer),
        "exact_match": float(index % 2),
    }


def _header(count: int) -> dict[str, Any]:
    head = inspect_header(count)
    head["eval"] = head["eval"] | {"model": _MODEL, "dataset": {"name": "speed", "samples": count}}
    return head


def _inspect_samples(count: int) -> Iterator[dict[str, Any]]:
    seed = random.Random(11)
    for index in range(count):
        yield _inspect_sample(index, seed)


def _inspect_sample(index: int, seed: random.Random) -> dict[str, Any]:
    """Two messages, one model call, one score, five events: what the simplest task leaves, but for its repetitions."""
    question, response = _text(seed, 60), _text(seed, 50)
    uuid = _id(seed)
    asked = {"id": _id(seed), "content": question, "source": "input", "role": "user"}
    answered = {"id": _id(seed), "content": response, "source": "generate", "role": "assistant", "model": _MODEL}
    usage = {"input_tokens": 80, "output_tokens": 60, "total_tokens": 140}
    output = {
        "model": _MODEL,
        "choices": [{"message": answered, "stop_reason": "stop"}],
        "completion": response,
        "usage": usage,
        "time": 1.25,
    }
    score = {"value": "CI"[index % 2], "answer": response[:20], "explanation": response[:80], "history": []}
    instant = f"2026-03-01T{index // 3600 % 24:02}:{index // 60 % 60:02}:{index % 60:02}.123456+00:00"
    return {
        "id": index,
        "epoch": 1,
        "input": question,
        "target": "word7",
        "messages": [asked, answered],
        "output": output,
        "scores": {"match": score},
        "metadata": {"level": index % 5},
        "store": {},
        "events": _events(seed, instant, output, score),
        "model_usage": {_MODEL: usage},
        "started_at": instant,
        "completed_at": instant,
        "total_time": 1.375,
        "working_time": 1.25,
        "uuid": uuid,
        "error_retries": [],
        "attachments": {},
    }


def _events(seed: random.Random, instant: str, output: dict[str, Any], score: dict[str, Any]) -> list[dict[str, Any]]:
    span = _id(seed)

    def event(kind: str, **facts: Any) -> dict[str, Any]:
        return {
            "uuid": _id(seed),
            "span_id": span,
            "timestamp": instant,
            "working_start": 0.25,
            "event": kind,
            **facts,
        }

    return [
        event("span_begin", id=span, type="solver", name="generate"),
        event(
            "model",
            model=_MODEL,
            input=[],
            tools=[],
            tool_choice="none",
            config={},
            output=output,
            completed=instant,
            working_time=1.25,
        ),
        event("span_end", id=span),
        event("score", score=score, target="word7", intermediate=False, scorer="match"),
    ]
