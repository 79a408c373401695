"""Is the ledger what the callers and the model saw? Everything that is wrong, as sentences."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, select

from e2e.faults.money.callers import Seen
from preamar.ledger.tables.amounts import whole
from preamar.ledger.tables.prices import PriceList
from preamar.ledger.tables.schema import balances, leases, requests

MOST_UNDER = 64
SLACK_SECONDS = 1.0
TENANT = "acme"


@dataclass(slots=True)
class Truth:
    """``under``: by how many tokens the worst cut stream was charged too little."""

    answered: int = 0
    cut: int = 0
    under: int = 0
    problems: list[str] = field(default_factory=list)

    def wrong(self, sentence: str) -> None:
        self.problems.append(f"request {sentence}" if sentence[0].isdigit() else sentence)


def check(
    engine: Engine,
    seen: Iterable[Seen],
    made: Mapping[int, int],
    died: Mapping[int, float],
    price: PriceList,
) -> Truth:
    """``made``: tokens by request as the model counted them; ``died``: when the gateway died that
    carried a request."""
    truth = Truth()
    with engine.connect() as connection:
        rows = list(connection.execute(select(requests)))
        spent = sum(
            whole(row)
            for row in connection.execute(select(balances))
            if row.owner == TENANT and row.period
        )
        held = sum(whole(row) for row in connection.execute(select(leases)))
    charged = _charged(truth, rows, made)
    for each in seen:
        if each.whole:
            truth.answered += 1
            if charged.get(each.number) != each.asked or each.told != each.asked:
                truth.wrong(
                    f"{each.number} had {each.asked} tokens, not {charged.get(each.number)}"
                )
        elif each.streamed and each.at:
            truth.cut += 1
            _cut(truth, each, charged.get(each.number), died.get(each.number))
    owed = sum(
        price.cost(row.input_tokens, row.output_tokens, 1, row.accelerator_ms)
        for row in rows
        if row.status == 200 or row.input_tokens or row.output_tokens
    )
    if held:
        truth.wrong(f"{held} pico-units are still leased")
    if owed != spent:
        truth.wrong(f"rows come to {owed} pico-units, the balance says {spent}")
    if left := [row.id for row in rows if row.state != "done"]:
        truth.wrong(f"{len(left)} requests were never settled")
    return truth


def _charged(truth: Truth, rows: Iterable[Any], made: Mapping[int, int]) -> dict[int, int]:
    """Output tokens by request, each of which the ledger may name once."""
    charged: dict[int, int] = {}
    for row in rows:
        if not (number := row.input_tokens):
            continue
        if number in charged:
            truth.wrong(f"{number} is charged twice")
        if row.output_tokens > made.get(number, 0):
            truth.wrong(f"{number} is charged {row.output_tokens} of {made.get(number, 0)} tokens")
        charged[number] = row.output_tokens
    return charged


def _cut(truth: Truth, seen: Seen, charged: int | None, died: float | None) -> None:
    """A stream that did not come to its end."""
    under = len(seen.at) - (charged or 0)
    if died is None:
        # Its caller left, and what it had is known.
        if charged is None or under > 0:
            truth.wrong(f"{seen.number} was left after {len(seen.at)} tokens, charged: {charged}")
        return
    late = sum(at > died - SLACK_SECONDS for at in seen.at)
    if under > MOST_UNDER and under > late:
        truth.wrong(f"{seen.number} is charged {under} tokens too little")
    truth.under = max(truth.under, under)
