"""One request as the ledger keeps it.

``open`` is a stream that is still running, with what was counted so far; ``done`` never changes.
A row written twice, or late, or after a crash closed it, therefore counts once.
"""

from dataclasses import dataclass
from enum import StrEnum

from preamar.ledger.prices import FREE, Price


class Kind(StrEnum):
    """Which usage report a request belongs to."""

    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"


class State(StrEnum):
    OPEN = "open"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Row:
    """Tokens are counts, ``started`` and ``finished`` milliseconds since 1970, ``status`` the HTTP
    status that the caller saw (499: the caller left)."""

    id: str
    tenant: str
    key_id: str
    model: str
    endpoint: str
    kind: Kind
    input_tokens: int
    output_tokens: int
    status: int
    state: State
    instance: str
    started: int
    finished: int
    price: Price = FREE

    def values(self) -> dict[str, object]:
        """The row as columns."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return found | {"price": self.price.version}
