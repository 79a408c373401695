"""What a caller says on one gRPC stream, message by message, whoever is to hear it.

A stream outlives replicas. Waiting for a message can therefore be given up without losing one: what
comes later is for the replica that is asked next.
"""

import asyncio
from collections.abc import AsyncIterator

from preamar.gateway.wire import protobuf


class Messages:
    """The messages that are for one model; one for another ends them, because that one could be out
    of this caller's reach. ``close`` it."""

    def __init__(self, first: bytes, rest: AsyncIterator[bytes], model: str) -> None:
        self._held: bytes | None = first
        self._rest = rest
        self._model = model
        self._coming: asyncio.Task[bytes | None] | None = None
        self._over = False

    async def next(self, *unless: asyncio.Event) -> bytes | None:
        """The next message. None when there is none, and when one of ``unless`` is set before it
        comes. Two must not wait for it at once."""
        if not await self._come(*unless):
            return None
        message, self._held = self._held, None
        return message

    async def more(self) -> bool:
        """Whether there is another message, once that is known."""
        return await self._come()

    def put_back(self, message: bytes) -> None:
        """It was not heard: it is the next one again. No other may have come since."""
        self._held = message

    def close(self) -> None:
        """Nobody listens any more."""
        if self._coming is not None:
            self._coming.cancel()

    async def _come(self, *unless: asyncio.Event) -> bool:
        if any(event.is_set() for event in unless):
            return False
        if self._held is None and not self._over:
            if self._coming is None:
                self._coming = asyncio.ensure_future(anext(self._rest, None))
            stops = [asyncio.ensure_future(event.wait()) for event in unless]
            try:
                await asyncio.wait({self._coming, *stops}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for stop in stops:
                    stop.cancel()
            if any(event.is_set() for event in unless):
                return False
            message, self._coming = self._coming.result(), None
            if message is None or protobuf.text(message, 1) != self._model:
                self._over = True
            else:
                self._held = message
        return self._held is not None
