"""What a gRPC call has used, read off the answers as they pass."""

from preamar.gateway import protobuf
from preamar.gateway.call import Call


class Counted:
    """What a stream has used: each of its requests counts from its own beginning."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._before = self._latest = (0, 0)
        self.size = self.messages = 0

    def heard(self, size: int) -> None:
        """A message of that many bytes was passed on."""
        self.size += size
        self.messages += 1

    @property
    def made(self) -> int:
        return self._call.output_tokens

    def add(self, given: int, made: int) -> None:
        """What an answer tells of its request so far."""
        if made < self._latest[1]:
            self._before = (self._before[0] + self._latest[0], self._before[1] + self._latest[1])
        if (given, made) != (0, 0):
            self._latest = (given, made)
        call = self._call
        if not call.output_tokens:
            call.first_token()
        call.input_tokens = self._before[0] + self._latest[0]
        call.output_tokens = self._before[1] + self._latest[1]
        call.mark()


def counts(response: bytes) -> tuple[int, int]:
    """Input and output tokens that a response tells of, zeros where it tells of none."""
    try:
        return protobuf.token_counts(response)
    except protobuf.NotProtobuf:
        return 0, 0
