"""Reports as files: one folder a report, its forms beside each other, each whole or not there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pipelines.experiments.reports.blocks import Report, View
from pipelines.experiments.reports.html import as_html
from pipelines.experiments.reports.markdown import as_markdown
from pipelines.experiments.reports.pdf import as_pdf

Form = Literal["html", "markdown", "pdf"]
ENDINGS: Mapping[Form, str] = {"html": "html", "markdown": "md", "pdf": "pdf"}
_MAKERS: Mapping[Form, Callable[[Report], bytes]] = {
    "html": lambda report: as_html(report).encode(),
    "markdown": lambda report: as_markdown(report).encode(),
    "pdf": as_pdf,
}


def render(report: Report, form: Form, *, view: View = "summary") -> bytes:
    """A report in one form."""
    return _MAKERS[form](report.in_view(view))


def write_report(
    report: Report, folder: Path, *, stem: str, forms: Sequence[Form], view: View = "summary"
) -> list[Path]:
    """Write the forms as `<stem>.<ending>` into a folder, each under its name only when it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for form in forms:
        path = folder / f"{stem}.{ENDINGS[form]}"
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(render(report, form, view=view))
        partial.replace(path)
        paths.append(path)
    return paths
