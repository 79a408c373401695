"""How long does one request take? A mean that forgets: the last 500 or so count."""

from math import exp

MEMORY = 500
FEWEST = 5


class Mean:
    """A decayed mean of seconds: what is ``n`` requests old weighs exp(-n / 500)."""

    __slots__ = ("_seconds", "_seen", "_weight")

    def __init__(self) -> None:
        self._seen = 0
        self._weight = 0.0
        self._seconds = 0.0

    def add(self, count: int, seconds: float) -> None:
        """``count`` more requests took ``seconds`` together."""
        kept = exp(-count / MEMORY)
        self._seen += count
        self._weight = self._weight * kept + count
        self._seconds = self._seconds * kept + seconds

    @property
    def value(self) -> float | None:
        """Seconds of one request; None while too few are known."""
        return self._seconds / self._weight if self._seen >= FEWEST else None
