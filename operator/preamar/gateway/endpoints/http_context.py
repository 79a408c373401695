"""What does a request by HTTP bring, and what goes back with each answer to it?"""

from typing import Any

from aiohttp import web

from preamar.gateway.endpoints.request_body import BodyMemory, object_of, read_body
from preamar.gateway.endpoints.response_stream import Stream
from preamar.gateway.errors import Problem
from preamar.gateway.metering.admission import RequestContext
from preamar.gateway.metering.call import COLD_START
from preamar.gateway.routing.queue import ModelQueue
from preamar.gateway.settings import Settings


class HttpContext(RequestContext):
    """A request by HTTP. ``plain``: it is neither metered nor asked for a key."""

    __slots__ = ("_memory", "_settings", "body_size", "plain", "request", "stream")

    def __init__(self, request: web.BaseRequest, settings: Settings, memory: BodyMemory) -> None:
        super().__init__()
        self.request = request
        self.stream: Stream | None = None
        self.body_size = 0
        self.plain = False
        self._settings = settings
        self._memory = memory

    async def body(self, limit: int) -> bytes:
        """All of it. Raises ``Problem``."""
        body = await read_body(self.request, limit, self._settings.read_seconds, self._memory)
        self.body_size = len(body)
        return body

    async def json(self) -> dict[str, Any]:
        """The object in its body. Raises ``Problem``."""
        return object_of(self.request, await self.body(self._settings.max_body))

    def end(self) -> None:
        """Its body is not needed any more."""
        self._memory.left += self.body_size

    def streaming(self, queue: ModelQueue) -> Stream:
        """An answer in events."""
        quiet = self._settings.keep_alive_seconds
        self.stream = Stream(self.request, self.headers(queue), quiet)
        return self.stream

    def headers(self, queue: ModelQueue) -> dict[str, str]:
        """Of an answer by the model of ``queue``."""
        versions = self.call.versions(queue.model) if self.call else {}
        return {"x-request-id": self.id, **self._cold(), **self.rates, **versions}

    def answer(self, queue: ModelQueue, body: bytes) -> web.Response:
        """A whole answer in JSON by the model of ``queue``."""
        headers = self.headers(queue)
        return web.Response(body=body, content_type="application/json", headers=headers)

    async def failed(self, problem: Problem) -> web.StreamResponse:
        """The end of a request that comes to nothing: an answer, or an event where one began."""
        if self.stream is not None and self.stream.headed:
            return await self.stream.fail(problem)
        headers = {"x-request-id": self.id, **self._cold(), **problem.headers}
        return web.Response(
            status=problem.status,
            body=problem.body(),
            content_type="application/json",
            headers=headers,
        )

    def _cold(self) -> dict[str, str]:
        call = self.call
        return {} if call is None or call.cold_ms is None else {COLD_START: str(call.cold_ms)}
