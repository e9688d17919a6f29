"""The night on a terminal: start it in a process of its own, draw its progress, then read the verdicts back as rows.

The Dagster code location is not imported here (assets and studio do not know each other); it runs as a child that
says how far it is, and what came out is read from the lake like anybody would.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from studio.progress import file_progress

if TYPE_CHECKING:
    from resources.installation import Installation

UI_URL = "http://127.0.0.1:3000"


def run_night(installation: Installation, *, use_verdicts: bool) -> int:
    """Run tonight's jobs, print the summary, and give the exit code."""
    from pipelines.evidence.listing import exit_code_of, list_verdicts
    from studio.summary import print_night

    # Mistakes in these files are told now, not by a step that breaks later.
    _ = installation.suite, installation.policy
    began = time.monotonic()
    run_ids, broken, status = _follow(installation)
    date = dt.datetime.now(dt.UTC).date()
    print_night(
        installation,
        date=date,
        seconds=time.monotonic() - began,
        page=f"{UI_URL}/runs/{run_ids[0]}" if run_ids else UI_URL,
    )
    for message in broken:
        sys.stderr.write(f"A step broke: {message}\n")
    if status:
        return 4
    return exit_code_of(list_verdicts(installation.lake, dates=[date])) if use_verdicts else 0


def _follow(installation: Installation) -> tuple[list[str], list[str], int]:
    """Run the child to its end; its Dagster run ids, what broke, and its exit status."""
    run_ids: list[str] = []
    broken: list[str] = []
    command = [sys.executable, "-m", "assets.nightly"]
    with (
        _child(command, installation) as child,
        file_progress(enabled=True) as progress,
    ):
        assert child.stdout is not None
        for line in child.stdout:
            if not line.startswith("{"):
                sys.stderr.write(line)
                continue
            event = json.loads(line)
            if event["event"] == "progress" and progress is not None:
                progress(event["done"], event["total"], event["label"])
            elif event["event"] == "progress" and event["done"] == event["total"]:
                sys.stderr.write(f"{event['label']}: {event['done']} of {event['total']}\n")
            elif event["event"] == "job_done":
                run_ids.append(event["run_id"])
                broken.extend(event["broken"])
    return run_ids, broken, child.returncode


@contextmanager
def _child(command: list[str], installation: Installation) -> Iterator[subprocess.Popen[str]]:
    """A child that uses this installation's state and dies with this process's Ctrl-C."""
    child = subprocess.Popen(
        command,
        cwd=installation.folder,
        env={**os.environ, **installation.state.environ()},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
        child.wait()
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait(timeout=30)


def serve_ui(installation: Installation, *, port: int) -> int:
    """Run webserver and daemon until one stops or Ctrl-C; both on loopback."""
    workspace = _workspace(installation)
    binaries = Path(sys.executable).parent
    environ = {**os.environ, **installation.state.environ()}
    # A server started from a shell's background job inherits ignored signals and could not be stopped.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    commands = [
        [str(binaries / "dagster-webserver"), "-h", "127.0.0.1", "-p", str(port), "-w", str(workspace)],
        [str(binaries / "dagster-daemon"), "run", "-w", str(workspace)],
    ]
    children = [subprocess.Popen(command, cwd=installation.folder, env=environ) for command in commands]
    sys.stdout.write(f"Dagster UI: http://127.0.0.1:{port}   (Ctrl-C stops it)\n")
    sys.stdout.flush()
    try:
        while all(child.poll() is None for child in children):
            time.sleep(0.5)
        return next((child.returncode for child in children if child.returncode), 0)
    except KeyboardInterrupt:
        return 0
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait(timeout=30)


def _workspace(installation: Installation) -> Path:
    """The project's workspace.yaml, else one in the state folder for an installed package."""
    own = installation.folder / "workspace.yaml"
    if own.exists():
        return own
    made = installation.state.home / "workspace.yaml"
    made.write_text(
        "load_from:\n  - python_module: {module_name: assets.definitions, location_name: benchlake}\n",
        encoding="utf-8",
    )
    return made
