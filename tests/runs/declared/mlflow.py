import json
from pathlib import Path

import yaml

from tests.runs.formats import Format, Record, Tables
from tests.runs.mlflow_stores import STARTED_MS, run_database, run_meta, run_record, write_run


def run_names(tables: Tables) -> list[str]:
    return sorted(tables["silver.runs"]["run_id"])


def nan(record: Record) -> Record:
    return record | {"metrics": [{"key": "loss", "value": 0.0, "timestamp": STARTED_MS, "step": 0, "is_nan": 1}]}


def check_runs(tables: Tables) -> None:
    assert tables["silver.runs"]["suite"].unique().to_list() == ["tuning"]
    assert tables["silver.run_params"].height == 6


def metric(index: int) -> Record:
    return {"key": f"quality-{index}", "value": 0.5, "step": index, "timestamp": STARTED_MS + index}


class FolderFormat(Format):
    """A run's folder: a record is a metric's file, and what else a record holds is a tag."""

    def write(self, folder: Path, records: list[Record]) -> Path:
        parts = {"params/lr": "0.1"}
        for record in records:
            name = record.get("key")
            if isinstance(name, str) and name.isprintable() and name:
                value, step, at = (record.get(key) for key in ("value", "step", "timestamp"))
                parts[f"metrics/{name}"] = f"{at} {value} {step}\n"
            tags = {key: value for key, value in record.items() if key not in metric(0)}
            parts |= {
                f"tags/{key}": value if isinstance(value, str) else json.dumps(value) for key, value in tags.items()
            }
        parts = {name: text.encode("utf-8", "replace").decode() for name, text in parts.items()}
        return write_run(folder, parts) / self.name


FORMATS = (
    Format(
        source_kind="mlflow",
        name="mlflow.db",
        record=run_record,
        pack=run_database,
        landed=run_names,
        identity=lambda index: f"{index:032x}",
        nan=nan,
        good_tables=check_runs,
    ),
    FolderFormat(
        source_kind="mlflow",
        name="meta.yaml",
        record=metric,
        pack=lambda _: yaml.safe_dump(run_meta()).encode(),
        landed=lambda tables: sorted(tables["silver.run_metrics"]["metric"]),
        identity=lambda index: f"quality-{index}",
        # A metric of the same name is its next value.
        has_duplicates=False,
        nan=lambda record: record | {"value": float("nan")},
    ),
)
