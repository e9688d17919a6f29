"""JSON Schemas of what we write as Every Eval Ever 0.3.0: the part of the format that Benchlake uses, in our words.

The format's own schemas (evaleval/every_eval_ever) allow more; whatever keeps these keeps those.
"""

from __future__ import annotations

from typing import Any

DRAFT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]
_TEXT, _NUMBER, _COUNT = {"type": "string"}, {"type": "number"}, {"type": "integer", "minimum": 0}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_NON_NEGATIVE = {"type": ["number", "null"], "minimum": 0}


def _object(properties: Schema, *, optional: tuple[str, ...] = ()) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def aggregate_schema() -> Schema:
    """The file of a run as a whole."""
    metric = {
        **_object(
            {
                "evaluation_description": _TEXT,
                "lower_is_better": {"const": False},
                "score_type": {"enum": ["binary", "continuous"]},
                "min_score": _NUMBER,
                "max_score": _NUMBER,
                "additional_details": _TEXTS,
            },
            optional=("min_score", "max_score", "additional_details"),
        ),
        # A continuous score says nothing without its bounds.
        "if": {"properties": {"score_type": {"const": "continuous"}}},
        "then": {"required": ["min_score", "max_score"]},
    }
    uncertainty = _object(
        {
            "num_samples": _COUNT,
            "standard_deviation": _NUMBER,
            "standard_error": _object({"value": _NUMBER, "method": _TEXT}),
        },
        optional=("standard_deviation", "standard_error"),
    )
    arguments = {"temperature": _NUMBER, "top_p": _NUMBER, "top_k": _NUMBER, "max_tokens": {**_COUNT, "minimum": 1}}
    result = _object(
        {
            "evaluation_name": _TEXT,
            "source_data": _object({"dataset_name": _TEXT, "source_type": {"const": "other"}}),
            "evaluation_timestamp": _TEXT,
            "metric_config": metric,
            "score_details": _object({"score": _NUMBER, "uncertainty": uncertainty}),
            "generation_config": _object(
                {"generation_args": _object(arguments, optional=tuple(arguments)), "additional_details": _TEXTS},
                optional=("generation_args", "additional_details"),
            ),
        },
        optional=("generation_config",),
    )
    return {
        "$schema": DRAFT,
        "title": "Aggregate file of a run, Every Eval Ever 0.3.0",
        **_object(
            {
                "schema_version": {"const": "0.3.0"},
                "evaluation_id": _TEXT,
                "evaluation_timestamp": _TEXT,
                "retrieved_timestamp": _TEXT,
                "source_metadata": _object(
                    {
                        "source_name": _TEXT,
                        "source_type": {"const": "evaluation_run"},
                        "source_organization_name": _TEXT,
                        "evaluator_relationship": {"enum": ["first_party", "third_party", "collaborative", "other"]},
                        "additional_details": _TEXTS,
                    }
                ),
                "eval_library": _object({"name": _TEXT, "version": _TEXT}),
                "model_info": _object(
                    {
                        "name": _TEXT,
                        "id": _TEXT,
                        "inference_engine": _object({"name": _TEXT, "version": _TEXT}),
                        "additional_details": _TEXTS,
                    }
                ),
                "evaluation_results": {"type": "array", "items": result, "minItems": 1},
                "detailed_evaluation_results": _object(
                    {
                        "format": {"const": "jsonl"},
                        "file_path": _TEXT,
                        "hash_algorithm": {"const": "sha256"},
                        "checksum": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                        "total_rows": _COUNT,
                    }
                ),
            }
        ),
    }


def instance_schema() -> Schema:
    """One line of the file of samples: one score of one output."""
    usage = _object({"input_tokens": _COUNT, "output_tokens": _COUNT, "total_tokens": _COUNT})
    return {
        "$schema": DRAFT,
        "title": "One scored output, Every Eval Ever 0.3.0",
        **_object(
            {
                "schema_version": {"const": "0.3.0"},
                "evaluation_id": _TEXT,
                "model_id": _TEXT,
                "evaluation_name": _TEXT,
                "sample_id": _TEXT,
                "sample_hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                "interaction_type": {"const": "single_turn"},
                "input": _object({"raw": _TEXT, "reference": {"type": "array", "items": _TEXT}}),
                "output": _object({"raw": {"type": "array", "items": _TEXT, "minItems": 1}}),
                "messages": {"type": "null"},
                "answer_attribution": {"type": "array", "maxItems": 0},
                "evaluation": _object({"score": _NUMBER, "is_correct": {"type": "boolean"}}),
                "token_usage": {"anyOf": [usage, {"type": "null"}]},
                "performance": _object({"latency_ms": _NON_NEGATIVE, "time_to_first_token_ms": _NON_NEGATIVE}),
                "error": {"type": ["string", "null"]},
                "metadata": _TEXTS,
            }
        ),
    }
