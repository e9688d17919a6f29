"""What the machine under an embedded backend is: the part of a fingerprint that timings and rounding depend on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def read_hardware() -> str:
    """Architecture, processor model and usable cores, as one text. No host name: runs are shared."""
    return f"{platform.machine()}, {_processor()}, {_usable_cores()} cores"


def read_environment(packages: Iterable[str]) -> dict[str, str]:
    """Operating system, Python and the installed versions of `packages`."""
    environment = {"os": f"{platform.system()} {platform.release()}", "python": platform.python_version()}
    for package in packages:
        try:
            environment[package] = version(package)
        except PackageNotFoundError:
            continue
    return environment


def _usable_cores() -> int:
    # A container may use fewer than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    # platform.processor() is empty on Linux.
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or "unknown processor"
