"""The few fields of KServe's protobuf messages that a relay has to read, without their classes."""

from array import array
from collections.abc import Iterator


class NotProtobuf(Exception):
    """These bytes are no message."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise NotProtobuf
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of each field at the top. Raises ``NotProtobuf``."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in {1, 5}:
            size = 8 if kind == 1 else 4
        else:
            raise NotProtobuf
        if at + size > len(data):
            raise NotProtobuf
        yield tag >> 3, data[at : at + size]
        at += size


def varints(data: bytes) -> Iterator[int]:
    """Numbers one after the other, as a packed field holds them. Raises ``NotProtobuf``."""
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def text(data: bytes, number: int) -> str:
    """The first text field of that number, "" where there is none."""
    for found, value in fields(data):
        if found == number and isinstance(value, bytes):
            return value.decode(errors="replace")
    return ""


def message(number: int, value: bytes) -> bytes:
    """One field of bytes."""
    size, length = len(value), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes([number << 3 | 2]) + bytes(length) + value


def raw(response: bytes, tensor: str) -> bytes:
    """The bytes of a tensor of a ``ModelInferResponse`` with raw tensors, b"" where it has none."""
    return _raws(response).get(tensor, b"")


def token_counts(response: bytes) -> tuple[int, int]:
    """The sums of INPUT_TOKENS and OUTPUT_TOKENS in a ``ModelInferResponse`` with raw tensors."""
    found = _raws(response)
    given, made = (found.get(name, b"") for name in ("INPUT_TOKENS", "OUTPUT_TOKENS"))
    return _sum(given), _sum(made)


def _sum(data: bytes) -> int:
    return sum(array("i", data)) if len(data) % 4 == 0 else 0


def _raws(response: bytes) -> dict[str, bytes]:
    names: list[str] = []
    raws: list[bytes] = []
    for number, value in fields(response):
        if number == 5 and isinstance(value, bytes):
            names.append(text(value, 1))
        elif number == 6 and isinstance(value, bytes):
            raws.append(value)
    return dict(zip(names, raws, strict=False))
