"""The formats that can be imported, and how one is chosen.

A new format is a module here and an entry in `IMPORTERS`. Reading bytes safely is `pipelines.runs.sources`, writing
to the lake is `pipelines.runs.steps`.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from lake.errors import UserError
from pipelines.runs.importers.asv import AsvImporter
from pipelines.runs.importers.benchlake import BenchlakeImporter
from pipelines.runs.importers.chrome_trace import ChromeTraceImporter
from pipelines.runs.importers.inspect import InspectImporter
from pipelines.runs.importers.llama_cpp import LlamaCppImporter
from pipelines.runs.importers.lm_eval import LmEvalImporter
from pipelines.runs.importers.metrics_csv import MetricsCsvImporter
from pipelines.runs.importers.mlflow import MlflowImporter
from pipelines.runs.importers.openai import OpenAiImporter
from pipelines.runs.importers.otel import OtelImporter
from pipelines.runs.importers.promptfoo import PromptfooImporter
from pipelines.runs.importers.protocol import Importer, SourceGroup
from pipelines.runs.importers.vllm_bench import VllmBenchImporter

if TYPE_CHECKING:
    from pipelines.runs.sources import FileHead

IMPORTERS: dict[str, Importer] = {
    importer.source_kind: importer
    for importer in (
        AsvImporter(),
        BenchlakeImporter(),
        ChromeTraceImporter(),
        InspectImporter(),
        LlamaCppImporter(),
        LmEvalImporter(),
        MetricsCsvImporter(),
        MlflowImporter(),
        OpenAiImporter(),
        OtelImporter(),
        PromptfooImporter(),
        VllmBenchImporter(),
    )
}

# Marks files that no importer knew. It changes with every importer, so that such files are looked at again, and lies
# above every importer's own version.
REGISTRY_VERSION = (1 << 30) | (
    zlib.crc32(" ".join(f"{kind}:{importer.version}" for kind, importer in IMPORTERS.items()).encode()) >> 2
)

__all__ = ["IMPORTERS", "REGISTRY_VERSION", "Importer", "SourceGroup", "detect_importer", "importer_of"]


def importer_of(source_kind: str) -> Importer:
    """The importer by name; raises `UserError` with the nearest names if there is none."""
    try:
        return IMPORTERS[source_kind]
    except KeyError:
        raise UserError.unknown("format", source_kind, IMPORTERS) from None


def detect_importer(head: FileHead) -> Importer | None:
    """The importer that knows a file by its beginning, or None."""
    return next((importer for importer in IMPORTERS.values() if importer.detects(head)), None)
