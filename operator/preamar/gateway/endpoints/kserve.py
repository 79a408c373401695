"""KServe v2 REST: which routes pass to a model server, and how bytes go through untouched.

Only what is listed here exists; Triton's repository, shared memory, trace and log routes cannot be
reached. Bodies are framed anew with a length. The last piece of an answer leaves only after the
ledger has the request; error texts are our own.
"""

import asyncio
import re
from typing import NamedTuple

from aiohttp import web

from preamar import __version__
from preamar.gateway.errors import Problem, broken_off, model_failed, wrong_method
from preamar.gateway.metering import token_outputs, tokens
from preamar.gateway.metering.call import COLD_START, Call
from preamar.gateway.metering.settlement import Settlement
from preamar.gateway.metering.token_outputs import TensorRequest
from preamar.gateway.relay import cost_bounds
from preamar.gateway.relay.model_config import read_config
from preamar.gateway.relay.shadow import Comparer, ShadowReader, over_http
from preamar.gateway.relay.upstream import Answer, Upstream
from preamar.gateway.routing import affinity
from preamar.gateway.routing.queue import ModelQueue
from preamar.gateway.settings import Settings
from preamar.gateway.wire.connections import CutShort

_ROUTE = re.compile(
    r"/v2/models/([A-Za-z0-9._-]{1,253})(?:/versions/([0-9]{1,9}))?"
    r"(?:/(ready|infer|generate|generate_stream))?"
)
_LENGTH = "Inference-Header-Content-Length"
_PASSED_ON = ("Content-Type", "Content-Encoding", "Accept-Encoding", _LENGTH)
_PASSED_BACK = {b"content-type", b"content-encoding", b"inference-header-content-length"}
_SHAPED = re.compile(
    r"unexpected shape for input '([\w.-]{1,64})' for model '[^']*'\. "
    r"Expected (\[[-0-9,]{1,64}\]), got (\[[-0-9,]{1,64}\])"
)


class Route(NamedTuple):
    """``model`` None: about the server as a whole."""

    method: str
    model: str | None
    action: str
    path: str


class Kserve:
    def __init__(self, upstream: Upstream, settings: Settings, comparer: Comparer) -> None:
        self._upstream = upstream
        self._comparer = comparer
        self._settings = settings

    def route(self, method: str, path: str) -> Route | None:
        """Where a request goes; None: nowhere. Raises ``Problem`` on a wrong method."""
        if path in {"/v2", "/v2/", "/v2/health/live", "/v2/health/ready"}:
            _only("GET", method)
            return Route(method, None, path.rpartition("/")[2], path)
        match = _ROUTE.fullmatch(path)
        if match is None:
            return None
        action = match[3] or "metadata"
        _only("GET" if action in {"metadata", "ready"} else "POST", method)
        return Route(method, match[1], action, path)

    def about(self, route: Route, *, ready: bool, call_id: str) -> web.Response:
        """The server's own metadata and health."""
        headers = {"x-request-id": call_id}
        if route.action in {"live", "ready"}:
            return web.Response(
                status=200 if ready or route.action == "live" else 503, headers=headers
            )
        about = {"name": "preamar", "version": __version__, "extensions": ["binary_tensor_data"]}
        return web.json_response(about, headers=headers)

    def readiness(self, queue: ModelQueue, call_id: str) -> web.Response:
        return web.Response(status=200 if queue.ready else 503, headers={"x-request-id": call_id})

    async def relay(
        self, request: web.BaseRequest, route: Route, queue: ModelQueue, call: Call, body: bytes
    ) -> web.StreamResponse:
        """Pass a request to a replica and its answer back. Raises ``Problem``."""
        body, extra = self._passed_on(request, route, queue, body)
        alike = affinity.of_text(body) if route.action == "generate" else affinity.NONE
        with self._upstream.visit(queue, call, alike) as visit:
            if route.action != "metadata" and cost_bounds.endless(call, queue.model.task):
                about = await read_config(visit, queue.model.name)
                answers = queue.model.batch if route.action == "infer" else 1
                await cost_bounds.cover_answers(call, len(body), about, answers)
            answer = await visit.send(route.method, route.path, extra, body, repeatable=False)
            try:
                if answer.head.status >= 400:
                    raise explained(
                        queue.model.name, answer, await answer.exchange.read_all(1 << 20)
                    )
                usage = tokens.reader(answer.head)
                shadow = None
                if route.action == "infer" and self._comparer.wants(
                    queue, answer.replica, len(body)
                ):
                    shadow = usage = ShadowReader(usage)
                response = await self._back(request, answer, queue, call, usage)
            except CutShort:
                raise broken_off(queue.model.name, stopped=not answer.replica.usable) from None
            if route.action != "metadata":
                visit.answered()
            visit.done()
        if shadow is not None:
            question = over_http(route.path, extra, body, answer.head, shadow.data)
            self._comparer.offer(queue, answer.replica, question)
        return response

    def _passed_on(
        self, request: web.BaseRequest, route: Route, queue: ModelQueue, body: bytes
    ) -> tuple[bytes, bytes]:
        """The body and the header lines that go on. Raises ``Problem``."""
        headers = {name: v for name in _PASSED_ON if (v := request.headers.get(name)) is not None}
        if route.action == "infer":
            length = headers.get(_LENGTH, "")
            head = int(length) if length.isascii() and length.isdigit() else None
            encoding = headers.get("Content-Encoding", "")
            passed = token_outputs.over_http(
                queue.model.task, TensorRequest(body, head), encoding, self._settings.max_body
            )
            if passed.changed:
                body = passed.body
                headers.pop("Content-Encoding", None)
                headers |= {} if passed.head is None else {_LENGTH: str(passed.head)}
        # Headers were read as UTF-8 with escapes: what a caller sent goes on byte by byte.
        lines = (f"{name}: {value}\r\n" for name, value in headers.items())
        return body, "".join(lines).encode("utf-8", "surrogateescape")

    async def _back(  # noqa: C901 - one relay with its three ends
        self,
        request: web.BaseRequest,
        answer: Answer,
        queue: ModelQueue,
        call: Call,
        usage: tokens.Reader,
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.head.status, headers={"x-request-id": call.id})
        for name, value in answer.head.headers:
            if name in _PASSED_BACK:
                response.headers[name.decode()] = value.decode("latin-1")
        response.headers.update(call.versions(queue.model))
        if call.cold_ms is not None:
            response.headers[COLD_START] = str(call.cold_ms)
        length = answer.head.get(b"content-length")
        if length is not None:
            response.content_length = int(length)
        # One piece is kept back, so that nobody has a whole answer that the ledger lacks.
        settlement = Settlement(call)
        try:
            async with settlement:
                last = await answer.exchange.read()
                usage.feed(last)
                call.first_token()
                while piece := await answer.exchange.read():
                    if not settlement.begun:
                        settlement.began()
                        await response.prepare(request)
                    await response.write(last)
                    last = piece
                    usage.feed(piece)
                usage.tell(call)
        except (Problem, CutShort, asyncio.CancelledError) as error:
            if not settlement.begun:
                raise
            # An answer that is cut must not look whole: end the connection within its framing.
            if request.transport is not None:
                request.transport.abort()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise ConnectionResetError from None
        if not settlement.begun:
            await response.prepare(request)
        await response.write(last)
        await response.write_eof()
        return response


def _only(allowed: str, method: str) -> None:
    if method != allowed:
        raise wrong_method(allowed)


def explained(model: str, answer: Answer, body: bytes) -> Problem:
    """Our own words for what a model server refused; never its text."""
    text = body.decode(errors="replace")
    status = answer.head.status
    if match := _SHAPED.search(text):
        message = f"The input '{match[1]}' has shape {match[3]}, and the model takes {match[2]}."
        return Problem(400, message, param=match[1])
    if status >= 500:
        return model_failed(model)
    message = (
        f"The model '{model}' refused the request: check the names, shapes and types of its "
        f"inputs against GET /v2/models/{model}."
    )
    return Problem(400 if status != 404 else 404, message, code="invalid_inference_request")
