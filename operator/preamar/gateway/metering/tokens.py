"""How many tokens an answer of KServe v2 carries, read while it passes by.

The tensors INPUT_TOKENS and OUTPUT_TOKENS of our own tasks count, whichever door a caller came
through, packed or not. An answer without them counts as a request with no tokens.
"""

import json
import re
import zlib
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from preamar.gateway.metering.call import Call
from preamar.gateway.wire.compression import EITHER
from preamar.gateway.wire.http1 import Head

MAX_HEAD = 1 << 20
"""Bytes of JSON that are kept whole."""
TAIL = 1 << 16
"""Bytes that are kept of the end of longer JSON: the counts are the last tensors of our tasks."""
PIECE = 1 << 18
COUNTS = ("INPUT_TOKENS", "OUTPUT_TOKENS")
_LISTED = re.compile(r'\{\s*"name"\s*:\s*"(INPUT_TOKENS|OUTPUT_TOKENS)"')
_NAMED = re.compile(r'"(INPUT_TOKENS|OUTPUT_TOKENS)"\s*:\s*')


class Reader(Protocol):
    def feed(self, data: bytes) -> None: ...
    def tell(self, call: Call) -> None: ...


def reader(head: Head) -> Reader:
    """What suits an answer in one piece."""
    length = head.get(b"inference-header-content-length")
    framed = length is not None and length.isdigit()
    inner: Reader = _Framed(int(length or 0)) if framed else _PlainJson()
    return inner if head.get(b"content-encoding") in {None, b"identity"} else _Packed(inner)


def ints(value: Any) -> list[int]:
    """Numbers of a JSON tensor, one or many."""
    flat = value if isinstance(value, list) else [value]
    return [int(item) for item in flat]


class _Packed:
    """By gzip or deflate, as most clients ask for unasked."""

    def __init__(self, inner: Reader) -> None:
        self._inner = inner
        self._unpack: Any = zlib.decompressobj(wbits=EITHER)

    def feed(self, data: bytes) -> None:
        while data and self._unpack is not None:
            try:
                self._inner.feed(self._unpack.decompress(data, PIECE))
            except zlib.error:
                self._unpack = None
                return
            data = self._unpack.unconsumed_tail

    def tell(self, call: Call) -> None:
        self._inner.tell(call)


class _PlainJson:
    """JSON alone: all of it, or its end."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._whole = True

    def feed(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > MAX_HEAD:
            self._whole = False
            del self._kept[:-TAIL]

    def tell(self, call: Call) -> None:
        data = bytes(self._kept)
        try:
            found = _all(json.loads(data)) if self._whole else _last(data)
            for name, values in found:
                if name in COUNTS:
                    _told(call, name, sum(ints(values)))
        except (ValueError, TypeError, KeyError, AttributeError):
            return


class _Framed:
    """JSON of a known length, and raw tensors after it, of which the counts are kept."""

    def __init__(self, head: int) -> None:
        self._head = head
        self._begin = bytearray()
        self._wanted: list[tuple[str, int, int]] | None = None
        self._raw = {name: bytearray() for name in COUNTS}
        self._told: dict[str, int] = {}
        self._at = 0

    def feed(self, data: bytes) -> None:
        if self._wanted is None:
            if self._head > MAX_HEAD:
                return
            need = self._head - len(self._begin)
            self._begin += data[:need]
            data = data[need:]
            if len(self._begin) < self._head:
                return
            self._wanted = self._ranges()
        end = self._at + len(data)
        for name, begin, stop in self._wanted:
            if begin < end and stop > self._at:
                self._raw[name] += data[max(0, begin - self._at) : stop - self._at]
        self._at = end

    def tell(self, call: Call) -> None:
        if self._wanted is None:
            self._ranges()
        for name, total in self._told.items():
            _told(call, name, total)
        for name, raw in self._raw.items():
            if raw and len(raw) % 4 == 0:
                _told(call, name, sum(array("i", bytes(raw))))

    def _ranges(self) -> list[tuple[str, int, int]]:
        """Where the counts lie after the head; those that stand in it are told."""
        at, found = 0, []
        try:
            for output in json.loads(bytes(self._begin))["outputs"]:
                size = int((output.get("parameters") or {}).get("binary_data_size", 0))
                if output["name"] in COUNTS and size:
                    found.append((output["name"], at, at + min(size, MAX_HEAD)))
                elif output["name"] in COUNTS:
                    self._told[output["name"]] = sum(ints(output["data"]))
                at += size
        except (ValueError, TypeError, KeyError, AttributeError):
            return found
        return found


def _all(body: Any) -> Iterable[tuple[str, Any]]:
    """The tensors of an answer: a list of them, or to ``generate`` each under its name."""
    if "outputs" not in body:
        return [(name, body[name]) for name in COUNTS if name in body]
    return [(output["name"], output.get("data", ())) for output in body["outputs"]]


def _last(data: bytes) -> Iterator[tuple[str, Any]]:
    """The counts near the end of an answer whose beginning was not kept."""
    text = data.decode("latin-1")  # it may begin within a character; names and counts are ASCII
    for match in _LISTED.finditer(text):
        output = json.JSONDecoder().raw_decode(text, match.start())[0]
        yield output["name"], output["data"]
    for match in _NAMED.finditer(text):
        yield match[1], json.JSONDecoder().raw_decode(text, match.end())[0]


def _told(call: Call, name: str, total: int) -> None:
    if name == "INPUT_TOKENS":
        call.input_tokens = total
    else:
        call.output_tokens = total
