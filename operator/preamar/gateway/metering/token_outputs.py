"""Does a request of KServe v2 ask for what it is charged by?

A caller may name the tensors that he wants. Those that tell how many tokens there were are added: his client
has one tensor more than it asked for, and no way past the ledger. Readers differ in which of two equal
keys counts, so what has such is written anew.
"""

import json
from typing import Any, NamedTuple

from preamar.gateway.errors import Problem
from preamar.gateway.wire import protobuf
from preamar.gateway.wire.compression import UnpackedTooLarge, unpacked

COUNTS = {
    "Embed": ("INPUT_TOKENS",),
    "Generate": ("INPUT_TOKENS", "OUTPUT_TOKENS", "FINISH_REASON"),
}
"""What tells the tokens and when a text has ended, by task. Others are not charged by them."""
_OUTPUTS = 6
"""The field of ``ModelInferRequest`` for a wanted output: its name is field 1, its parameters 2."""


class TensorRequest(NamedTuple):
    """A body; ``head``: how many bytes of it are JSON, None for all. ``changed``: by us, and it is not
    packed any more."""

    body: bytes
    head: int | None
    changed: bool = False


def over_http(task: str, request: TensorRequest, encoding: str, most: int) -> TensorRequest:
    """The request with what is missing. ``encoding`` is its Content-Encoding; unpacked it may have
    ``most`` bytes. Raises ``Problem`` for one that cannot be unpacked, and for counts that are asked
    for as something else."""
    counts = COUNTS.get(task, ())
    if not counts:
        return request
    if encoding not in {"", "identity"}:
        request = TensorRequest(_unpacked(request.body, most), request.head, changed=True)
    cut = len(request.body) if request.head is None else request.head
    head = request.body[:cut]
    if b"outputs" not in head and b"\\u" not in head:  # names may be written in escapes
        return request
    twice: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        twice.extend(["a key"] if len(found) < len(pairs) else [])
        return found

    try:
        told = json.loads(head, object_pairs_hook=once)
        wanted = told.get("outputs") or []
        named = [output["name"] for output in wanted]
        shaped = any(
            "classification" in (output.get("parameters") or {})
            for output in wanted
            if output["name"] in counts
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return request  # the model server says what is wrong with it
    if shaped:
        raise _shaped(counts)
    missing = [name for name in counts if name not in named] if named else []
    if not missing and not twice:
        return request
    if missing:
        told["outputs"] = [*wanted, *({"name": name} for name in missing)]
    written = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    data = written.encode("utf-8", "surrogatepass")
    return TensorRequest(
        data + request.body[cut:], None if request.head is None else len(data), changed=True
    )


def over_grpc(task: str, request: bytes) -> bytes:
    """The same for a ``ModelInferRequest``. Raises ``Problem``."""
    counts = COUNTS.get(task, ())
    named: list[str] = []
    try:
        for number, value in protobuf.fields(request) if counts else ():
            if number == _OUTPUTS and isinstance(value, bytes):
                # Of a field that stands twice the last counts.
                parts = [(n, v) for n, v in protobuf.fields(value) if isinstance(v, bytes)]
                named.append(next((v.decode() for n, v in reversed(parts) if n == 1), ""))
                if named[-1] in counts and any(n == 2 and b"classification" in v for n, v in parts):
                    raise _shaped(counts)
    except (protobuf.NotProtobuf, UnicodeDecodeError):
        return request
    missing = (name for name in counts if name not in named) if named else ()
    # Repeated fields may stand anywhere in a message, also at its end.
    return request + b"".join(
        protobuf.message(_OUTPUTS, protobuf.message(1, name.encode())) for name in missing
    )


def _shaped(counts: tuple[str, ...]) -> Problem:
    return Problem(400, f"{' and '.join(counts)} cannot be asked for as a classification.")


def _unpacked(data: bytes, most: int) -> bytes:
    try:
        return unpacked(data, most)
    except UnpackedTooLarge as error:
        raise Problem(413, f"The request has more than {most} bytes.") from error
    except ValueError as error:
        message = "The request's body is not packed as its Content-Encoding says."
        raise Problem(400, message) from error
