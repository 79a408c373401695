"""The data port: which request goes where, and what becomes of every failure.

Each request gets an id, is checked in this order (route, key, body, model, access), and ends in an
answer with OpenAI's error body or in a relay; a caller who leaves is a row with status 499.
"""

import asyncio
import logging

from aiohttp import web

from preamar.gateway import deadline
from preamar.gateway.endpoints import kserve_stream
from preamar.gateway.endpoints.health import GatewayHealth
from preamar.gateway.endpoints.http_context import HttpContext
from preamar.gateway.endpoints.kserve import Kserve, Route
from preamar.gateway.endpoints.openai import OpenAI
from preamar.gateway.endpoints.request_body import BodyMemory
from preamar.gateway.errors import Problem, unknown_route, wrong_method
from preamar.gateway.metering.admission import Admission
from preamar.gateway.metering.call import LEFT
from preamar.gateway.relay import cost_bounds
from preamar.gateway.relay.shadow import Comparer
from preamar.gateway.relay.upstream import Upstream
from preamar.gateway.settings import Settings

log = logging.getLogger(__name__)
MODELS = "/v1/models"


class HttpDoor:
    """Handles the requests of the data port."""

    def __init__(
        self,
        settings: Settings,
        admission: Admission,
        upstream: Upstream,
        health: GatewayHealth,
        comparer: Comparer,
    ) -> None:
        self._settings = settings
        self._admission = admission
        self._upstream = upstream
        self._health = health
        self._memory = BodyMemory(settings.body_memory)
        self._openai = OpenAI(admission, upstream, comparer)
        self._kserve = Kserve(upstream, settings, comparer)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Every request of the port comes here."""
        context = HttpContext(request, self._settings, self._memory)
        self._health.begin()
        code = 500
        try:
            wait = request.headers.get(deadline.HEADER)
            if wait is None:
                response = await self._answer(context)
            else:
                response = await self._in_time(context, deadline.seconds_of(wait))
            code = response.status
        except Problem as problem:
            code = problem.status
            response = await context.failed(problem)
        except (asyncio.CancelledError, ConnectionError):
            code = LEFT
            raise
        except Exception:
            log.exception("request %s failed", context.id)
            response = await context.failed(
                Problem(500, "The gateway failed on this request.", "server_error")
            )
        finally:
            context.end()
            self._health.end()
            if not context.plain:
                self._admission.ended(context, code)
        if self._health.draining and not response.prepared:
            response.force_close()
        return response

    async def _in_time(self, context: HttpContext, seconds: float) -> web.StreamResponse:
        """The answer to a caller who waits so long. Raises ``Problem`` where that is over."""
        timer = asyncio.timeout(seconds)
        context.wait(seconds)
        try:
            async with timer:
                return await self._answer(context)
        except TimeoutError:
            if not timer.expired():
                raise
            raise deadline.over(seconds) from None

    async def _answer(self, context: HttpContext) -> web.StreamResponse:
        request = context.request
        path = request.path
        plain = self._health.plain(request)
        if plain is not None:
            context.plain = True
            return plain
        post = self._openai.posts.get(path)
        if post is not None:
            _only("POST", request)
            self._identify(context)
            return await post(context)
        if path == MODELS or path.startswith(f"{MODELS}/"):
            _only("GET", request)
            self._identify(context)
            return self._openai.models(path.removeprefix(MODELS).removeprefix("/"), context)
        route = self._kserve.route(request.method, path)
        if route is None:
            raise unknown_route()
        self._identify(context)
        if route.model is None:
            return self._kserve.about(route, ready=self._health.ready, call_id=context.id)
        return await self._relay(context, route, route.model)

    def _identify(self, context: HttpContext) -> None:
        self._admission.identify(context, context.request.headers.get("Authorization", ""))

    async def _relay(self, context: HttpContext, route: Route, model: str) -> web.StreamResponse:
        """What KServe v2 asks of a model."""
        queue = self._admission.find(context, model)
        if route.action == "ready":
            return self._kserve.readiness(queue, context.id)
        body = await context.body(self._settings.max_tensor_body)
        most, endpoint = cost_bounds.tokens_of(len(body)), f"/v2/{route.action}"
        with await self._admission.admit(context, queue, endpoint, most) as call:
            if route.action == "generate_stream":
                async with context.streaming(queue) as stream:
                    return await kserve_stream.relay(
                        self._upstream, context.request.headers, route, queue, call, body, stream
                    )
            return await self._kserve.relay(context.request, route, queue, call, body)


def _only(method: str, request: web.BaseRequest) -> None:
    if request.method != method:
        raise wrong_method(method)
