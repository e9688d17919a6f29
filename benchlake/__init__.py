"""Benchlake from Python: open the lake, log runs, ask questions.

    import benchlake

    lake = benchlake.open_lake()
    with lake.start_run(suite="support", backend="my-model", model="my-model-v2") as run:
        run.log_output("q1", prompt="2 + 2?", output="4", reference="4", scores={"exact_match": 1.0}, latency_ms=12)
    print(lake.sql("select sample_id, output from silver.outputs"))

What belongs here: names for users, all thin. The work is done in `pipelines`, for the command line too. Importing
this loads no data-frame library; `open_lake` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lake.errors import BenchlakeError, UserError

if TYPE_CHECKING:
    from benchlake.workspace import Workspace

__all__ = ["BenchlakeError", "UserError", "open_lake"]


def open_lake(folder: str | Path | None = None) -> Workspace:
    """The lake of a project: `folder`, or the folder that the program was started in, holds benchlake.toml, if any.

    State is kept in `<folder>/.benchlake`; the environment variables BENCHLAKE_HOME and BENCHLAKE_LAKE put it
    elsewhere, as they do for the command line. Raises `UserError` for a folder that does not exist or a configuration
    that cannot be read.
    """
    from benchlake.workspace import Workspace
    from resources.installation import Installation

    path = Path.cwd() if folder is None else Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise UserError(f"open_lake: {path} is not a folder. Give the folder of your project.")
    return Workspace(Installation(folder=path))
