"""Which numbers does an answer of KServe v2 hold, whichever way it came?

As JSON, as JSON of a known length with raw tensors after it, or as a protobuf message with raw tensors.
For comparing small answers: every number becomes an object of its own.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from struct import calcsize, error, unpack
from typing import Any

from preamar.gateway.wire import protobuf
from preamar.protocol.answer_distance import Answer, Tensor

_CODES = {
    "BOOL": "?", "INT8": "b", "UINT8": "B", "INT16": "h", "UINT16": "H", "INT32": "i",
    "UINT32": "I", "INT64": "q", "UINT64": "Q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip
_FLOATS = frozenset({"FP16", "FP32", "FP64", "BF16"})


def of_http(data: bytes, head: int | None) -> Answer:
    """The tensors of an answer whose JSON is ``head`` bytes long, None for all of it. Raises
    ``ValueError`` where it is no such answer."""
    cut = at = len(data) if head is None else head
    found = {}
    try:
        for output in json.loads(data[:cut])["outputs"]:
            size = (output.get("parameters") or {}).get("binary_data_size")
            kind, shape = output["datatype"], output["shape"]
            if size is None:
                values: Sequence[Any] = [_number(kind, each) for each in _flat(output["data"])]
            else:
                values = _raw(kind, data[at : at + size])
                at += size
            found[output["name"]] = _tensor(kind, shape, values)
    except (KeyError, TypeError, AttributeError, RecursionError, error) as wrong:
        raise ValueError("this is no answer of KServe v2") from wrong
    return found


def of_grpc(data: bytes) -> Answer:
    """The tensors of a ``ModelInferResponse``. Raises ``ValueError`` where it is none, or holds
    tensors that are not raw."""
    outputs: list[bytes] = []
    raws: list[bytes] = []
    try:
        for number, value in protobuf.fields(data):
            if number in {5, 6} and isinstance(value, bytes):
                (outputs if number == 5 else raws).append(value)
        found = {}
        for output, raw in zip(outputs, raws, strict=True):
            kind = protobuf.text(output, 2)
            tensor = _tensor(kind, _shape(output), _raw(kind, raw))
            found[protobuf.text(output, 1)] = tensor
    except (protobuf.NotProtobuf, KeyError, error) as wrong:
        raise ValueError("this is no answer of KServe v2") from wrong
    return found


def _shape(output: bytes) -> Iterator[int]:
    for number, value in protobuf.fields(output):
        if number == 3 and isinstance(value, int):
            yield value
        elif number == 3 and isinstance(value, bytes):
            yield from protobuf.varints(value)


def _tensor(kind: str, shape: Iterable[int], values: Sequence[Any]) -> Tensor:
    sizes = tuple(shape)
    if prod(sizes) != len(values):
        raise ValueError("an output does not have the size that its shape says")
    return Tensor(sizes, values, kind in _FLOATS)


def _number(kind: str, given: Any) -> Any:
    if kind in _FLOATS:
        return float(given)
    return given


def _flat(data: Any) -> Iterator[Any]:
    for each in data if isinstance(data, list) else [data]:
        if isinstance(each, list):
            yield from _flat(each)
        else:
            yield each


def _raw(kind: str, data: bytes) -> Sequence[Any]:
    if kind == "BYTES":
        return list(_texts(data))
    if kind == "BF16":  # the upper half of a float of 32 bits
        wide = bytearray(2 * len(data))
        wide[2::4], wide[3::4] = data[0::2], data[1::2]
        kind, data = "FP32", bytes(wide)
    code = _CODES[kind]
    return unpack(f"<{len(data) // calcsize(f'<{code}')}{code}", data)


def _texts(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        (size,) = unpack("<I", data[at : at + 4])
        at += 4 + size
        if at > len(data):
            raise ValueError("a text is longer than its tensor")
        yield data[at - size : at]
