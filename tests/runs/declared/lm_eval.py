from tests.runs.formats import Format
from tests.runs.run_files import json_lines, lm_eval_name, lm_eval_sample

FORMATS = (
    Format(
        source_kind="lm_eval",
        name=lm_eval_name("sums"),
        record=lm_eval_sample,
        pack=json_lines,
        is_lines=True,
        cut_before=lambda content: content.index(b'"doc_id": 3') + 40,
        nan=lambda record: record | {"exact_match": float("nan"), "f1": 0.5, "metrics": ["exact_match", "f1"]},
        surrogate=lambda record: record | {"resps": [["a\ud800b"]]},
    ),
)
