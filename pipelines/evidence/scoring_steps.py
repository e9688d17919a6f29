"""The step that has a backend score the tokens of a run's outputs, into `silver.scored_tokens`.

What belongs here: which outputs, in which batches, and what a kill leaves. One output is `token_scoring.py`; opening
the configured backends is `resources/token_scorings.py`. Every batch is written when it is done, and what stands is not
scored again; the row of `silver.token_scorings` is written last, so evidence is never computed from half a scoring.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
import polars as pl

from lake.errors import UserError
from lake.identity import derived_id, json_digest, text_digest
from lake.store import Lake
from lake.tables import contract_of
from pipelines.evidence.reading import OUTPUTS, SCORED, SCORINGS, TOKENS
from pipelines.evidence.token_scoring import RecordedOutput, score_output
from pipelines.runs.backends import BackendIdentity, TokenScoringBackend

# Tokens of an output that are scored: the lists of a vocabulary take gigabytes for more.
MAX_POSITIONS = 512
# Outputs of one commit: what a kill makes ask again.
BATCH_OUTPUTS = 20
_KEY = ["sample_id", "repeat_index"]

Clock = Callable[[], dt.datetime]
# Done, total, what.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class ScoringResult:
    """What a scoring came to; `reused_count` of the scored outputs stood before."""

    scoring_id: str
    run_id: str
    backend: str
    reference: str
    output_count: int
    scored_count: int
    reused_count: int
    failed_count: int
    position_count: int
    is_exact: bool
    first_error: str | None


def score_run(
    lake: Lake,
    run: Mapping[str, Any],
    backend: TokenScoringBackend,
    *,
    reference: TokenScoringBackend | None,
    top_k: int | None,
    sample_limit: int | None = None,
    clock: Clock,
    progress: Progress | None = None,
) -> ScoringResult:
    """Score the outputs of `run`, a row of `silver.runs`, with `backend`, beside its own (`reference`, or as recorded).

    With `sample_limit` only so many samples, always the same ones of a suite. Outputs that failed to be scored are
    tried again by the next call. Raises `UserError` when tokens or numbers of the two mean different things, or the run
    has no tokens.
    """
    _check(run, backend.identity, reference.identity if reference is not None else None)
    keys = _chosen(_output_keys(lake, run), sample_limit)
    if keys.is_empty():
        raise UserError(
            f"The run {run['run_id']} has no tokens to score. Ask its suite with top_k_logprobs of 1 or more."
        )
    scoring_id = _scoring_id(run, backend.identity, reference, top_k)
    standing = _standing(lake, run, scoring_id)
    missing = keys.join(standing, on=_KEY, how="anti")
    reused = keys.join(standing, on=_KEY, how="semi").height
    facts = {"scoring_id": scoring_id, "run_id": run["run_id"], "run_date": run["run_date"]}
    facts["backend"] = backend.identity.name
    workers = min(side.max_concurrency for side in (backend, reference) if side is not None)
    score = partial(_scored, backend=backend, reference=reference, top_k=top_k, facts=facts)
    done = reused
    _tell(progress, done, keys.height, backend.identity.name)
    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        for batch in _batches(lake, run, missing):
            rows = []
            for row in pool.map(score, batch):
                rows.append(row)
                done += 1
                _tell(progress, done, keys.height, backend.identity.name)
            lake.upsert(SCORED, pl.DataFrame(rows, schema=contract_of(SCORED).dtypes))
    return _mark(lake, run, backend.identity, reference, scoring_id, keys, reused=reused, now=clock())


def same_backend(run: Mapping[str, Any], identity: BackendIdentity) -> bool:
    """Whether what answers now is what answered `run`, as far as both say: engine, its version, model and weights."""
    known = orjson.loads(run["parameters"] or "{}").get("model_digest")
    return (run["engine"], run["engine_version"], run["model"]) == (
        identity.engine,
        identity.engine_version,
        identity.model,
    ) and known in {None, identity.model_digest}


def _check(run: Mapping[str, Any], identity: BackendIdentity, reference: BackendIdentity | None) -> None:
    fingerprint = run["fingerprint"] or {}
    sides = {
        "tokenizer": (fingerprint.get("tokenizer"), identity.tokenizer),
        "logprobs_mode": (
            fingerprint.get("logprobs_mode") if reference is None else reference.logprobs_mode,
            identity.logprobs_mode,
        ),
    }
    for name, (own, other) in sides.items():
        if own is not None and other is not None and own != other:
            raise UserError(
                f"{identity.name} cannot score the run {run['run_id']}: their {name} differ ({own}; {other}), so the "
                "same tokens or numbers would mean different things."
            )


def _output_keys(lake: Lake, run: Mapping[str, Any]) -> pl.DataFrame:
    where = {"run_date": run["run_date"], "run_id": run["run_id"]}
    rows = lake.read(TOKENS, columns=[*_KEY, "token_ids"], where=where)
    return rows.filter(pl.col("token_ids").list.len() > 0).select(_KEY).sort(_KEY)


def _chosen(keys: pl.DataFrame, limit: int | None) -> pl.DataFrame:
    """The outputs of `limit` samples that a digest of their ids chooses, so that every night takes the same."""
    samples = sorted(keys["sample_id"].unique().to_list(), key=text_digest)
    if limit is None or len(samples) <= limit:
        return keys
    return keys.filter(pl.col("sample_id").is_in(samples[:limit]))


def _standing(lake: Lake, run: Mapping[str, Any], scoring_id: str) -> pl.DataFrame:
    where = {"run_date": run["run_date"], "scoring_id": scoring_id}
    rows = lake.read(SCORED, columns=[*_KEY, "error_message"], where=where)
    return rows.filter(pl.col("error_message").is_null()).select(_KEY)


def _batches(lake: Lake, run: Mapping[str, Any], keys: pl.DataFrame) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, keys.height, BATCH_OUTPUTS):
        wanted = keys[start : start + BATCH_OUTPUTS]
        where = {
            "run_date": run["run_date"],
            "run_id": run["run_id"],
            "sample_id": wanted["sample_id"].unique().sort().to_list(),
        }
        prompts = lake.read(OUTPUTS, columns=[*_KEY, "prompt"], where=where)
        columns = [*_KEY, "tokens", "token_ids", "token_bytes", "logprobs", "top_k"]
        tokens = lake.read(TOKENS, columns=columns, where=where)
        yield wanted.join(tokens, on=_KEY).join(prompts, on=_KEY).sort(_KEY).to_dicts()


def _scored(
    row: Mapping[str, Any],
    *,
    backend: TokenScoringBackend,
    reference: TokenScoringBackend | None,
    top_k: int | None,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    output = RecordedOutput.of(row, limit=MAX_POSITIONS)
    return {
        **facts,
        **{name: row[name] for name in _KEY},
        **score_output(output, backend, reference, top_k=top_k),
    }


def _mark(
    lake: Lake,
    run: Mapping[str, Any],
    identity: BackendIdentity,
    reference: TokenScoringBackend | None,
    scoring_id: str,
    keys: pl.DataFrame,
    *,
    reused: int,
    now: dt.datetime,
) -> ScoringResult:
    """Write the scoring's own row, unless the one that stands says the same."""
    columns = [*_KEY, "logprobs", "reference_logprobs", "kl_lower", "kl_upper", "error_message"]
    where = {"run_date": run["run_date"], "scoring_id": scoring_id}
    rows = lake.read(SCORED, columns=columns, where=where).sort(_KEY)
    scored = rows.filter(pl.col("error_message").is_null())
    known = scored.select(pl.col("kl_lower", "kl_upper").explode(empty_as_null=False)).drop_nulls()
    is_exact = bool(known.height and (known["kl_lower"] == known["kl_upper"]).all())
    digest = json_digest([text_digest(orjson.dumps(row).decode()) for row in scored.drop("error_message").iter_rows()])
    row = {
        "scoring_id": scoring_id,
        "run_id": run["run_id"],
        "run_date": run["run_date"],
        "suite": run["suite"],
        "backend": identity.name,
        "model": identity.model,
        "model_digest": identity.model_digest,
        "engine": identity.engine,
        "engine_version": identity.engine_version,
        "tokenizer": identity.tokenizer,
        "reference_kind": "recorded" if reference is None else "backend",
        "is_exact": is_exact,
        "output_count": max(keys.height, rows.height),
        "scored_count": scored.height,
        "failed_count": rows.height - scored.height,
        "position_count": int(scored["logprobs"].list.len().sum()),
        "content_digest": digest,
        "scored_at": now,
    }
    told = lake.read(SCORINGS, columns=["content_digest", "failed_count"], where={"scoring_id": scoring_id})
    if told.rows() != [(digest, row["failed_count"])]:
        lake.upsert(SCORINGS, pl.DataFrame([row], schema=contract_of(SCORINGS).dtypes))
    return ScoringResult(
        scoring_id=scoring_id,
        run_id=run["run_id"],
        backend=identity.name,
        reference="what the run recorded" if reference is None else reference.identity.name,
        output_count=row["output_count"],
        scored_count=scored.height,
        reused_count=reused,
        failed_count=row["failed_count"],
        position_count=row["position_count"],
        is_exact=is_exact,
        first_error=next(iter(rows["error_message"].drop_nulls().to_list()), None),
    )


def _scoring_id(
    run: Mapping[str, Any], identity: BackendIdentity, reference: TokenScoringBackend | None, top_k: int | None
) -> str:
    """The same for the same content by the same backends with the same lists, which is what a kill is resumed by."""
    sides = [identity] if reference is None else [identity, reference.identity]
    facts = [[side.name, side.engine, side.engine_version, side.model, side.model_digest] for side in sides]
    return derived_id("token_scoring", run["run_id"], run["content_digest"], json_digest(facts), top_k)


def _tell(progress: Progress | None, done: int, total: int, name: str) -> None:
    if progress is not None:
        progress(done, total, f"{name} scores tokens")
