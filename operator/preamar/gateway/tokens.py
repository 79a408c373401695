"""How many tokens an answer of KServe v2 carries, read while it passes by.

The tensors INPUT_TOKENS and OUTPUT_TOKENS of our own tasks count, whichever door a caller came
through. An answer without them counts as a request with no tokens.
"""

import json
from array import array
from typing import Any, Protocol

from preamar.gateway.call import Call
from preamar.gateway.http1 import Head

MAX_HEAD = 1 << 20


class Reader(Protocol):
    def feed(self, data: bytes) -> None: ...
    def tell(self, call: Call) -> None: ...


def reader(head: Head) -> Reader:
    """What suits an answer in one piece."""
    if head.get(b"content-encoding") in {None, b"identity"}:
        length = head.get(b"inference-header-content-length")
        return _Whole(int(length) if length and length.isdigit() else None)
    return _Nothing()


def ints(value: Any) -> list[int]:
    """Numbers of a JSON tensor, one or many."""
    flat = value if isinstance(value, list) else [value]
    return [int(item) for item in flat]


class _Nothing:
    def feed(self, data: bytes) -> None:
        """Nothing to see."""

    def tell(self, call: Call) -> None:
        """Nothing to say."""


class _Whole:
    """JSON, or JSON of a known length with raw tensors after it."""

    def __init__(self, head: int | None) -> None:
        self._head = head
        self._kept: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MAX_HEAD or self._head is not None:
            self._kept.append(data)
        else:
            self._kept.clear()

    def tell(self, call: Call) -> None:
        if not self._kept:
            return
        data = b"".join(self._kept)
        cut = len(data) if self._head is None else self._head
        at = cut
        try:
            for output in json.loads(data[:cut])["outputs"]:
                size = (output.get("parameters") or {}).get("binary_data_size", 0)
                if output["name"] in {"INPUT_TOKENS", "OUTPUT_TOKENS"}:
                    numbers = array("i", data[at : at + size]) if size else ints(output["data"])
                    if output["name"] == "INPUT_TOKENS":
                        call.input_tokens = sum(numbers)
                    else:
                        call.output_tokens = sum(numbers)
                at += size
        except (ValueError, TypeError, KeyError, AttributeError):
            return
