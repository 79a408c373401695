"""How generated text looks to OpenAI's clients: whole answers and streamed chunks, as bytes.

Everything of a chunk that does not change within a stream is prepared once.
"""

from typing import Any

import orjson

from preamar.ledger.tables.prices import decimal


class CompletionFormat:
    """One answer of ``/v1/chat/completions`` (``chat``) or ``/v1/completions``."""

    def __init__(self, call_id: str, model: str, created: int, *, chat: bool, usage: bool) -> None:
        self._chat = chat
        kind = "chat.completion" if chat else "text_completion"
        streamed = "chat.completion.chunk" if chat else "text_completion"
        self._head: dict[str, Any] = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{call_id.removeprefix('req-')}",
            "object": kind,
            "created": created,
            "model": model,
        }
        opened = orjson.dumps(self._head | {"object": streamed})[:-1]
        self._opened = b"data: " + opened + b',"choices":['
        self._closed = b'],"usage":null}\n\n' if usage else b"]}\n\n"
        middle = b'{"index":0,"delta":{"content":' if chat else b'{"index":0,"text":'
        none = b',"logprobs":null,"finish_reason":null}'
        self._before = self._opened + middle
        self._after = (b"}" if chat else b"") + none + self._closed

    def first(self) -> bytes:
        """What a stream opens with."""
        if not self._chat:
            return b""
        return self._chunk({"delta": {"role": "assistant", "content": ""}}, None)

    def text(self, text: str) -> bytes:
        """A piece of text."""
        return self._before + orjson.dumps(text) + self._after

    def last(self, reason: str) -> bytes:
        """Why the text ended."""
        return self._chunk({"delta": {}} if self._chat else {"text": ""}, reason)

    def usage(self, given: int, made: int, cost: int) -> bytes:
        """The chunk that only counts. ``cost`` in pico-units."""
        counted = orjson.dumps(self._usage(given, made, cost))
        return self._opened + b'],"usage":' + counted + b"}\n\n"

    def whole(self, text: str, reason: str, given: int, made: int, cost: int) -> bytes:
        """The answer in one piece."""
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": reason}
        if self._chat:
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        else:
            choice["text"] = text
        return orjson.dumps(
            self._head | {"choices": [choice], "usage": self._usage(given, made, cost)}
        )

    def _chunk(self, what: dict[str, Any], reason: str | None) -> bytes:
        choice = {"index": 0, **what, "logprobs": None, "finish_reason": reason}
        return self._opened + orjson.dumps(choice) + self._closed

    @staticmethod
    def _usage(given: int, made: int, cost: int) -> dict[str, Any]:
        return {
            "prompt_tokens": given,
            "completion_tokens": made,
            "total_tokens": given + made,
            "cost": decimal(cost),
        }
