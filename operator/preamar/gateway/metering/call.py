"""One request from its acceptance to its row in the ledger: who, what, and how much so far.

Whatever ends it (an answer, an error, the caller leaving) ends in ``settle``, once.
"""

import asyncio
from collections.abc import Callable
from time import monotonic, time
from types import TracebackType
from typing import Self

from preamar.gateway import deadline
from preamar.gateway.auth.caller import Caller
from preamar.gateway.discovery.resources import ModelResource
from preamar.gateway.errors import Problem, ledger_down
from preamar.gateway.limits.reservations import Reservation
from preamar.gateway.metering.usage_recorder import UsageRecorder
from preamar.gateway.routing.replica import Slot
from preamar.ledger.store.writer import Entry, LedgerUnavailable
from preamar.ledger.tables.usage_record import State, UsageKind, UsageRecord

LEDGER_SECONDS = 5.0
MARK_SECONDS = 1.0
MARK_TOKENS = 48
MOST_TOKENS = 10**9
"""Of one request: a model that claims more must not write what no database can hold."""
MOST_SECONDS = 600
"""Of accelerators, that a request is charged for and that is set aside for it."""
LEFT = 499
UNDER_WAY_SECONDS = 0.1
"""A caller's clock began before ours, by what its request needed to get here: one that leaves at its
own deadline leaves a little before ours."""
COLD_START = "x-preamar-cold-start-ms"
DIGEST, REVISION = "x-preamar-model-digest", "x-preamar-model-revision"
LEAVING = (asyncio.CancelledError, GeneratorExit, ConnectionError)
"""How it shows that the caller is gone, or waits no longer."""


class Call:
    """A request that was accepted for a model."""

    __slots__ = (
        "_had",
        "_marked_at",
        "_marked_tokens",
        "_ms",
        "_on",
        "_recorder",
        "_settled",
        "accelerators",
        "arrived",
        "caller",
        "cold_ms",
        "deadline",
        "endpoint",
        "id",
        "input_tokens",
        "kind",
        "model",
        "output_tokens",
        "price",
        "reservation",
        "started",
    )  # fmt: skip

    def __init__(
        self,
        recorder: UsageRecorder,
        call_id: str,
        caller: Caller,
        model: ModelResource,
        endpoint: str,
        kind: UsageKind,
        reservation: Reservation,
    ) -> None:
        self._recorder = recorder
        self._settled = False
        self._marked_at = self.arrived = monotonic()
        self._marked_tokens = 0
        self.id = call_id
        self.caller = caller
        self.model = model.name
        self.accelerators = model.accelerators
        self.price = model.price
        self._on: Slot | None = None
        self._had = 0.0
        self._ms: int | None = None
        self.reservation = reservation
        self.endpoint = endpoint
        self.kind = kind
        self.started = int(time() * 1000)
        self.input_tokens = 0
        self.output_tokens = 0
        self.cold_ms: int | None = None
        # On the monotonic clock, where the caller said how long it waits.
        self.deadline: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave a row, however the block ended."""
        self.settle_soon(200 if error is None else self.status_of(error))

    def status_of(self, error: BaseException) -> int:
        """What a call has come to that ends in this."""
        if isinstance(error, Problem):
            return error.status
        if isinstance(error, LEAVING):
            waits_until = self.deadline
            late = waits_until is not None and monotonic() >= waits_until - UNDER_WAY_SECONDS
            return 504 if late else LEFT
        return 500

    def entered(self, slot: Slot) -> None:
        """It is on a replica now, after any that it was on before."""
        if self._on is not None:
            self._had += self._on.had()
        self._on = slot

    def versions(self, model: ModelResource) -> dict[str, str]:
        """Headers that say which model answers, as far as that is known: while a revision is on
        trial only once it is on a replica."""
        canary = self._on is not None and self._on.replica.address.canary
        if canary:
            return {REVISION: model.trial} if model.trial else {}
        if model.trial and self._on is None:
            return {}
        found = {DIGEST: model.digest, REVISION: model.revision}
        return {name: value for name, value in found.items() if value}

    def lost(self) -> None:
        """It has got nothing from the replica that it was on, and is not charged for it."""
        self._on = None

    @property
    def accelerator_ms(self) -> int:
        """What it has had of accelerators so far, by its equal share; 0 where that is free. Each of
        several gateways knows only its own requests: divided by their number it is never more than
        there was."""
        if self._ms is not None:
            return self._ms
        if not self.price.accelerator_second:
            return 0
        had = self._had + (0.0 if self._on is None else self._on.had())
        held = had * self.accelerators / self._recorder.home.gateways
        return int(1000 * min(held, MOST_SECONDS * self.accelerators))

    def stop_clock(self) -> None:
        """What it has had of accelerators is all that it is charged for."""
        self._ms = self.accelerator_ms

    @property
    def cost(self) -> int:
        """What it comes to so far, in pico-units."""
        return self.price.cost(
            self.input_tokens, self.output_tokens, accelerator_ms=self.accelerator_ms
        )

    def time_left(self) -> bytes:
        """The header that tells a model server how long the caller still waits."""
        if self.deadline is None:
            return b""
        left = max(0.001, self.deadline - monotonic())
        return f"{deadline.HEADER}: {left:.3f}\r\n".encode()

    @property
    def priority(self) -> int:
        """Of its tenant."""
        return self._recorder.reservations.limits(self.caller.tenant).priority

    def woke(self) -> None:
        """A model that slept when this call came is awake: how long that took since the arrival."""
        if self.cold_ms is None:
            self.cold_ms = int((monotonic() - self.arrived) * 1000)

    def first_token(self) -> None:
        self._recorder.meters.first_token(self.model, monotonic() - self.arrived)

    def _row(self, status: int, state: State) -> UsageRecord:
        return UsageRecord(
            id=self.id,
            tenant=self.caller.tenant,
            key_id=self.caller.key_id,
            model=self.model,
            endpoint=self.endpoint,
            kind=self.kind,
            input_tokens=min(self.input_tokens, MOST_TOKENS),
            output_tokens=min(self.output_tokens, MOST_TOKENS),
            status=status,
            state=state,
            instance=self._recorder.instance,
            started=self.started,
            finished=int(time() * 1000),
            price=self.price,
            accelerator_ms=self.accelerator_ms,
            reserved=self.reservation.leases,
        )

    def mark(self) -> None:
        """Note what a stream has used so far, each second or 48 tokens: with what comes while
        that is being written, a crash loses 64 at most."""
        now = monotonic()
        fresh = self.output_tokens - self._marked_tokens
        if now - self._marked_at < MARK_SECONDS and fresh < MARK_TOKENS:
            return
        self._marked_at, self._marked_tokens = now, self.output_tokens
        if not self._settled:
            # A mark that finds the ledger full is skipped: the end is what must be written.
            try:
                self._recorder.writer.submit(self._row(200, State.OPEN))
            except LedgerUnavailable:
                return

    async def settle(self, status: int) -> None:
        """Write the end durably. Raises a ``Problem`` if it could not be written; then nothing is
        charged, and the caller must not get the rest of the answer."""
        loop = asyncio.get_running_loop()
        written: asyncio.Future[bool] = loop.create_future()

        def done() -> None:
            loop.call_soon_threadsafe(_resolve, written, True)

        try:
            entry = self._end(status, done)
        except LedgerUnavailable:
            raise ledger_down() from None
        if entry is None:
            return
        timer = loop.call_later(LEDGER_SECONDS, self._late, entry, written)
        try:
            if not await written:
                self._settled = False
                raise ledger_down()
        finally:
            timer.cancel()
            # Also where the caller left meanwhile: the row is on its way.
            if self._settled:
                self._release(entry.row)

    def _late(self, entry: Entry, written: "asyncio.Future[bool]") -> None:
        """It takes too long. A row that is being written right now cannot be taken back."""
        if self._recorder.writer.withdraw(entry):
            _resolve(written, False)

    def settle_soon(self, status: int) -> None:
        """Write the end when nobody waits for the answer any more. After ``settle``: nothing."""
        try:
            entry = self._end(status, None)
        except LedgerUnavailable:
            self._settled = True
            self.reservation.undo()
        else:
            if entry is not None:
                self._release(entry.row)

    def _release(self, row: UsageRecord) -> None:
        self.reservation.end(row.cost, row.input_tokens + row.output_tokens)

    def _end(self, status: int, done: Callable[[], None] | None) -> Entry | None:
        if self._settled:
            return None
        self.stop_clock()
        entry = self._recorder.writer.submit(self._row(status, State.DONE), done)
        self._settled = True
        self._recorder.meters.tokens(
            self.model, self.caller.tenant, self.input_tokens, self.output_tokens
        )
        return entry


def _resolve(future: "asyncio.Future[bool]", durable: bool) -> None:
    if not future.done():
        future.set_result(durable)
