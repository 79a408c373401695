"""What a Service does: new connections go to the gateways that say that they are ready, in turn."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Self

import aiohttp

LOOK_SECONDS = 0.1


class Balancer:
    """``ports`` of gateways; what is asked of ``port`` goes to one of the ready ones."""

    def __init__(self) -> None:
        self.ports: set[int] = set()
        self.ready: tuple[int, ...] = ()
        self.port = 0
        self._turn = count()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        self._looking = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._looking.cancel()
        self._server.close()
        for task in list(self._tasks):
            task.cancel()

    async def _look(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as http:
            while True:
                found = [port for port in sorted(self.ports) if await _is_ready(http, port)]
                self.ready = tuple(found)
                await asyncio.sleep(LOOK_SECONDS)

    async def until_ready(self, ports: Sequence[int], seconds: float = 30.0) -> None:
        """Until these are what it knows."""
        async with asyncio.timeout(seconds):
            while set(self.ready) != set(ports):  # noqa: ASYNC110 - several things change it
                await asyncio.sleep(0.02)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            port = self.ready[next(self._turn) % len(self.ready)]
            theirs, back = await asyncio.open_connection("127.0.0.1", port)
        except (OSError, ZeroDivisionError):
            writer.close()
            return
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(_pass(reader, back), _pass(theirs, writer))
        for end in (writer, back):
            end.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()


async def _is_ready(http: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False
