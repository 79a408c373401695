"""Which keys exist: rows of keyed hashes; the secret itself is never stored.

Every change raises a number, so that each gateway on the file sees a revocation by one small read.
"""

from dataclasses import dataclass
from time import time

from sqlalchemy import Engine, func, insert, select, update

from preamar.ledger.schema import api_keys, meta

MOST_PER_TENANT = 1000


class TooManyKeys(Exception):
    """The tenant has as many keys in use as one may have."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """``created`` is in seconds since 1970; ``digest`` the keyed hash of the secret."""

    id: str
    tenant: str
    digest: bytes
    created: int


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
        return tuple(
            StoredKey(row.id, row.tenant, bytes(row.digest), row.created)
            for row in connection.execute(query)
        )


def add(engine: Engine, key: StoredKey) -> None:
    """Store a key; raises ``TooManyKeys`` or ``IntegrityError`` when the id is taken."""
    used = select(func.count()).where(api_keys.c.tenant == key.tenant, api_keys.c.revoked.is_(None))
    with engine.begin() as connection:
        if (connection.scalar(used) or 0) >= MOST_PER_TENANT:
            raise TooManyKeys
        connection.execute(
            insert(api_keys).values(
                id=key.id, tenant=key.tenant, digest=key.digest, created=key.created
            )
        )
        connection.execute(update(meta).where(meta.c.name == "keys").values(value=meta.c.value + 1))


def revoke(engine: Engine, tenant: str, key_id: str) -> bool:
    """Revoke a tenant's key; False where that tenant has no such key. Twice is fine."""
    with engine.begin() as connection:
        where = (api_keys.c.id == key_id, api_keys.c.tenant == tenant)
        if connection.scalar(select(func.count()).where(*where)) == 0:
            return False
        connection.execute(
            update(api_keys).where(*where, api_keys.c.revoked.is_(None)).values(revoked=int(time()))
        )
        connection.execute(update(meta).where(meta.c.name == "keys").values(value=meta.c.value + 1))
        return True
