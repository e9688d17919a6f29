"""What a CSV file of metrics is made of: its delimiter, what each column is for, and what makes a run.

What belongs here: deciding from the beginning of a file, strictly, because any list of anything may be a CSV file.
Reading rows is `metrics_csv_rows.py`, what they become `metrics_csv.py`.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipelines.runs.importers.code_keys import lift_code_version
from pipelines.runs.importers.metrics_csv_values import is_number, is_whole, read_instant

if TYPE_CHECKING:
    from collections.abc import Callable

Mode = Literal["steps", "rows", "long"]

_DELIMITERS = (",", ";", "\t")
# Words for the columns whose meaning is known; of several columns for one role the earlier word counts.
_ROLES: dict[str, tuple[str, ...]] = {
    "step": ("step", "_step", "global_step", "trainer_global_step", "iteration", "iter", "epoch"),
    "time": (
        *("time", "timestamp", "datetime", "date_time", "date", "recorded_at", "measured_at", "created_at"),
        *("started_at", "start_time", "run_at", "run_date", "commit_time", "commit_date", "wall_time", "ts"),
    ),
    "run": ("run_id", "run_uuid", "run", "run_name"),
    "metric": ("metric", "metric_name", "measurement"),
    "value": ("value", "metric_value"),
    "unit": ("unit", "units"),
    "variant": ("variant", "statistic", "stat"),
    "repeat": ("repeat_index", "repeat"),
    "standard_error": ("standard_error", "stderr"),
    "standard_deviation": ("standard_deviation", "stddev", "std"),
    "sample_count": ("sample_count", "n"),
    "direction": ("is_higher_better", "higher_is_better"),
    "suite": ("suite", "task", "benchmark"),
    "model": ("model", "model_name"),
    "backend": ("backend", "provider"),
    "engine": ("engine",),
    "engine_version": ("engine_version",),
}
# These mean something only beside a metric's name.
_LONG_ROLES = frozenset(
    {
        "metric",
        "value",
        "unit",
        "variant",
        "repeat",
        "standard_error",
        "standard_deviation",
        "sample_count",
        "direction",
    }
)
# Numbers that say how something was run and not what came out.
_SETTINGS = frozenset(
    {
        *("seed", "batch_size", "threads", "n_threads", "num_threads", "workers", "num_workers", "concurrency"),
        *("max_concurrency", "temperature", "top_p", "top_k", "max_tokens", "world_size", "gpus", "num_gpus"),
        *("n_gpu_layers", "build", "job", "port", "index", "id", "pid", "line", "row", "year", "month", "day"),
    }
)
_SETTING_ENDING = re.compile(r"_(?:id|number|index|port)$")
# A table with one of these is about people or places.
_PERSONAL = frozenset(
    {
        *("email", "e_mail", "mail", "phone", "telephone", "mobile", "address", "street", "city", "country"),
        *("zip", "zip_code", "postcode", "first_name", "last_name", "surname", "birthday", "date_of_birth"),
    }
)
# llama-bench writes CSV too, and its columns mean more than can be told from their names.
_OTHERS = (frozenset({"build_commit", "avg_ts"}),)
_LONGEST_NAME = 200
_SAMPLED_ROWS = 100
# Of the rows of a real table at least so many have the width of its header, and of the cells of a column its kind.
_HALF = 0.5
_UNREADABLE = "\ufffd"
_COMMIT = re.compile(r"^[\w.+/-]{3,}$")


@dataclass(frozen=True, kw_only=True)
class TableShape:
    """A table of metrics. `roles` and `metrics` are places in the header; the other columns are settings."""

    delimiter: str
    header: tuple[str, ...]
    header_index: int
    mode: Mode
    roles: dict[str, int]
    metrics: tuple[int, ...]
    code_names: frozenset[str]

    @property
    def has_decimal_comma(self) -> bool:
        """Whether 1,5 may be a number."""
        return self.delimiter != ","

    @property
    def settings(self) -> tuple[int, ...]:
        """Places of the columns that say how a run was made."""
        taken = {*self.roles.values(), *self.metrics}
        return tuple(
            place
            for place, name in enumerate(self.header)
            if place not in taken and name not in self.code_names and _plain(name) not in _ROLES["step"] and name
        )


def read_shape(start: bytes) -> TableShape | None:
    """The shape of a file that begins like this, None if it is no table of metrics."""
    # A row in another encoding is refused when it is read; here it only does not count.
    text = start.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    lines = text.split("\n")
    if "\0" in text or len(lines) < 2:  # noqa: PLR2004  # a header and a row
        return None
    first = next((index for index, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    # The last line may be cut.
    rows = lines[first + 1 : -1] or lines[first + 1 :]
    return _best_shape(lines[first] if first < len(lines) else "", rows[:_SAMPLED_ROWS], first)


def parse_line(text: str, delimiter: str) -> list[str] | None:
    """The cells of one row; None if it cannot be one."""
    try:
        return next(csv.reader([text], delimiter=delimiter), None)
    except csv.Error:
        return None


def _best_shape(header: str, lines: list[str], header_index: int) -> TableShape | None:
    """The shape under the delimiter that gives the most columns."""
    found = []
    for delimiter in _DELIMITERS:
        names = parse_line(header.rstrip("\r"), delimiter) or []
        read = [parse_line(line.rstrip("\r"), delimiter) or [] for line in lines if line.strip()]
        fitting = [row for row in read if len(row) == len(names) and _UNREADABLE not in "".join(row)]
        if len(names) > 1 and fitting and len(fitting) >= _HALF * len(read):
            found.append((len(names), delimiter, tuple(name.strip() for name in names), fitting))
    if not found:
        return None
    _, delimiter, columns, rows = max(found, key=lambda entry: entry[0])
    return _shape(delimiter, columns, rows, header_index) if _is_header(columns) else None


def _is_header(names: tuple[str, ...]) -> bool:
    """Whether these can be names of columns; an index column may have none."""
    plain = [_plain(name) for name in names]
    return (
        all(names[1:])
        and len(set(names)) == len(names)
        and _UNREADABLE not in "".join(names)
        and not any(is_number(name) or len(name) > _LONGEST_NAME for name in names)
        and not _PERSONAL & set(plain)
        and not any(signs <= set(plain) for signs in _OTHERS)
    )


def _shape(delimiter: str, names: tuple[str, ...], rows: list[list[str]], header_index: int) -> TableShape | None:
    code_names = frozenset(lift_code_version(dict.fromkeys(names, "1"))[1])
    columns = list(zip(*rows, strict=True))
    is_long = {"metric", "value"} <= _find_roles(names, columns, code_names).keys()
    roles = {
        role: place
        for role, place in _find_roles(names, columns, code_names).items()
        if is_long or role not in _LONG_ROLES
    }
    metrics = () if is_long else tuple(_metric_places(names, columns, {*roles.values()}, code_names))
    mode = _mode(roles, is_long=is_long, has_commit=_has_commit(names, columns))
    if mode is None or not (metrics or is_long):
        return None
    return TableShape(
        delimiter=delimiter,
        header=names,
        header_index=header_index,
        mode=mode,
        roles=roles,
        metrics=metrics,
        code_names=code_names,
    )


def _mode(roles: dict[str, int], *, is_long: bool, has_commit: bool) -> Mode | None:
    if is_long:
        return "long"
    if "step" in roles:
        return "steps"
    return "rows" if has_commit or {"time", "run"} & roles.keys() else None


def _has_commit(names: tuple[str, ...], columns: list[tuple[str, ...]]) -> bool:
    """Whether a column is called like a commit and holds what could be one."""
    called = (
        column for name, column in zip(names, columns, strict=True) if "commit" in lift_code_version({name: "1"})[0]
    )
    return any(_share(column, lambda cell: _COMMIT.match(cell.strip()) is not None) >= _HALF for column in called)


def _find_roles(names: tuple[str, ...], columns: list[tuple[str, ...]], code_names: frozenset[str]) -> dict[str, int]:
    """Place of each role; a column of that name whose cells are of another kind has none."""
    plain = {_plain(name): place for place, name in reversed(list(enumerate(names))) if name not in code_names}
    kinds: dict[str, Callable[[str], bool]] = {
        "step": is_whole,
        "time": lambda cell: read_instant(cell) is not None,
        "value": is_number,
    }
    roles: dict[str, int] = {}
    for role, words in _ROLES.items():
        is_kind = kinds.get(role)
        for word in words:
            place = plain.get(word)
            if place is not None and (is_kind is None or _share(columns[place], is_kind) >= _HALF):
                roles[role] = place
                break
    return roles


def _metric_places(
    names: tuple[str, ...], columns: list[tuple[str, ...]], taken: set[int], code_names: frozenset[str]
) -> list[int]:
    return [
        place
        for place, name in enumerate(names)
        if place not in taken
        and name
        and name not in code_names
        and _plain(name) not in _SETTINGS | set(_ROLES["step"])
        and not _SETTING_ENDING.search(_plain(name))
        and _share(columns[place], is_number) >= _HALF
    ]


def _share(cells: tuple[str, ...], is_kind: Callable[[str], bool]) -> float:
    """How many of the cells that hold something are of a kind; 0 for a column without any."""
    filled = [cell for cell in cells if cell.strip()]
    return sum(map(is_kind, filled)) / len(filled) if filled else 0.0


def _plain(name: str) -> str:
    return re.sub(r"[\s./:\-]+", "_", name.strip()).lower()
