import csv
import io
import json
from typing import Any

from tests.runs.formats import Format, Record, Tables


def cell(value: Any) -> str:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return "" if value is None else str(value) if isinstance(value, float) else json.dumps(value)


def table(records: list[Record], *, delimiter: str = ",") -> bytes:
    """CSV with a column a key, in the order in which the keys come up."""
    names = list(dict.fromkeys(key for record in records for key in record))
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([cell(record.get(name)) for name in names] for record in records)
    return text.getvalue().encode()


def curve(index: int) -> Record:
    return {"step": index, "train/loss": 0.5 + index / 100, "lr": 0.1}


def history(index: int) -> Record:
    return {"time": f"2026-03-{index + 1:02} 10:00:00 +0000", "commit": f"c0ffee{index}", "p99 latency (s)": 0.25}


def value(index: int) -> Record:
    return {"metric": f"quality-{index}", "value": 0.5, "unit": "ratio", "run_id": "night"}


def steps(tables: Tables) -> list[str]:
    return sorted(str(row["step"]) for row in tables["silver.run_metrics"].to_dicts() if row["metric"] == "loss")


FORMATS = (
    Format(
        source_kind="metrics_csv",
        name="curve.csv",
        record=curve,
        pack=table,
        landed=steps,
        cut_before=lambda content: content.index(b"\n3,") + 3,
        nan=lambda record: record | {"train/loss": float("nan"), "lr": 0.2},
    ),
    Format(
        source_kind="metrics_csv",
        name="history.csv",
        record=history,
        pack=table,
        landed=lambda tables: sorted(tables["silver.runs"]["code_version"].struct.field("commit").drop_nulls()),
        identity=lambda index: f"c0ffee{index}",
        cut_before=lambda content: content.index(b"c0ffee3"),
        nan=lambda record: record | {"p99 latency (s)": float("nan")},
    ),
    Format(
        source_kind="metrics_csv",
        name="values.tsv",
        record=value,
        pack=lambda records: table(records, delimiter="\t"),
        landed=lambda tables: sorted(tables["silver.run_metrics"]["metric"]),
        identity=lambda index: f"quality-{index}",
        cut_before=lambda content: content.index(b"quality-3") + 9,
        nan=lambda record: record | {"value": float("nan")},
    ),
)
