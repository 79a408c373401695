"""Who calls?"""

from dataclasses import dataclass

from preamar.gateway.limits.limits import FREE, UsageLimits


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a key belongs to, and what it may do."""

    tenant: str
    key_id: str
    limits: UsageLimits = FREE
