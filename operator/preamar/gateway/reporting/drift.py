"""Do the ledger and the model servers agree? Their counts of the last day, compared each hour.

They are counted apart from each other, by processes that die at different times. What was under way
at the ends of the time, or while a server could not be read, may be in one count and not in the
other; only what that cannot explain is drift.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from time import time

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from preamar.gateway.reporting.engine_metrics import Counts
from preamar.gateway.reporting.engine_scraper import Counted, Engines
from preamar.ledger.reports import recorded
from preamar.ledger.reports.recorded import Interval, Recorded
from preamar.protocol.accounts import Drift

log = logging.getLogger(__name__)
HOURS = 24
BEFORE_SECONDS = 20.0
"""Rows of what has just ended are on their way to the ledger."""
BLUR_SECONDS = 3.0
"""A server counts and a row ends at the same moment, give or take this."""
CUT_TOKENS = 64
"""What a request whose caller left may have cost beyond what its row says, at least."""


def compared(
    engine: Counts, ledger: Recorded, unsure: Recorded, since: float, until: float
) -> Drift | None:
    """``unsure`` is what was under way at times in which a count may have missed it. None where the
    two cannot be compared: a stream of KServe v2 is one row, and any number of requests."""
    if engine.tokens is None and ledger.streams:
        return None
    if engine.tokens is None:
        unit, told, counted = "requests", ledger.whole, engine.answered
        slack = unsure.whole + ledger.cut
    else:
        unit, told, counted = "tokens", ledger.tokens, engine.tokens
        mean = ledger.tokens // max(1, ledger.whole + ledger.streams)
        slack = unsure.tokens + ledger.cut * max(CUT_TOKENS, mean)
    apart = told - counted
    unexplained = max(0, abs(apart) - slack) * (1 if apart > 0 else -1)
    ratio = unexplained / max(1, counted, told)
    return Drift(unit, told, counted, int(since), int(until), ratio)


@dataclass(frozen=True, slots=True)
class _Mark:
    at: float
    total: Counts


class Reconciler:
    """Compares the two each ``every`` seconds, over as many of these as a day has hours."""

    def __init__(self, engines: Engines, ledger: Engine, every: float) -> None:
        self.found: Mapping[str, Drift] = {}
        self._engines = engines
        self._ledger = ledger
        self._every = every
        self._marks: dict[Counted, deque[_Mark]] = {}

    async def run(self) -> None:
        """Compare until cancelled."""
        begun = asyncio.create_task(self._engines.run())
        try:
            while True:
                await self.compare()
                await asyncio.sleep(self._every)
        finally:
            begun.cancel()
            await asyncio.gather(begun, return_exceptions=True)

    async def compare(self) -> None:
        """Read all servers and compare what they counted with the ledger."""
        await self._engines.read(all_=True)
        now = time()
        counted = dict(self._engines.models)
        totals = {name: one.total for name, one in counted.items()}
        await asyncio.sleep(min(BEFORE_SECONDS, self._every / 2))
        found: dict[str, Drift] = {}
        for name, one in counted.items():
            marks = self._marks.setdefault(one, deque(maxlen=HOURS + 1))
            if one.silent:
                marks.clear()
                continue
            marks.append(_Mark(now, totals[name]))
            first = marks[0]
            total = totals[name].since(first.total)
            if first.at == now or not (total.answered or total.tokens):
                # Nothing was asked of it; what the ledger has of it is then not looked for.
                continue
            ends = ((first.at, first.at), (now, now))
            gaps = one.unsure(first.at, now)
            try:
                drift = await asyncio.to_thread(
                    self._compared, name, total, first.at, now, [*ends, *gaps]
                )
            except SQLAlchemyError as error:
                log.warning("the ledger could not be compared: %s", getattr(error, "orig", error))
                return
            if drift is not None:
                found[name] = drift
                if drift.drifts:
                    log.warning("%s: %s", name, drift)
        self._marks = {one: self._marks[one] for one in counted.values()}
        self.found = found

    def _compared(
        self, model: str, total: Counts, since: float, until: float, blurred: list[Interval]
    ) -> Drift | None:
        wide = [(begin - BLUR_SECONDS, end + BLUR_SECONDS) for begin, end in blurred]
        return compared(
            total,
            recorded.recorded(self._ledger, model, since, until),
            recorded.around(self._ledger, model, wide),
            since,
            until,
        )
