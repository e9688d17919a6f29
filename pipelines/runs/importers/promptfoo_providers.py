"""How promptfoo names what answers: `openai:chat:gpt-4o`, `ollama:llama3:8b`, `file://provider.py`.

What belongs here: vendor, engine and model out of such a name, and a provider's settings out of the configuration.
"""

from __future__ import annotations

import re

from pipelines.runs.records import JsonObject, as_list, as_object

# Parts between the vendor and the model that say which call is made.
_CALLS = frozenset(
    {"chat", "completion", "completions", "responses", "messages", "assistant", "realtime", "embedding", "embeddings",
     "image", "text", "text-generation", "text-classification", "feature-extraction", "sentence-similarity",
     "moderation", "converse", "agents", "deployment"}
)  # fmt: skip
# Names that are programs or addresses, in which a colon separates no model.
_PROGRAM = re.compile(r"^(?:file|https?|wss?|exec|python|javascript|golang|ruby|package|webhook|mcp)\b", re.IGNORECASE)
ENGINES = {"ollama": "ollama", "llama": "llama.cpp", "llamafile": "llama.cpp", "vllm": "vllm", "localai": "localai",
           "text-generation-webui": "text-generation-webui", "transformers": "transformers"}  # fmt: skip


def vendor_of(identity: str) -> str | None:
    """The first part of a name that has several; None for programs and plain names."""
    vendor, colon, _ = identity.partition(":")
    return vendor if colon and not _PROGRAM.match(identity) else None


def model_of(identity: str) -> str:
    """The model in a provider's name, which may have colons of its own; the whole name where it has no parts."""
    if vendor_of(identity) is None:
        return identity
    rest = identity.partition(":")[2]
    call, colon, model = rest.partition(":")
    return (model if colon and call in _CALLS else rest) or identity


def find_provider(providers: object, name: str) -> JsonObject:
    """A provider as the configuration declares it, by label or id: an object, or `{id: {...}}`."""
    for item in as_list(providers):
        entry = as_object(item)
        if name in (entry.get("label"), entry.get("id")):
            return entry
        if len(entry) == 1 and "id" not in entry:
            ((identity, settings),) = entry.items()
            if name in (identity, as_object(settings).get("label")):
                return {"id": identity} | as_object(settings)
    return {}
