"""Server-sent events: what a model server streams in, and what callers are streamed out."""

from preamar.gateway.wire.http1 import Garbled

MAX_EVENT = 1 << 20
DONE = b"data: [DONE]\n\n"
WAITING = b": waiting\n\n"
ALIVE = b": keep-alive\n\n"


class Events:
    """Bytes in, the ``data`` of whole events out."""

    __slots__ = ("_most", "_rest")

    def __init__(self, most: int = MAX_EVENT) -> None:
        self._most = most
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Events that are complete now. Raises ``Garbled`` on one without end."""
        if (
            not self._rest
            and data.startswith(b"data: ")
            and data.endswith(b"\n\n")
            and data.count(b"\n") == 2
            and b"\r" not in data
        ):
            # One event of one line, as model servers send them.
            return [data[6:-2]]
        data = (self._rest + data).replace(b"\r\n", b"\n")
        *blocks, self._rest = data.split(b"\n\n")
        if len(self._rest) > self._most:
            raise Garbled("an event without end")
        found = []
        for block in blocks:
            lines = [
                line[5:].removeprefix(b" ")
                for line in block.split(b"\n")
                if line.startswith(b"data:")
            ]
            if lines:
                found.append(b"\n".join(lines))
        return found

    @property
    def whole(self) -> bool:
        """Whether nothing is left of an event that did not end."""
        return not self._rest.strip()


def event(data: bytes) -> bytes:
    """One event."""
    return b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"
