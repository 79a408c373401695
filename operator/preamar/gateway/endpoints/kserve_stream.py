"""KServe v2 ``generate_stream``: events pass on whole, one kept back until the ledger has the request.

Since only whole events are written, there may be comments between them, and a failure is an event of
its own. What a model server says of its errors is not passed on.
"""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import web

from preamar.gateway.endpoints.kserve import Route, explained
from preamar.gateway.endpoints.response_stream import Stream
from preamar.gateway.errors import broken_off, refusal, too_slow
from preamar.gateway.metering.call import COLD_START, Call
from preamar.gateway.metering.settlement import Settlement
from preamar.gateway.metering.tokens import ints
from preamar.gateway.relay import cost_bounds
from preamar.gateway.relay.model_config import read_config
from preamar.gateway.relay.upstream import Answer, Upstream
from preamar.gateway.routing import affinity
from preamar.gateway.routing.queue import ModelQueue
from preamar.gateway.wire.connections import CutShort
from preamar.gateway.wire.http1 import Garbled
from preamar.gateway.wire.sse import Events, event
from preamar.gateway.wire.watchdog import Watchdog

# A content encoding would be between us and the events.
PASSED_ON = ("Content-Type", "Content-Encoding")
MAX_EVENT = 8 << 20


async def relay(
    upstream: Upstream, headers: Mapping[str, str], route: Route, queue: ModelQueue, call: Call,
    body: bytes, stream: Stream,
) -> web.StreamResponse:  # fmt: skip
    """Pass a request to a replica and its events back. Raises ``Problem``."""
    model = queue.model.name
    extra = b"".join(
        f"{name}: {headers[name]}\r\n".encode("utf-8", "surrogateescape")
        for name in PASSED_ON
        if name in headers
    )
    kept = b""
    with upstream.visit(queue, call, affinity.of_text(body)) as visit:
        async with Settlement(call) as settlement:
            if cost_bounds.endless(call, queue.model.task):
                await cost_bounds.cover_answers(call, len(body), await read_config(visit, model), 1)
            answer = await visit.send(route.method, route.path, extra, body, repeatable=False)
            if call.cold_ms is not None:
                await stream.tell(COLD_START, str(call.cold_ms))
            async for data in events(answer, model, upstream.timeouts.stall_seconds):
                note(call, data, model)
                visit.made(call.output_tokens)
                call.mark()
                if kept:
                    settlement.began()
                    await stream.write(kept)
                else:
                    call.first_token()
                kept = event(data)
            visit.answered()
            visit.done()
    return await stream.end(kept)


async def events(answer: Answer, model: str, stall_seconds: float) -> AsyncIterator[bytes]:
    """The ``data`` of each event of an answer that comes to its end. Raises ``Problem``."""
    reader = Events(MAX_EVENT)
    with Watchdog(stall_seconds, answer.exchange.abort) as watchdog:
        try:
            if answer.head.status >= 400:
                raise explained(model, answer, await answer.exchange.read_all(1 << 20))
            while data := await answer.exchange.read():
                watchdog.touch()
                for found in reader.feed(data):
                    yield found
                watchdog.touch()
        except (CutShort, Garbled):
            raise (
                too_slow(model)
                if watchdog.bit
                else broken_off(model, stopped=not answer.replica.usable)
            ) from None
    if not reader.whole:
        raise broken_off(model, stopped=not answer.replica.usable)


def note(call: Call, data: bytes, model: str) -> None:
    """Count what an event says. Raises ``Problem`` where it is an error."""
    try:
        found: Any = json.loads(data)
        if "error" in found:
            raise refusal(str(found["error"]), model)
        call.input_tokens = max(call.input_tokens, sum(ints(found.get("INPUT_TOKENS", 0))))
        call.output_tokens = max(call.output_tokens, sum(ints(found.get("OUTPUT_TOKENS", 0))))
    except (ValueError, TypeError, AttributeError):
        # A model of somebody's own may say what it likes.
        return
