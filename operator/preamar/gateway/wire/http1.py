"""What a replica's bytes say: an incremental parser of HTTP/1.1 responses, without sockets.

``feed`` takes bytes as they arrive; ``head`` appears once it is complete, body pieces gather in
``pieces``, ``done`` is set only when the framing says that the body is whole. Everything is
bounded, and an ambiguous framing is an error: guessing is how responses get mixed up.
"""

import re
from collections import deque
from dataclasses import dataclass, field

MAX_HEAD = 65536
MAX_LINE = 1024
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,12})\r\n")


class Garbled(Exception):
    """These bytes are no HTTP response that we accept."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers; names in lower case, in the order they came."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    keep: bool

    def get(self, name: bytes) -> bytes | None:
        """The first header of that (lower-case) name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


@dataclass(slots=True)
class ResponseParser:
    """One response to a request which was not HEAD."""

    head: Head | None = None
    pieces: deque[bytes] = field(default_factory=deque)
    done: bool = False
    _buffer: bytearray = field(default_factory=bytearray)
    _state: str = "head"
    _left: int = 0

    def feed(self, data: bytes) -> None:
        """Take bytes in; raises ``Garbled``."""
        if self.done:
            raise Garbled("bytes after the end of the response")
        if not self._buffer:
            if self._state == "length":
                self._counted(data)
                return
            if self._state == "chunk-size" and not (data := self._chunks(data)):
                return
        self._buffer += data
        while self._buffer and not self.done and self._step():
            pass
        if self.done and self._buffer:
            raise Garbled("bytes after the end of the response")

    def eof(self) -> None:
        """The replica closed the connection; raises ``Garbled`` if the response is not whole."""
        if self._state == "eof":
            self.done = True
        if not self.done:
            raise Garbled("the connection closed before the response was whole")

    def _step(self) -> bool:
        if self._state == "head":
            return self._read_head()
        if self._state in {"length", "chunk"}:
            data = bytes(self._buffer[: self._left])
            del self._buffer[: self._left]
            self._left -= len(data)
            self.pieces.append(data)
            if not self._left:
                if self._state == "length":
                    self.done = True
                self._state = "chunk-end"
            return True
        if self._state == "eof":
            self.pieces.append(bytes(self._buffer))
            self._buffer.clear()
            return True
        return self._read_line()

    def _chunks(self, data: bytes) -> bytes:
        """Take the whole chunks at the beginning, as a stream sends them; what is left of the data
        goes the long way."""
        at, size = 0, len(data)
        while (found := _CHUNK.match(data, at)) is not None:
            begin = found.end()
            end = begin + int(found[1], 16)
            if end == begin or end + 2 > size or data[end : end + 2] != b"\r\n":
                break
            self.pieces.append(data[begin:end])
            at = end + 2
        return data[at:] if at else data

    def _counted(self, data: bytes) -> None:
        if len(data) > self._left:
            raise Garbled("bytes after the end of the response")
        self._left -= len(data)
        self.pieces.append(data)
        self.done = not self._left

    def _read_line(self) -> bool:
        end = self._buffer.find(b"\r\n", 0, MAX_LINE)
        if end < 0:
            if len(self._buffer) >= MAX_LINE:
                raise Garbled("a line that does not end")
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        if self._state == "chunk-end":
            if line:
                raise Garbled("a chunk that does not end where it said")
            self._state = "chunk-size"
        elif self._state == "chunk-size":
            size = line.partition(b";")[0].strip()
            if not size or len(size) > 12 or any(c not in b"0123456789abcdefABCDEF" for c in size):
                raise Garbled("a chunk without a size")
            self._left = int(size, 16)
            self._state = "chunk" if self._left else "trailers"
        elif not line:
            self.done = True
        return True

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0:
            if len(self._buffer) >= MAX_HEAD:
                raise Garbled("a head that does not end")
            return False
        status_line, *lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        version, _, rest = status_line.partition(b" ")
        code = rest[:3]
        if version not in {b"HTTP/1.1", b"HTTP/1.0"} or len(code) != 3 or not code.isdigit():
            raise Garbled("no HTTP status line")
        status = int(code)
        if 100 <= status < 200:
            return True
        headers = tuple(_header(line) for line in lines)
        self._frame(status, headers, version == b"HTTP/1.1")
        return True

    def _frame(self, status: int, headers: tuple[tuple[bytes, bytes], ...], modern: bool) -> None:
        lengths = {value for name, value in headers if name == b"content-length"}
        coding = [value.lower() for name, value in headers if name == b"transfer-encoding"]
        connection = b",".join(value.lower() for name, value in headers if name == b"connection")
        if coding and (coding != [b"chunked"] or lengths):
            raise Garbled("two framings at once")
        if len(lengths) > 1:
            raise Garbled("two lengths at once")
        keep = modern and b"close" not in connection
        if status in {204, 304}:
            self.done = True
        elif coding:
            self._state = "chunk-size"
        elif lengths:
            length = lengths.pop()
            if not length.isdigit() or len(length) > 15:
                raise Garbled("a length that is no number")
            self._state, self._left = "length", int(length)
            self.done = not self._left
        else:
            self._state, keep = "eof", False
        self.head = Head(status, headers, keep)


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not name or name != name.strip():
        raise Garbled("a header without a name")
    return name.lower(), value.strip()
