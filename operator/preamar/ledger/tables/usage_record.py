"""One request as the ledger keeps it.

``open`` is a stream that is still running, with what was counted so far; ``done`` never changes.
A row written twice, or late, or after a crash closed it, therefore counts once.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from preamar.ledger.tables.prices import FREE, PriceList


class UsageKind(StrEnum):
    """Which usage report a request belongs to."""

    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"


class State(StrEnum):
    OPEN = "open"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """Tokens are counts, ``started`` and ``finished`` milliseconds since 1970, ``status`` the HTTP
    status that the caller saw (499: the caller left)."""

    id: str
    tenant: str
    key_id: str
    model: str
    endpoint: str
    kind: UsageKind
    input_tokens: int
    output_tokens: int
    status: int
    state: State
    instance: str
    started: int
    finished: int
    price: PriceList = FREE
    accelerator_ms: int = 0
    """What the request had of its replica's accelerators, in thousandths of one for a second."""
    reserved: tuple[tuple[str, str], ...] = ()
    """The leases, by owner and period, that this request's cost comes out of."""

    @property
    def cost(self) -> int:
        """In pico-units: of a request that was answered in whole or in part (``usage.counted`` says
        the same to the database)."""
        if self.status != 200 and not self.input_tokens and not self.output_tokens:
            return 0
        return self.price.cost(
            self.input_tokens, self.output_tokens, accelerator_ms=self.accelerator_ms
        )

    def values(self) -> dict[str, object]:
        """The row as columns."""
        found = {name: getattr(self, name) for name in self.__slots__}
        reserved = json.dumps(self.reserved) if self.reserved else ""
        return found | {"price": self.price.version, "reserved": reserved}

    @classmethod
    def of(cls, found: Any, price: PriceList) -> Self:
        """The reverse: a row as it was read, with the price that it names."""
        known = {name: getattr(found, name) for name in cls.__slots__}
        reserved = tuple((owner, period) for owner, period in json.loads(found.reserved or "[]"))
        return cls(**known | {"price": price, "reserved": reserved})
