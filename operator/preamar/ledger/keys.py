"""Which keys exist, and what each may do: rows of keyed hashes; the secret itself is never stored.

A key that is rotated has two secrets for a while, so that its users can change over. Every change
raises a number, so that each gateway sees a revocation by one small read.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from time import time
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from preamar.ledger.tables.schema import api_keys, meta

MOST_PER_TENANT = 1000


class TooManyKeys(Exception):
    """The tenant has as many keys in use as one may have."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """``created`` and ``older_until`` are in seconds since 1970; ``digest`` is the keyed hash of the
    secret, ``older_digest`` that of the one before, good until ``older_until``; ``scope`` is JSON."""

    id: str
    tenant: str
    digest: bytes
    created: int
    scope: str = "{}"
    older_digest: bytes | None = None
    older_until: int = 0


def revision(engine: Engine) -> int:
    """A number that differs after every change of any key."""
    with engine.connect() as connection:
        return connection.scalar(select(meta.c.value).where(meta.c.name == "keys")) or 0


def active(engine: Engine, tenant: str | None = None) -> tuple[StoredKey, ...]:
    """Keys that are not revoked, oldest first; of one tenant or of all."""
    query = select(api_keys).where(api_keys.c.revoked.is_(None)).order_by(api_keys.c.created)
    if tenant is not None:
        query = query.where(api_keys.c.tenant == tenant)
    with engine.connect() as connection:
        return tuple(_read(row) for row in connection.execute(query))


def _read(row: Any) -> StoredKey:
    older = None if row.older_digest is None else bytes(row.older_digest)
    return StoredKey(
        row.id, row.tenant, bytes(row.digest), row.created, row.scope, older, row.older_until or 0
    )


def keep(engine: Engine, found: Iterable[StoredKey], revision: int) -> None:
    """Make a copy of all keys, in place of an older one."""
    with engine.begin() as connection:
        connection.execute(delete(api_keys))
        if rows := [asdict(key) for key in found]:
            connection.execute(insert(api_keys), rows)
        connection.execute(update(meta).where(meta.c.name == "keys").values(value=revision))


def add(engine: Engine, key: StoredKey) -> None:
    """Store a key; raises ``TooManyKeys`` or ``IntegrityError`` when the id is taken."""
    used = select(func.count()).where(api_keys.c.tenant == key.tenant, api_keys.c.revoked.is_(None))
    with engine.begin() as connection:
        if (connection.scalar(used) or 0) >= MOST_PER_TENANT:
            raise TooManyKeys
        connection.execute(
            insert(api_keys).values(
                id=key.id,
                tenant=key.tenant,
                digest=key.digest,
                created=key.created,
                scope=key.scope,
            )
        )
        _changed(connection)


def rotate(
    engine: Engine, tenant: str, key_id: str, digest: bytes, older_until: int
) -> StoredKey | None:
    """Give a key in use another secret; the one it had is good until then, one from before no
    more. None where the tenant has no such key."""
    with engine.begin() as connection:
        found = connection.execute(
            update(api_keys)
            .where(
                api_keys.c.id == key_id,
                api_keys.c.tenant == tenant,
                api_keys.c.revoked.is_(None),
            )
            .values(older_digest=api_keys.c.digest, older_until=older_until, digest=digest)
            .returning(api_keys)
        ).one_or_none()
        if found is None:
            return None
        _changed(connection)
        return _read(found)


def revoke(engine: Engine, tenant: str, key_id: str) -> bool:
    """Revoke a tenant's key; False where that tenant has no such key. Twice is fine."""
    with engine.begin() as connection:
        where = (api_keys.c.id == key_id, api_keys.c.tenant == tenant)
        if connection.scalar(select(func.count()).where(*where)) == 0:
            return False
        connection.execute(
            update(api_keys).where(*where, api_keys.c.revoked.is_(None)).values(revoked=int(time()))
        )
        _changed(connection)
        return True


def _changed(connection: Connection) -> None:
    connection.execute(update(meta).where(meta.c.name == "keys").values(value=meta.c.value + 1))
