"""Callers whose connections stand before the clock starts, so that it measures the gateway and what
is behind it and not the making of connections.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from e2e.cluster import Cluster


@dataclass(slots=True)
class Callers:
    """Open connections to the gateway, each for one request."""

    here: Cluster
    streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]

    @classmethod
    async def ready(cls, here: Cluster, count: int) -> Self:
        """That many connections, some at a time."""
        at = urlsplit(here.gateway_url)
        streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        while len(streams) < count:
            some = min(50, count - len(streams))
            streams += await asyncio.gather(
                *(asyncio.open_connection(at.hostname, at.port or 80) for _ in range(some))
            )
        return cls(here, streams)

    def ask(self, models: Sequence[str], tokens: int) -> list[float]:
        """Send one request on each connection, in turn for each model; when each was sent, in
        seconds of the wall clock, which the API server's audit log has too."""
        requests = [self._request(model, tokens) for model in models]
        sent = []
        for number, (_, writer) in enumerate(self.streams):
            sent.append(time.time())
            writer.write(requests[number % len(requests)])
        return sent

    def _request(self, model: str, tokens: int) -> bytes:
        wish = {"model": model, "prompt": "talk", "max_tokens": tokens, "stream": True}
        body = json.dumps(wish).encode()
        head = (
            "POST /v1/completions HTTP/1.1\r\n"
            f"Host: {urlsplit(self.here.gateway_url).netloc}\r\n"
            f"Authorization: Bearer {self.here.key()}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def answers(self, seconds: float) -> list[bytes]:
        """What came on each connection until its stream was done. Raises ``TimeoutError`` after
        ``seconds`` and ``asyncio.IncompleteReadError`` where one was cut off."""
        async with asyncio.timeout(seconds):
            return await asyncio.gather(
                *(reader.readuntil(b"data: [DONE]") for reader, _ in self.streams)
            )

    def leave(self) -> None:
        """Hang up, answered or not."""
        for _, writer in self.streams:
            writer.transport.abort()
