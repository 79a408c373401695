"""Vectors from a model of task Embed: batches no larger than the model takes, one after another.

The numbers come as raw little-endian floats, which are what base64 answers hold.
"""

import json
from array import array
from base64 import b64encode
from typing import Any, NamedTuple

from preamar.gateway.errors import bad, broken_off, model_failed
from preamar.gateway.metering.call import Call
from preamar.gateway.relay.upstream import Answer, Visit
from preamar.gateway.wire.connections import CutShort
from preamar.ledger.tables.prices import decimal

_OUTPUTS = [{"name": "EMBEDDING", "parameters": {"binary_data": True}}, {"name": "INPUT_TOKENS"}]
HEADER = b"Content-Type: application/json\r\n"
MAX_ANSWER = 64 << 20


class Sent(NamedTuple):
    """One batch as it was asked for at ``path``, and what came of it."""

    path: str
    body: bytes
    answer: Answer
    data: bytes


async def vectors(
    visit: Visit, model: str, texts: list[str], batch: int, call: Call
) -> tuple[list[bytes], Sent | None]:
    """One vector of float32 bytes per text, and the first batch. Raises ``Problem``."""
    found: list[bytes] = []
    first: Sent | None = None
    for at in range(0, len(texts), batch):
        part = texts[at : at + batch]
        body = json.dumps(
            {
                "inputs": [
                    {"name": "TEXT", "datatype": "BYTES", "shape": [len(part), 1], "data": part}
                ],
                "outputs": _OUTPUTS,
            }
        ).encode()
        path = f"/v2/models/{model}/infer"
        answer = await visit.send("POST", path, HEADER, body, repeatable=True)
        try:
            data = await answer.exchange.read_all(MAX_ANSWER)
        except CutShort:
            raise broken_off(model, stopped=not answer.replica.usable) from None
        visit.done()
        if answer.head.status != 200:
            raise model_failed(model)
        try:
            got, tokens = _read(data, answer.head.get(b"inference-header-content-length"))
        except (ValueError, KeyError, TypeError, IndexError):
            raise model_failed(model) from None
        if len(got) != len(part):
            raise model_failed(model)
        found += got
        first = first or Sent(path, body, answer, data)
        call.input_tokens += tokens
    visit.answered()
    return found, first


def _read(data: bytes, header: bytes | None) -> tuple[list[bytes], int]:
    cut = int(header) if header is not None else len(data)
    outputs = {item["name"]: item for item in json.loads(data[:cut])["outputs"]}
    tokens = sum(int(count) for count in outputs["INPUT_TOKENS"]["data"])
    embedding = outputs["EMBEDDING"]
    rows, width = embedding["shape"]
    raw = data[cut:] if header is not None else array("f", embedding["data"]).tobytes()
    if len(raw) != rows * width * 4:
        raise ValueError("the vectors do not have the size that their shape says")
    return [raw[at : at + width * 4] for at in range(0, len(raw), width * 4)], tokens


def answer_of(model: str, found: list[bytes], tokens: int, cost: int, encoding: str) -> bytes:
    """The answer's body. ``cost`` in pico-units."""
    data: list[dict[str, Any]] = [
        {
            "object": "embedding",
            "index": index,
            "embedding": b64encode(raw).decode()
            if encoding == "base64"
            else array("f", raw).tolist(),
        }
        for index, raw in enumerate(found)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "cost": decimal(cost)}
    told = {"object": "list", "data": data, "model": model, "usage": usage}
    return json.dumps(told).encode()


def encoding_of(given: dict[str, Any]) -> str:
    """``float`` or ``base64``."""
    encoding = given.get("encoding_format")
    if encoding is None:
        return "float"
    if not isinstance(encoding, str) or encoding not in {"float", "base64"}:
        raise bad("'encoding_format' must be float or base64.", "encoding_format")
    return encoding


def check_dimensions(given: dict[str, Any], found: list[bytes]) -> None:
    """Refuse a width that the model does not have."""
    wanted = given.get("dimensions")
    if wanted is not None and found and wanted != len(found[0]) // 4:
        raise bad(f"This model makes vectors of {len(found[0]) // 4} numbers.", "dimensions")
