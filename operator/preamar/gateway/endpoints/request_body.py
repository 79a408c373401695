"""What arrived: its key, its body within bounds, and its JSON.

Bodies of all requests together are bounded too, so that many large uploads end in a clear 503
and not in a killed process.
"""

import asyncio
from typing import Any

import orjson
from aiohttp import web

from preamar.gateway.errors import Problem, bad, too_large, unavailable

MAX_DEPTH = 32


class BodyMemory:
    """Bytes of request bodies that may be in memory at once."""

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, size: int) -> None:
        if size > self.left:
            raise unavailable("Too many large requests at once.", "body_memory_full", 2)
        self.left -= size


async def read_body(
    request: web.BaseRequest, limit: int, seconds: float, memory: BodyMemory
) -> bytes:
    """The whole body. Raises ``Problem`` when it is too large, too slow or cut. The caller gives
    ``memory`` back the length of what it got."""
    length = request.content_length
    if length is not None and length > limit:
        raise too_large(limit)
    if not request.can_read_body:
        return b""
    if length is not None and request.content.is_eof():
        # It came with its head, as most do: nothing is to be waited for.
        memory.take(length)
        return request.content.read_nowait()
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.content.iter_any():
                memory.take(len(part))
                size += len(part)
                parts.append(part)
                if size > limit:
                    break
    except BaseException as error:
        memory.left += size
        if isinstance(error, TimeoutError):
            raise Problem(408, "The request's body did not arrive in time.") from None
        if isinstance(error, web.PayloadAccessError | ValueError):
            raise bad("The request's body is broken.") from None
        raise
    if size > limit:
        memory.left += size
        raise too_large(limit)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def object_of(request: web.BaseRequest, body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises ``Problem``."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Problem(415, "Send the request without Content-Encoding.")
    if _depth(body) > MAX_DEPTH:
        raise bad(f"The request's JSON is nested deeper than {MAX_DEPTH} levels.")
    try:
        given = orjson.loads(body)
    except (ValueError, RecursionError):
        raise bad("The request's body is not valid JSON.") from None
    if not isinstance(given, dict):
        raise bad("The request's body must be a JSON object.")
    return given


def _depth(body: bytes) -> int:
    """The deepest nesting there can be: brackets within strings count too, unless there are so
    many that it matters; then strings are skipped."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    quoted = escaped = False
    for byte in body:
        if quoted:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                quoted = False
        elif byte == 0x22:
            quoted = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest
