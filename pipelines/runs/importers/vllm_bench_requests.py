"""The requests of a detailed vLLM benchmark: arrays side by side, in seconds, in the order of the requests.

Which run they belong to is `vllm_bench_runs.py`.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from pipelines.runs.importers.frames import OutputRow
from pipelines.runs.records import Fault, JsonObject, as_count, as_list, as_scaled, as_text, canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterator

# The arrays that `--save-detailed` adds, and the two that newer releases keep without it.
REQUEST_KEYS = (
    "input_lens",
    "output_lens",
    "ttfts",
    "itls",
    "start_times",
    "generated_texts",
    "errors",
    "latencies",
    "queue_times",
)
# Arrays that say something about a request by themselves.
_TELLING = frozenset({"input_lens", "output_lens", "ttfts", "generated_texts", "errors", "latencies"})
_TIMEOUT_SIGNS = ("timeouterror", "timed out", "timeout")
_LONGEST_SECONDS = 1e9


def read_requests(
    value: JsonObject, run_id: str, run_date: dt.date, started_at: dt.datetime, faults: list[Fault]
) -> Iterator[OutputRow]:
    """One output a request; a request that one of the arrays does not reach is a fault instead."""
    arrays = _arrays(value, faults)
    if not _TELLING & arrays.keys():
        return
    origin = _first_start(arrays.get("start_times"))
    for index in range(max(len(items) for items in arrays.values())):
        missing = [key for key, items in arrays.items() if index >= len(items)]
        if missing:
            message = f"Request {index} has no entry in {', '.join(missing)}; the request was left out."
            faults.append(Fault("length", message, canonical_json({"request": index, "missing": missing})))
            continue
        request = {key: items[index] for key, items in arrays.items()}
        yield _output(request, index, run_id, run_date, _start_of(request, started_at, origin), faults)


def _arrays(value: JsonObject, faults: list[Fault]) -> dict[str, list[Any]]:
    """The arrays that there are; an empty one is a measurement that the endpoint does not give."""
    arrays = {}
    for key in REQUEST_KEYS:
        given = value.get(key)
        if given is not None and not isinstance(given, list):
            faults.append(Fault(f"{key}: list", f"{key} must be a list; it was left out."))
        if as_list(given):
            arrays[key] = as_list(given)
    return arrays


def _output(
    request: JsonObject,
    index: int,
    run_id: str,
    run_date: dt.date,
    started_at: dt.datetime | None,
    faults: list[Fault],
) -> OutputRow:
    error = as_text(request.get("errors")) or None
    latency_ms = _positive_ms(request, "latencies", index, faults)
    # A request that failed without a word has a latency of 0.
    is_failed = error is not None or ("latencies" in request and latency_ms is None)
    first_ms = None if is_failed else _positive_ms(request, "ttfts", index, faults)
    if not is_failed and latency_ms is None:
        latency_ms = _summed_ms(request, first_ms, index, faults)
    output_tokens = as_count(request.get("output_lens"), f"output_lens[{index}]", faults)
    return OutputRow(
        run_id=run_id,
        sample_id=str(index),
        repeat_index=0,
        run_date=run_date,
        prompt=None,
        output=None if is_failed else as_text(request.get("generated_texts")),
        reference=None,
        status=_status(error) if is_failed else "ok",
        finish_reason=None,
        input_token_count=as_count(request.get("input_lens"), f"input_lens[{index}]", faults) or None,
        output_token_count=None if is_failed else output_tokens,
        latency_ms=None if is_failed else latency_ms,
        time_to_first_token_ms=first_ms,
        scores=(),
        tags=(),
        error_message=error,
        started_at=started_at,
    )


def _status(error: str | None) -> str:
    lowered = (error or "").lower()
    return "timeout" if any(sign in lowered for sign in _TIMEOUT_SIGNS) else "error"


def _positive_ms(request: JsonObject, key: str, index: int, faults: list[Fault]) -> float | None:
    """Seconds as milliseconds; 0 is what a measurement starts at, so it was not taken."""
    return as_scaled(request.get(key), f"{key}[{index}]", faults, by=1000) or None


def _summed_ms(request: JsonObject, first_ms: float | None, index: int, faults: list[Fault]) -> float | None:
    """Releases that keep no latencies: the first token, then all that followed it, which is how vLLM adds them up."""
    gaps = request.get("itls")
    if first_ms is None or not isinstance(gaps, list):
        return None
    if gaps and (not set(map(type, gaps)) <= {float, int} or min(gaps) < 0):
        faults.append(Fault(f"itls[{index}]: numbers", f"itls[{index}] must hold times from 0; there is no latency."))
        return None
    return as_scaled(first_ms / 1000 + sum(gaps), f"itls[{index}]", faults, by=1000)


def _first_start(starts: list[Any] | None) -> float | None:
    known = [start for start in starts or () if isinstance(start, int | float) and not isinstance(start, bool)]
    return min(known, default=None)


def _start_of(request: JsonObject, run_start: dt.datetime, origin: float | None) -> dt.datetime | None:
    """When the request was sent: its clock has no date, so the first request stands for the start of the run."""
    start = request.get("start_times")
    if origin is None or isinstance(start, bool) or not isinstance(start, int | float):
        return None
    seconds = start - origin
    return run_start + dt.timedelta(seconds=seconds) if 0 <= seconds < _LONGEST_SECONDS else None
