"""What has a model server counted? Read from its /metrics, as a witness against the ledger.

Our own model server counts tokens itself, at the model; some engines do too, and their rows say by
which counters. Others tell how many requests they have answered.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

from prometheus_client.parser import text_string_to_metric_families

from preamar.protocol.engine_gauges import ANSWERED, lines_of
from preamar.protocol.engines import token_counters


@dataclass(frozen=True, slots=True)
class Counts:
    """Since the server's start. ``tokens`` is None where it does not count them."""

    answered: int = 0
    tokens: int | None = None

    def since(self, before: "Counts") -> "Counts":
        """What came after ``before``; all of it where the server has begun anew meanwhile."""
        if self.answered < before.answered or (self.tokens or 0) < (before.tokens or 0):
            before = Counts()
        tokens = None if self.tokens is None else self.tokens - (before.tokens or 0)
        return Counts(self.answered - before.answered, tokens)

    def plus(self, other: "Counts") -> "Counts":
        """Both together. What only one of them tells is told."""
        told = [one for one in (self.tokens, other.tokens) if one is not None]
        return Counts(self.answered + other.answered, sum(told) if told else None)


def counts_of(text: str, model: str) -> Counts:
    """Of one model. Raises ``ValueError`` where it is no such text, or says nothing of the model."""
    counters = token_counters()
    lines = lines_of(text, (ANSWERED, *counters))
    answered = tokens = None
    for name, labels, value in _samples(lines):
        if labels.get("model", labels.get("model_name", model)) != model:
            continue
        if name == ANSWERED:
            answered = (answered or 0) + value
        elif name in counters:
            tokens = (tokens or 0) + value
    if answered is None and tokens is None:
        raise ValueError(f"nothing is said of {model}")
    return Counts(answered or 0, tokens)


def _samples(lines: Iterable[str]) -> Iterable[tuple[str, dict[str, str], int]]:
    try:
        for family in text_string_to_metric_families("\n".join(lines)):
            for sample in family.samples:
                value = float(sample.value)
                if isfinite(value) and value >= 0:
                    yield sample.name, sample.labels, int(value)
    except (IndexError, KeyError, AttributeError, TypeError) as error:
        raise ValueError("not in Prometheus's text format") from error
