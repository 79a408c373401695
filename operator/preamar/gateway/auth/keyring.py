"""Whose key this is: all keys in memory, followed from the ledger within half a second.

A revocation by this gateway holds at once, one by a neighbour on the same ledger at its next look.
While the ledger cannot be read, what was last known stays.
"""

import asyncio
import hmac
import json
import logging
import os
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from time import time
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from preamar.gateway.auth import keys as shape
from preamar.gateway.auth.caller import Caller
from preamar.gateway.errors import bad_key, ledger_down
from preamar.gateway.limits.limits import of_key, of_scope
from preamar.ledger import keys

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.5
MOST_SEEN = 10_000


class Keyring:
    """``cache``: where a copy of the keys is kept, for a start while the ledger is away."""

    def __init__(self, engine: Engine, pepper: bytes, cache: Engine | None = None) -> None:
        self._engine = engine
        self._cache = cache
        self._pepper = pepper
        self._short = os.urandom(32)
        self._known: dict[str, keys.StoredKey] = {}
        self._callers: dict[str, Caller] = {}
        self._seen: dict[bytes, Caller] = {}
        self._revision = -1

    def begin(self) -> None:
        """The first look: into the copy where the ledger is away. Blocks on the database."""
        try:
            self.load()
        except SQLAlchemyError as error:
            if self._cache is None:
                raise
            log.warning("keys are those last known: %s", getattr(error, "orig", error))
            if (revision := keys.revision(self._cache)) > 0:
                self._take(keys.active(self._cache), revision)

    def load(self) -> None:
        """Read the keys if any changed. Blocks on the database."""
        revision = keys.revision(self._engine)
        if revision != self._revision:
            found = keys.active(self._engine)
            self._take(found, revision)
            if self._cache is not None:
                keys.keep(self._cache, found, revision)

    def _take(self, found: Iterable[keys.StoredKey], revision: int) -> None:
        self._known = {key.id: key for key in found}
        self._callers = {
            i: Caller(key.tenant, i, of_key(key.scope)) for i, key in self._known.items()
        }
        self._revision = revision
        self._seen = {}  # the last, from another thread: see ``authorize``

    def authorize(self, header: str) -> Caller:
        """Whom the key of an Authorization header belongs to; no database is asked. Raises
        ``Problem``."""
        if self._revision < 0:
            raise ledger_down()
        # A keyed hash that costs a tenth of the ledger's: good keys are known by it, and not kept.
        short = blake2b(header.encode(errors="replace"), digest_size=16, key=self._short).digest()
        seen = self._seen  # what is added to it is gone with it when keys change meanwhile
        caller = seen.get(short)
        if caller is None:
            caller = self._looked_up(header)
            known = self._known.get(caller.key_id)
            if known is not None and known.older_digest is None:
                if len(seen) >= MOST_SEEN:
                    seen.clear()
                seen[short] = caller
        expires = caller.limits.expires
        if expires is not None and time() >= expires:
            raise bad_key("expired")
        return caller

    def _looked_up(self, header: str) -> Caller:
        scheme, _, key = header.partition(" ")
        caller = self.caller(key.strip()) if scheme.lower() == "bearer" else None
        if caller is None:
            raise bad_key("missing" if not key else "wrong")
        return caller

    def caller(self, key: str) -> Caller | None:
        """Whom a key belongs to, expired or not."""
        parts = shape.parse(key)
        if parts is None:
            return None
        known = self._known.get(parts.id)
        given = shape.digest(self._pepper, parts.secret)
        if known is None:
            return None
        if not hmac.compare_digest(known.digest, given):
            older = known.older_digest or b""
            if not hmac.compare_digest(older, given) or time() >= known.older_until:
                return None
        return self._callers[parts.id]

    def create(
        self, tenant: str, now: int, scope: Mapping[str, Any] | None = None
    ) -> tuple[str, keys.StoredKey]:
        """A new key, durable when this returns. Blocks on the database. Raises ``BadLimits``."""
        of_scope(scope or {})
        key, parts = shape.mint()
        stored = keys.StoredKey(
            parts.id,
            tenant,
            shape.digest(self._pepper, parts.secret),
            now,
            json.dumps(dict(scope or {}), sort_keys=True),
        )
        keys.add(self._engine, stored)
        self.load()
        return key, stored

    def rotate(self, tenant: str, key_id: str, until: int) -> tuple[str, keys.StoredKey] | None:
        """Another secret for a key; the one it had is good until then. None where the tenant has no
        such key. Blocks on the database."""
        key, parts = shape.mint(key_id)
        digest = shape.digest(self._pepper, parts.secret)
        stored = keys.rotate(self._engine, tenant, key_id, digest, until)
        self.load()
        return None if stored is None else (key, stored)

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
