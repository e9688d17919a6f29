"""Columns of a run's row: what was asked, how it stands, what the test says."""

from __future__ import annotations

from typing import Any

from pipelines.databits.units import canonical_text
from pipelines.optimization.recording import Recorder
from pipelines.optimization.requests import Models, OptimizationRequest
from pipelines.optimization.scores import CONFIDENCE, compare_scores


def request_columns(request: OptimizationRequest, models: Models) -> dict[str, Any]:
    """What was asked for."""
    splits, budget = request.splits, request.budget
    return {
        "template_id": request.version.template_id,
        "template": request.version.template.template,
        "template_version_index": request.version.version_index,
        "optimizer": request.optimizer,
        "optimizer_settings": canonical_text(request.settings.model_dump(mode="json")),
        "metric": canonical_text(request.version.template.metric.model_dump(mode="json")),
        "seed": request.seed,
        "language_model": models.engine.name,
        "model": models.engine.model,
        "prompt_model": models.prompt_engine.name,
        "dataset_digest": splits.digest,
        "train_count": len(splits.train),
        "validation_count": len(splits.validation),
        "test_count": len(splits.test),
        "left_out": canonical_text({reason: list(ids) for reason, ids in splits.left_out.items()}),
        "budget_calls": budget.calls,
        "budget_tokens": budget.tokens,
        "budget_cost_usd": budget.cost_usd,
        "budget_seconds": budget.seconds,
        "requested_by": request.requested_by,
    }


def outcome_columns(recorder: Recorder) -> dict[str, Any]:
    """Scores of start and best, and what the test allows to say of them."""
    start, best = recorder.start(), recorder.best()
    tested, test = (recorder.tested("start"), recorder.tested("best")), None
    if tested[0] is not None and tested[1] is not None:
        items = list(tested[0].scores)
        test = compare_scores([tested[0].scores[item] for item in items], [tested[1].scores[item] for item in items])
    return {
        "start_program_id": start.facts.program_id if start is not None else None,
        "best_program_id": best.facts.program_id if best is not None else None,
        "start_validation_score": start.score if start is not None else None,
        "best_validation_score": best.score if best is not None else None,
        "start_test_score": test.start if test is not None else None,
        "best_test_score": test.best if test is not None else None,
        "test_effect": test.effect if test is not None else None,
        "test_interval_low": test.interval.low if test is not None else None,
        "test_interval_high": test.interval.high if test is not None else None,
        "confidence": CONFIDENCE if test is not None else None,
        "conclusion": test.conclusion if test is not None else "not_tested",
    }


def explain_end(recorder: Recorder, state: str, reason: str | None, *, is_taken_up: bool) -> str | None:
    """The reason, and of a run that was taken up whether it went the same way again."""
    told = [reason] if reason else []
    earlier, met = recorder.earlier_count, recorder.met_count
    if is_taken_up and state != "running":
        told.append(f"Taken up: {met} of {earlier} earlier trials came out again.")
        if met < earlier and state == "finished":
            told.append("The optimiser took another way than before; its earlier trials are kept beside the new ones.")
    return " ".join(told) or None
