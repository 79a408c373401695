"""How long do requests take on a replica? Sums since this gateway's start; the operator learns the
means from their growth. Only requests that got their whole answer count: one that was refused or
cut short says nothing of how long a request takes.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class ServiceTime:
    """Of one model. Seconds are on a replica: without the wait for one."""

    finished: int = 0
    busy_seconds: float = 0.0
    first_tokens: int = 0
    first_token_seconds: float = 0.0

    def answered(self, seconds: float) -> None:
        """A request got its whole answer."""
        self.finished += 1
        self.busy_seconds += seconds

    def began_to_answer(self, seconds: float) -> None:
        """The first token of a text came."""
        self.first_tokens += 1
        self.first_token_seconds += seconds
