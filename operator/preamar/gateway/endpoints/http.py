"""The data port: which request goes where, who may make it, and what becomes of every failure.

Each request gets an id, is checked in this order (route, key, body, model, access), and ends in an
answer with OpenAI's error body or in a relay; a caller who leaves is a row with status 499.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from time import monotonic, time
from typing import Any

from aiohttp import web

from preamar.gateway import deadline
from preamar.gateway.auth.caller import Caller
from preamar.gateway.auth.keyring import Keyring
from preamar.gateway.endpoints import chat_template, embed, generate, kserve_stream, openai_request
from preamar.gateway.endpoints.health import State
from preamar.gateway.endpoints.kserve import Kserve
from preamar.gateway.endpoints.openai_response import Shape
from preamar.gateway.endpoints.request_body import Room, object_of, read_body
from preamar.gateway.endpoints.response_stream import Stream
from preamar.gateway.errors import (
    Problem,
    bad,
    forbidden,
    ledger_down,
    unknown_model,
    unknown_route,
    wrong_method,
)
from preamar.gateway.metering.call import COLD_START, LEFT, Books, Call, most_of, new_id
from preamar.gateway.metering.metrics import NOBODY, UNKNOWN
from preamar.gateway.relay import cost_bounds
from preamar.gateway.relay.model_config import served
from preamar.gateway.relay.shadow import Comparer, over_http
from preamar.gateway.relay.upstream import Upstream
from preamar.gateway.routing import affinity
from preamar.gateway.routing.queue import Fleet, Line
from preamar.gateway.settings import Settings
from preamar.ledger.store.writer import LedgerUnavailable
from preamar.ledger.tables.usage_record import Kind

log = logging.getLogger(__name__)
DEFAULT_COMPLETION_TOKENS = 16


class Edge:
    """Handles the requests of the data port."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        keyring: Keyring,
        books: Books,
        upstream: Upstream,
        state: State,
        comparer: Comparer,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._keyring = keyring
        self._books = books
        self._upstream = upstream
        self._state = state
        self._room = Room(settings.body_memory)
        self._comparer = comparer
        self._kserve = Kserve(upstream, settings, comparer)
        self._posts: dict[str, Callable[[web.BaseRequest, Asker], Awaitable[web.StreamResponse]]]
        self._posts = {
            "/v1/embeddings": self._embeddings,
            "/v1/completions": self._completions,
            "/v1/chat/completions": self._chat,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Every request of the port comes here."""
        asker = Asker(new_id())
        self._state.begin()
        code = 500
        try:
            wait = request.headers.get(deadline.HEADER)
            if wait is None:
                response = await self._answer(request, asker)
            else:
                response = await self._in_time(request, asker, deadline.seconds_of(wait))
            code = response.status
        except Problem as problem:
            code = problem.status
            response = await self._failed(problem, asker)
        except LedgerUnavailable:
            code = 503
            response = await self._failed(ledger_down(), asker)
        except (asyncio.CancelledError, ConnectionError):
            code = LEFT
            raise
        except Exception:
            log.exception("request %s failed", asker.id)
            response = await self._failed(
                Problem(500, "The gateway failed on this request.", "server_error"), asker
            )
        finally:
            self._room.left += asker.body_size
            self._state.end()
            if not asker.plain:
                self._books.meters.request(asker.model, asker.tenant, code)
        if self._state.draining and not response.prepared:
            response.force_close()
        return response

    async def _in_time(
        self, request: web.BaseRequest, asker: "Asker", seconds: float
    ) -> web.StreamResponse:
        """The answer to a caller who waits so long. Raises ``Problem`` where that is over."""
        asker.timer = asyncio.timeout(seconds)
        asker.deadline = monotonic() + seconds
        try:
            async with asker.timer:
                return await self._answer(request, asker)
        except TimeoutError:
            if not asker.timer.expired():
                raise
            raise deadline.over(seconds) from None

    async def _failed(self, problem: Problem, asker: "Asker") -> web.StreamResponse:
        if asker.stream is not None and asker.stream.headed:
            return await asker.stream.fail(problem)
        headers = {"x-request-id": asker.id, **_cold(asker.call), **problem.headers}
        return web.Response(
            status=problem.status,
            body=problem.body(),
            content_type="application/json",
            headers=headers,
        )

    async def _answer(self, request: web.BaseRequest, asker: "Asker") -> web.StreamResponse:
        path = request.path
        plain = self._state.plain(request)
        if plain is not None:
            asker.plain = True
            return plain
        post = self._posts.get(path)
        if post is not None:
            if request.method != "POST":
                raise wrong_method("POST")
            self._authorize(request, asker)
            return await post(request, asker)
        if path == "/v1/models" or path.startswith("/v1/models/"):
            if request.method != "GET":
                raise wrong_method("GET")
            caller = self._authorize(request, asker)
            return self._models(path.removeprefix("/v1/models").removeprefix("/"), caller, asker)
        route = self._kserve.route(request.method, path)
        if route is None:
            raise unknown_route()
        caller = self._authorize(request, asker)
        if route.model is None:
            return self._kserve.about(route, ready=self._state.ready, call_id=asker.id)
        line = self._line(route.model, caller, asker)
        if route.action == "ready":
            return self._kserve.readiness(line, asker.id)
        body = await self._body(request, asker, self._settings.max_tensor_body)
        kind = Kind.EMBEDDINGS if line.model.task == "Embed" else Kind.COMPLETIONS
        most = cost_bounds.tokens_of(len(body)), 0
        with await self._accept(asker, caller, line, f"/v2/{route.action}", kind, most) as call:
            if route.action == "generate_stream":
                async with self._stream(request, asker, line) as stream:
                    return await kserve_stream.relay(
                        self._upstream, request.headers, route, line, call, body, stream
                    )
            return await self._kserve.relay(request, route, line, call, body)

    def _stream(self, request: web.BaseRequest, asker: "Asker", line: Line) -> Stream:
        quiet = self._settings.keep_alive_seconds
        asker.stream = Stream(request, self._headers(asker, line), quiet)
        return asker.stream

    def _authorize(self, request: web.BaseRequest, asker: "Asker") -> Caller:
        caller = self._keyring.authorize(request.headers.get("Authorization", ""))
        asker.tenant = caller.tenant
        asker.caller = caller
        return caller

    async def _body(self, request: web.BaseRequest, asker: "Asker", limit: int) -> bytes:
        body = await read_body(request, limit, self._settings.read_seconds, self._room)
        asker.body_size = len(body)
        return body

    async def _asked(self, request: web.BaseRequest, asker: "Asker") -> dict[str, Any]:
        return object_of(request, await self._body(request, asker, self._settings.max_body))

    def _line(self, name: str, caller: Caller, asker: "Asker", task: str | None = None) -> Line:
        line = self._fleet.lines.get(name)
        if line is None:
            raise unknown_model(name)
        asker.model = name
        if not self._books.may(caller, line.model):
            raise forbidden(name)
        if task is not None and line.model.task != task:
            use = {"Embed": "/v1/embeddings", "Generate": "/v1/chat/completions"}
            other = use.get(line.model.task, f"/v2/models/{name}/infer")
            raise bad(f"The model '{name}' does not do this; it answers at {other}.", "model")
        if not self._books.home.healthy:
            raise ledger_down()
        return line

    async def _accept(
        self,
        asker: "Asker",
        caller: Caller,
        line: Line,
        endpoint: str,
        kind: Kind,
        most: tuple[int, int],
    ) -> Call:
        """An accepted call that has at most so many input and output tokens, for a ``with`` block:
        leaving it in any way leaves a row. Raises ``Problem`` where its caller may not use that much."""
        left = None if asker.deadline is None else asker.deadline - monotonic()
        reservation = await self._books.treasury.admit(
            caller.tenant,
            caller.key_id,
            caller.terms,
            line.model.price,
            most_of(line.model, *most, left),
        )
        call = Call(self._books, asker.id, caller, line.model, endpoint, kind, reservation)
        call.deadline = asker.deadline
        asker.call = call
        asker.rates = reservation.headers()
        return call

    def _headers(self, asker: "Asker", line: Line) -> dict[str, str]:
        told = asker.call.versions(line.model) if asker.call else {}
        return {"x-request-id": asker.id, **_cold(asker.call), **asker.rates, **told}

    def _models(self, name: str, caller: Caller, asker: "Asker") -> web.Response:
        if name:
            line = self._fleet.lines.get(name)
            if line is None or not self._books.may(caller, line.model):
                raise unknown_model(name)
            found: dict[str, Any] = _model(line)
        else:
            lines = [self._fleet.lines[key] for key in sorted(self._fleet.lines)]
            shown = [_model(line) for line in lines if self._books.may(caller, line.model)]
            found = {"object": "list", "data": shown}
        return web.json_response(found, headers={"x-request-id": asker.id})

    async def _embeddings(self, request: web.BaseRequest, asker: "Asker") -> web.StreamResponse:
        given = await self._asked(request, asker)
        texts, encoding = openai_request.texts_of(given), embed.encoding_of(given)
        assert asker.caller is not None
        line = self._line(openai_request.model_name(given), asker.caller, asker, "Embed")
        model = line.model
        most = cost_bounds.tokens_of(asker.body_size, len(texts)), 0
        accepted = self._accept(asker, asker.caller, line, "/v1/embeddings", Kind.EMBEDDINGS, most)
        with (
            await accepted as call,
            self._upstream.places(line, call) as visit,
        ):
            found, first = await embed.vectors(visit, model.name, texts, model.batch, call)
            visit.leave()
            try:
                embed.check_dimensions(given, found)
                call.stop_clock()
                body = embed.answer_of(model.name, found, call.input_tokens, call.cost, encoding)
                call.first_token()
                await call.settle(200)
            except Problem:
                call.input_tokens = 0
                raise
            if first is not None:
                self._compare(line, first)
            return web.Response(
                body=body, content_type="application/json", headers=self._headers(asker, line)
            )

    def _compare(self, line: Line, sent: embed.Sent) -> None:
        head, replica = sent.answer.head, sent.answer.replica
        question = over_http(sent.path, embed.HEADER, sent.body, head, sent.data)
        self._comparer.offer(line, replica, question)

    async def _completions(self, request: web.BaseRequest, asker: "Asker") -> web.StreamResponse:
        given = await self._asked(request, asker)
        wish = openai_request.wish_of(given, DEFAULT_COMPLETION_TOKENS)
        prompt = openai_request.prompt_of(given)
        return await self._generate(request, asker, given, wish, prompt=prompt, messages=None)

    async def _chat(self, request: web.BaseRequest, asker: "Asker") -> web.StreamResponse:
        given = await self._asked(request, asker)
        wish = openai_request.wish_of(given, None)
        messages = openai_request.messages_of(given)
        return await self._generate(request, asker, given, wish, prompt="", messages=messages)

    async def _generate(
        self,
        request: web.BaseRequest,
        asker: "Asker",
        given: dict[str, Any],
        wish: openai_request.Wish,
        *,
        prompt: str,
        messages: list[dict[str, str]] | None,
    ) -> web.StreamResponse:
        assert asker.caller is not None
        line = self._line(openai_request.model_name(given), asker.caller, asker, "Generate")
        name = line.model.name
        shape = Shape(
            asker.id,
            name,
            int(time()),
            chat=messages is not None,
            usage=wish.include_usage,
        )
        alike = affinity.of_text(prompt) if messages is None else affinity.of_messages(messages)
        most = cost_bounds.tokens_of(asker.body_size), wish.max_tokens or 0
        accepted = self._accept(asker, asker.caller, line, request.path, Kind.COMPLETIONS, most)
        with (
            await accepted as call,
            self._upstream.places(line, call, alike) as visit,
        ):

            async def found() -> AsyncIterator[generate.Piece]:
                text, longest = prompt, wish.max_tokens
                if wish.max_tokens is not None:
                    visit.expect(wish.max_tokens)
                if messages is not None:
                    about = await served(visit, name)
                    if about.max_context:
                        longest = min(wish.max_tokens or about.max_context, about.max_context)
                        visit.expect(longest)
                    text = chat_template.prompt_of(about.chat_template, messages, name)
                    await cost_bounds.cover(call, len(text.encode()), longest)
                body = generate.body_of(text, wish)
                return generate.pieces(self._upstream, visit, name, body, direct)

            direct = generate.Direct(call, shape) if wish.stream else None
            if direct is None:
                body = await generate.whole(found(), call, shape)
                visit.leave()
                return web.Response(
                    body=body,
                    content_type="application/json",
                    headers=self._headers(asker, line),
                )
            async with self._stream(request, asker, line) as stream:
                return await generate.streamed(
                    found(), call, shape, stream, direct, usage=wish.include_usage
                )


class Asker:
    """What is known of a request so far, for its id, its metrics and its bytes."""

    __slots__ = (
        "body_size", "call", "caller", "deadline", "id", "model", "plain", "rates", "stream",
        "tenant", "timer",
    )  # fmt: skip

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self.model = UNKNOWN
        self.tenant = NOBODY
        self.caller: Caller | None = None
        self.call: Call | None = None
        self.rates: dict[str, str] = {}
        self.stream: Stream | None = None
        self.timer: asyncio.Timeout | None = None
        self.deadline: float | None = None
        self.body_size = 0
        self.plain = False


def _cold(call: Call | None) -> dict[str, str]:
    return {} if call is None or call.cold_ms is None else {COLD_START: str(call.cold_ms)}


def _model(line: Line) -> dict[str, Any]:
    try:
        created = int(datetime.fromisoformat(line.model.created).timestamp())
    except ValueError:
        created = 0
    return {"id": line.model.name, "object": "model", "created": created, "owned_by": "preamar"}
