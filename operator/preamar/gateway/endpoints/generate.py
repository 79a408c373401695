"""Text from a model of task Generate, whole or streamed: one path from the model for both.

Tokens are counted as the model reports them, so a stream that ends early is charged what was made
until then. ``[DONE]`` is sent only after the model said why it finished and the ledger knows.
"""

from collections.abc import AsyncIterator, Awaitable
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from preamar.gateway.endpoints.openai_request import SamplingParams
from preamar.gateway.endpoints.openai_response import CompletionFormat
from preamar.gateway.endpoints.response_stream import Stream
from preamar.gateway.errors import Problem, broken_off, model_failed, refusal, too_slow
from preamar.gateway.metering.call import COLD_START, Call
from preamar.gateway.metering.settlement import Settlement
from preamar.gateway.relay.upstream import Upstream, Visit
from preamar.gateway.wire.connections import CutShort, Exchange
from preamar.gateway.wire.http1 import Garbled
from preamar.gateway.wire.sse import Events
from preamar.gateway.wire.watchdog import Watchdog

JSON_HEADER = b"Content-Type: application/json\r\n"
MAX_TEXT = 64 << 20


class Piece(NamedTuple):
    """What the model made since the last piece, and its counts so far."""

    text: str
    input_tokens: int
    output_tokens: int
    finish: str


def body_of(prompt: str, params: SamplingParams) -> bytes:
    """The request as the model server takes it."""
    asked: dict[str, Any] = {"prompt": prompt, "stop": list(params.stop)}
    for name in ("max_tokens", "temperature", "top_p", "seed"):
        if (value := getattr(params, name)) is not None:
            asked[name] = value
    return orjson.dumps({"REQUEST": orjson.dumps(asked).decode()})


def piece_of(data: bytes, model: str) -> Piece:
    """One event of the model. Raises ``Problem`` where it is an error or no event of ours."""
    try:
        given = orjson.loads(data)
        if "error" in given:
            raise refusal(str(given["error"]), model)
        return Piece(
            str(_one(given.get("TEXT", ""))),
            int(_one(given.get("INPUT_TOKENS", 0))),
            int(_one(given.get("OUTPUT_TOKENS", 0))),
            str(_one(given.get("FINISH_REASON", ""))),
        )
    except (ValueError, TypeError, AttributeError, IndexError):
        raise model_failed(model) from None


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


class PieceReader:
    """What was heard of an answer so far, over all replicas that were asked for it."""

    def __init__(self, visit: Visit, model: str) -> None:
        self.began = self.finished = False
        self._size = 0
        self._events = Events()
        self._visit, self._model = visit, model

    def anew(self) -> None:
        """Another replica begins."""
        self._events = Events()

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces in some bytes. Raises ``Problem``, or ``Garbled``."""
        self._size += len(data)
        if self._size > MAX_TEXT:
            raise model_failed(self._model)
        pieces = [_heard(event, self._model, self._visit) for event in self._events.feed(data)]
        if pieces:
            self.began, self.finished = True, self.finished or bool(pieces[-1].finish)
            self._visit.made(pieces[-1].output_tokens)
        return pieces


async def pieces(
    upstream: Upstream, visit: Visit, name: str, body: bytes, direct: "Direct | None" = None
) -> AsyncIterator[Piece]:
    """The model's answer; what ``direct`` takes is not yielded. Raises ``Problem`` if it does not
    come to its end. One that is lost before its first piece is asked for again elsewhere: its caller
    has seen nothing of it."""
    path = f"/v2/models/{name}/generate_stream"
    reader = PieceReader(visit, name)
    while not reader.finished:
        answer = await visit.send("POST", path, JSON_HEADER, body, repeatable=True)
        if answer.head.status != 200:
            text = await _short(answer.exchange.read_all(65536))
            raise refusal(text.decode(errors="replace"), name)
        reader.anew()
        with Watchdog(upstream.timeouts.stall_seconds, answer.exchange.abort) as watchdog:
            try:
                while data := await answer.exchange.read():
                    watchdog.touch()
                    for piece in reader.feed(data):
                        yield piece
                    watchdog.touch()
                    if direct is not None and direct.ready:
                        await direct.rest(answer.exchange, reader, watchdog)
                        break
            except (CutShort, Garbled):
                if watchdog.bit:
                    raise too_slow(name) from None
        if not reader.finished and (reader.began or not visit.again()):
            raise broken_off(name, stopped=not answer.replica.usable)
    visit.answered()
    visit.done()


def _heard(data: bytes, model: str, visit: Visit) -> Piece:
    try:
        return piece_of(data, model)
    except Problem as problem:
        if problem.status >= 500:
            visit.failed()
        raise


async def _short(reading: Any) -> bytes:
    try:
        return bytes(await reading)
    except CutShort:
        return b""


def note(call: Call, piece: Piece) -> None:
    """Count a piece: what the model says so far, never less than before."""
    if not call.output_tokens and piece.output_tokens:
        call.first_token()
    call.input_tokens = max(call.input_tokens, piece.input_tokens)
    call.output_tokens = max(call.output_tokens, piece.output_tokens)


async def whole(
    pieces: Awaitable[AsyncIterator[Piece]], call: Call, shape: CompletionFormat
) -> bytes:
    """The complete answer as one body; durable in the ledger when this returns."""
    texts: list[str] = []
    reason = ""
    async with Settlement(call):
        async for piece in await pieces:
            note(call, piece)
            texts.append(piece.text)
            reason = piece.finish or reason
    return shape.whole("".join(texts), reason, call.input_tokens, call.output_tokens, call.cost)


class Direct:
    """Where pieces go once a stream has begun: to its caller, in the moment in which they come."""

    def __init__(self, call: Call, shape: CompletionFormat) -> None:
        self.call, self.shape, self.reason = call, shape, ""
        self.stream: Stream

    @property
    def ready(self) -> bool:
        """Whether the stream has begun."""
        return hasattr(self, "stream") and self.stream.direct

    async def rest(self, exchange: Exchange, reader: PieceReader, watchdog: Watchdog) -> None:
        """Relay an answer from here to its end. Raises what reading it raises."""

        def take(data: bytes) -> bool:
            watchdog.touch()
            return self._take(reader.feed(data))

        while not await exchange.pass_to(take):
            await self.stream.caught_up()
            watchdog.touch()

    def _take(self, pieces: list[Piece]) -> bool:
        """Write them; False where the caller does not keep up."""
        text = ""
        for piece in pieces:
            note(self.call, piece)
            text += piece.text
            self.reason = piece.finish or self.reason
        self.call.mark()
        return self.stream.write_now(self.shape.text(text)) if text else True


async def streamed(
    pieces: Awaitable[AsyncIterator[Piece]],
    call: Call,
    shape: CompletionFormat,
    stream: Stream,
    direct: Direct,
    *,
    usage: bool,
) -> web.StreamResponse:
    """Relay pieces as they come. Raises ``Problem``."""
    direct.stream = stream
    reason = ""
    async with Settlement(call) as settlement:
        async for piece in await pieces:
            note(call, piece)
            if not settlement.begun:
                settlement.began()
                if call.cold_ms is not None:
                    await stream.tell(COLD_START, str(call.cold_ms))
                if first := shape.first():
                    await stream.write(first)
            if piece.text:
                await stream.write(shape.text(piece.text))
            reason = piece.finish or reason
            call.mark()
        closing = shape.last(direct.reason or reason)
        if usage:
            call.stop_clock()
            closing += shape.usage(call.input_tokens, call.output_tokens, call.cost)
        await stream.write(closing)
    return await stream.end()
