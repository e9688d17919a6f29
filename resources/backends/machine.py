"""What the machine under an embedded backend is: the part of a fingerprint that timings and rounding depend on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.runs.backends import BackendIdentity

if TYPE_CHECKING:
    from resources.backends.configuration import LlamaCppConfig, TransformersConfig
    from resources.backends.gguf_models import GgufModel


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


def embedded_identity(
    name: str,
    model: GgufModel,
    config: LlamaCppConfig | TransformersConfig,
    *,
    engine: str,
    packages: tuple[str, ...],
    weights: str,
) -> BackendIdentity:
    """What answers when an engine runs `model` in this process; the first of `packages` is the engine's own.

    The same for every embedded engine, so that two of them over one model differ in the engine alone.
    """
    environment = read_environment(packages)
    return BackendIdentity(
        name=name,
        engine=engine,
        engine_version=environment[packages[0]],
        model=model.name,
        model_digest=model.digest,
        tokenizer=model.tokenizer,
        chat_template_digest=model.chat_template_digest,
        logprobs_mode="raw",
        hardware=read_hardware(),
        environment={
            **environment,
            "weights": weights,
            "threads": str(config.threads),
            "context_tokens": str(config.context_tokens),
        },
    )


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
