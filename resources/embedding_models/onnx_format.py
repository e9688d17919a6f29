"""The little of the ONNX file format that a model needs, written as protocol buffers.

torch.onnx would need the package `onnx`, torch and ten seconds for what is a list of operators and arrays. The field
numbers are those of onnx.proto. What graph is written is `bert_graph.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

# Version 8 of the format is the oldest that knows operator set 17, whose operators are enough.
_IR_VERSION = 8
_OPERATOR_SET = 17
_CONTRIBUTED = "com.microsoft"
_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_ELEMENT_TYPES = {"float32": 1, "int32": 6, "int64": 7}
_FLOAT, _INT, _INTS = 1, 2, 7

Attribute = int | float | Sequence[int]


def model_bytes(
    *,
    nodes: Sequence[bytes],
    weights: Mapping[str, NDArray[np.float32] | NDArray[np.int64]],
    inputs: Mapping[str, tuple[str, Sequence[int | str]]],
    outputs: Mapping[str, tuple[str, Sequence[int | str]]],
) -> bytes:
    """A whole model. Inputs and outputs by name with element type and shape; a named size is free."""
    graph = b"".join(
        [
            *(_field(1, node) for node in nodes),
            _field(2, b"benchlake"),
            *(_field(5, _tensor(name, array)) for name, array in weights.items()),
            *(_field(11, _value(name, *kind)) for name, kind in inputs.items()),
            *(_field(12, _value(name, *kind)) for name, kind in outputs.items()),
        ]
    )
    sets = ((b"", _OPERATOR_SET), (_CONTRIBUTED.encode(), 1))
    return b"".join(
        [
            _number(1, _IR_VERSION),
            _field(2, b"benchlake"),
            _field(7, graph),
            *(_field(8, _field(1, domain) + _number(2, version)) for domain, version in sets),
        ]
    )


def node(
    operator: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    is_contributed: bool = False,
    **attributes: Attribute,
) -> bytes:
    """One operator; `is_contributed` ones are ONNX Runtime's own, fused for attention. An empty input is left out."""
    return b"".join(
        [
            *(_field(1, name.encode()) for name in inputs),
            *(_field(2, name.encode()) for name in outputs),
            _field(3, outputs[0].encode()),
            _field(4, operator.encode()),
            *(_field(5, _attribute(name, value)) for name, value in attributes.items()),
            _field(7, _CONTRIBUTED.encode()) if is_contributed else b"",
        ]
    )


def _attribute(name: str, value: Attribute) -> bytes:
    named = _field(1, name.encode())
    if isinstance(value, float):
        return named + _tag(2, _FIXED32) + struct.pack("<f", value) + _number(20, _FLOAT)
    if isinstance(value, int):
        return named + _number(3, value) + _number(20, _INT)
    return named + b"".join(_number(8, number) for number in value) + _number(20, _INTS)


def _tensor(name: str, array: NDArray[np.float32] | NDArray[np.int64]) -> bytes:
    return b"".join(
        [
            *(_number(1, size) for size in array.shape),
            _number(2, _ELEMENT_TYPES[array.dtype.name]),
            _field(8, name.encode()),
            _field(9, np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()),
        ]
    )


def _value(name: str, element: str, shape: Sequence[int | str]) -> bytes:
    sizes = b"".join(
        _field(1, _field(2, size.encode()) if isinstance(size, str) else _number(1, size)) for size in shape
    )
    tensor = _number(1, _ELEMENT_TYPES[element]) + _field(2, sizes)
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _field(number: int, content: bytes) -> bytes:
    return _tag(number, _BYTES) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _tag(number, _VARINT) + _varint(value)


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    # Negative numbers are written as 64-bit two's complement.
    value &= (1 << 64) - 1
    written = bytearray()
    while value > 0x7F:  # noqa: PLR2004  # seven bits a byte
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
