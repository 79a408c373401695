"""Whose key this is: all keys in memory, followed from the ledger within half a second.

A revocation by this gateway holds at once, one by a neighbour on the same file at its next look.
While the ledger cannot be read, what was last known stays.
"""

import asyncio
import hmac
import logging

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from preamar.gateway import keys as shape
from preamar.gateway.call import Caller
from preamar.ledger import keys

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.5


class Keyring:
    def __init__(self, engine: Engine, pepper: bytes) -> None:
        self._engine = engine
        self._pepper = pepper
        self._known: dict[str, keys.StoredKey] = {}
        self._callers: dict[str, Caller] = {}
        self._revision = -1

    def load(self) -> None:
        """Read the keys if any changed. Blocks on the database."""
        revision = keys.revision(self._engine)
        if revision != self._revision:
            self._known = {key.id: key for key in keys.active(self._engine)}
            self._callers = {i: Caller(key.tenant, i) for i, key in self._known.items()}
            self._revision = revision

    def caller(self, key: str) -> Caller | None:
        """Whom a key belongs to; no database is asked."""
        parts = shape.parse(key)
        if parts is None:
            return None
        known = self._known.get(parts.id)
        given = shape.digest(self._pepper, parts.secret)
        if known is None or not hmac.compare_digest(known.digest, given):
            return None
        return self._callers[parts.id]

    def create(self, tenant: str, now: int) -> tuple[str, keys.StoredKey]:
        """A new key, durable when this returns. Blocks on the database."""
        key, parts = shape.mint()
        stored = keys.StoredKey(parts.id, tenant, shape.digest(self._pepper, parts.secret), now)
        keys.add(self._engine, stored)
        self.load()
        return key, stored

    def revoke(self, tenant: str, key_id: str) -> bool:
        """False where the tenant has no such key. Blocks on the database."""
        found = keys.revoke(self._engine, tenant, key_id)
        self.load()
        return found

    def of(self, tenant: str) -> tuple[keys.StoredKey, ...]:
        return keys.active(self._engine, tenant)

    async def follow(self) -> None:
        """Look for changes until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await asyncio.to_thread(self.load)
            except SQLAlchemyError as error:
                log.warning("keys cannot be read: %s", getattr(error, "orig", error))
