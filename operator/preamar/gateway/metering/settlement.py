"""When may a caller have the whole of an answer, and who is charged for one that does not come?

Leaving the block well makes the end durable in the ledger; what was kept back of the answer goes out
after that. To whom nothing came, nothing is charged, unless it is the caller who left, or who waits no
longer: it pays for what was made until then.
"""

from types import TracebackType
from typing import Self

from preamar.gateway.errors import Problem
from preamar.gateway.metering.call import LEAVING, Call


class Settlement:
    """``async with Settlement(call) as settlement:`` around all of an answer but what is kept back.
    Leaving it raises ``Problem`` where the end could not be written."""

    __slots__ = ("_call", "begun")

    def __init__(self, call: Call) -> None:
        self._call = call
        self.begun = False
        """Whether anything of the answer went to its caller."""

    def began(self) -> None:
        """The next byte goes to the caller: from here on the answer is paid for."""
        self.begun = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                await self._call.settle(200)
            except Problem:
                self._uncharge()
                raise
        elif not isinstance(error, LEAVING):
            self._uncharge()

    def _uncharge(self) -> None:
        if not self.begun:
            self._call.input_tokens = self._call.output_tokens = 0
