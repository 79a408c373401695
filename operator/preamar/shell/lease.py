"""Which replica writes? The one that holds the Lease, until a deadline that it alone measures.

A replica takes the Lease when it is free or when nobody renewed it for 15 s of this replica's own
monotonic clock; no two wall clocks are ever compared. It writes for 10 s after the last renewal
was *sent*, so a deposed writer has stopped before another can begin. Lost is lost: the process ends.
"""

import asyncio
import logging
import random
import time
from typing import Protocol

from preamar.cluster.lease import Held
from preamar.cluster.port import ClusterError, Conflict

log = logging.getLogger(__name__)
DURATION_SECONDS = 15
WRITES_SECONDS = 10.0
RENEW_SECONDS = 2.0


class LeaseStore(Protocol):
    """Where the Lease is kept."""

    async def read(self) -> Held: ...
    async def write(self, before: Held, holder: str, seconds: int) -> Held: ...


class LeaseLost(Exception):
    """Another replica may be writing by now."""


class LeaseKeeper:
    """Takes the Lease and keeps it."""

    def __init__(self, leases: LeaseStore, identity: str) -> None:
        self._leases = leases
        self._identity = identity
        self._held = Held()
        self._deadline = 0.0

    def seconds_left(self) -> float:
        """How long we may still write; not positive when we may not."""
        return self._deadline - time.monotonic()

    async def acquire(self) -> None:
        """Wait until the Lease is ours."""
        seen, seen_at, told = None, 0.0, ""
        while True:
            try:
                asked_at = time.monotonic()
                held = await self._leases.read()
                if (held.version, held.holder) != seen:
                    seen, seen_at = (held.version, held.holder), asked_at
                if held.holder not in {"", self._identity, told}:
                    log.info("%s holds the Lease, standing by", held.holder)
                    told = held.holder
                expired = time.monotonic() - seen_at >= DURATION_SECONDS
                if held.holder in {"", self._identity} or expired:
                    await self._take(held)
                    log.info("the Lease is ours")
                    return
            except Conflict:
                log.info("another replica was quicker to take the Lease")
            except ClusterError as error:
                log.warning("the Lease cannot be read or taken: %s", error)
            await asyncio.sleep(RENEW_SECONDS * random.uniform(0.75, 1.25))  # noqa: S311

    async def keep(self) -> None:
        """Renew until it is lost. Raises ``LeaseLost``."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._take(self._held)
            except Conflict:
                await self._look_again()
            except ClusterError as error:
                log.warning("the Lease cannot be renewed: %s", error)
            if self.seconds_left() <= 0:
                raise LeaseLost(f"the Lease was not renewed for {WRITES_SECONDS:g} s")

    async def release(self) -> None:
        """Give it back, so that another replica need not wait; ours no more in any case."""
        holding, self._deadline = self.seconds_left() > 0, 0.0
        if not holding:
            return
        try:
            await self._leases.write(self._held, "", 1)
            log.info("the Lease is given back")
        except ClusterError as error:
            log.warning("the Lease could not be given back: %s", error)

    async def _take(self, held: Held) -> None:
        asked_at = time.monotonic()
        self._held = await self._leases.write(held, self._identity, DURATION_SECONDS)
        self._deadline = asked_at + WRITES_SECONDS

    async def _look_again(self) -> None:
        """An edit by a person moves the version too; only another holder deposes us."""
        try:
            held = await self._leases.read()
        except ClusterError as error:
            log.warning("the Lease cannot be read: %s", error)
            return
        if held.holder != self._identity:
            self._deadline = 0.0
            raise LeaseLost(f"{held.holder or 'nobody'} holds the Lease")
        self._held = held
