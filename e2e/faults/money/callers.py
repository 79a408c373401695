"""What callers saw: of each request whether its answer came whole, and how many tokens of it and when."""

import json
from dataclasses import dataclass, field
from time import monotonic

import aiohttp


@dataclass(slots=True)
class Seen:
    """One request. ``tokens`` as they came, with the time of each."""

    number: int
    asked: int
    streamed: bool
    whole: bool = False
    status: int = 0
    told: int = 0
    error: bool = False
    """Whether an error event said that the stream is not whole."""
    retry_after: str = ""
    trouble: str = ""
    """What the client said where it got no answer, or not all of it."""
    at: list[float] = field(default_factory=list)


async def call(http: aiohttp.ClientSession, url: str, seen: Seen, leave_after: int = 0) -> None:
    """Ask, and note what comes. With ``leave_after`` it hangs up after so many tokens."""
    body = {
        "model": "gpt",
        "prompt": str(seen.number),
        "max_tokens": seen.asked,
        "stream": seen.streamed,
    }
    if seen.streamed:
        body["stream_options"] = {"include_usage": True}
    try:
        async with http.post(f"{url}/v1/completions", json=body) as answer:
            seen.status = answer.status
            if answer.status != 200:
                seen.retry_after = answer.headers.get("Retry-After", "")
                await answer.read()
            elif seen.streamed:
                await _stream(answer, seen, leave_after)
            else:
                seen.told = (await answer.json())["usage"]["completion_tokens"]
                seen.whole = True
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        seen.trouble = f"{type(error).__name__}: {error}"


async def _stream(answer: aiohttp.ClientResponse, seen: Seen, leave_after: int) -> None:
    async for line in answer.content:
        if not line.startswith(b"data: "):
            continue
        data = line[6:].strip()
        if data == b"[DONE]":
            seen.whole = True
            return
        found = json.loads(data)
        if "error" in found:
            seen.error = True
            return
        if found["choices"] and found["choices"][0]["text"]:
            seen.at.append(monotonic())
            if leave_after and len(seen.at) >= leave_after:
                answer.close()
                return
        if found.get("usage"):
            seen.told = found["usage"]["completion_tokens"]
