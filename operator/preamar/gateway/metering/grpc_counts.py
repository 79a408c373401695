"""What a gRPC call has used, read off the answers as they pass.

An answer of ``Generate`` tells of its request so far, and the answers to several requests of a stream come
in any order, so each request gets a name of ours on its way there, and its own back on its answers. One
answer of any other task is all that there is to its request.
"""

from preamar.gateway.metering.call import Call
from preamar.gateway.wire import protobuf

MOST_OPEN = 10_000
"""Requests of one stream that are told apart at a time."""
_ID, _RESPONSE = 3, 2
"""The id of a request and of a response, and the response in a stream's message."""


class GrpcCounts:
    """What a stream has used."""

    def __init__(self, call: Call, task: str) -> None:
        self._call = call
        self._several = task == "Generate"
        self._over = (0, 0)
        self._open: dict[str, tuple[int, int]] = {}
        self._theirs: dict[str, str] = {}
        self.size = self.messages = 0

    @property
    def made(self) -> int:
        return self._call.output_tokens

    def heard(self, size: int) -> None:
        """A request of that many bytes is to be passed on."""
        self.size += size
        self.messages += 1

    def named(self, request: bytes) -> bytes:
        """The request last heard, under a name of its own."""
        if not self._several:
            return request
        name = str(self.messages)
        try:
            self._theirs[name] = _last_id(request)
        except protobuf.NotProtobuf:
            return request  # the model server says what is wrong with it
        while len(self._theirs) > MOST_OPEN:
            self._close(next(iter(self._theirs)))
        return request + protobuf.message(_ID, name.encode())

    def answered(self, message: bytes, response: bytes) -> bytes:
        """The ``message`` as the caller gets it, after the ``response`` in it is counted."""
        given, made = counts(response)
        if self._several:
            message = self._told(message, response, given, made)
        else:
            self._over = (self._over[0] + given, self._over[1] + made)
        call = self._call
        if not call.output_tokens:
            call.first_token()
        call.input_tokens = self._over[0] + sum(given for given, _ in self._open.values())
        call.output_tokens = self._over[1] + sum(made for _, made in self._open.values())
        call.mark()
        return message

    def _told(self, message: bytes, response: bytes, given: int, made: int) -> bytes:
        """What an answer tells of its request so far, and the message under the caller's id."""
        try:
            name = _last_id(response)
        except protobuf.NotProtobuf:
            return message
        if name not in self._theirs:
            return message
        theirs = response + protobuf.message(_ID, self._theirs[name].encode())
        if (given, made) != (0, 0):
            self._open[name] = (given, made)
        if ended(response):
            self._close(name)
        return protobuf.message(_RESPONSE, theirs)

    def _close(self, name: str) -> None:
        given, made = self._open.pop(name, (0, 0))
        self._theirs.pop(name, None)
        self._over = (self._over[0] + given, self._over[1] + made)


def counts(response: bytes) -> tuple[int, int]:
    """Input and output tokens that a response tells of, zeros where it tells of none."""
    try:
        return protobuf.token_counts(response)
    except protobuf.NotProtobuf:
        return 0, 0


def ended(response: bytes) -> bool:
    """Whether its FINISH_REASON, a text of four bytes of length and itself, is not empty."""
    try:
        return len(protobuf.raw(response, "FINISH_REASON")) > 4
    except protobuf.NotProtobuf:
        return False


def _last_id(message: bytes) -> str:
    """Of a field that stands twice the last counts. Raises ``NotProtobuf``."""
    found = [v for number, v in protobuf.fields(message) if number == _ID and isinstance(v, bytes)]
    return found[-1].decode(errors="replace") if found else ""
