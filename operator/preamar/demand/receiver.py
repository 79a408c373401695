"""Where gateways say what is asked of them: ``POST /demand``, with the internal key. And
``POST /accounts``, what that comes to in money.

The answer is 204 at once; what a report changes is handed on before that, so that a first request
for a sleeping model wakes it without waiting for anything.
"""

import hmac
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from preamar.demand.accounts import AccountBook
from preamar.demand.book import MOST_SERVICES, Changes, DemandBook, TooMany
from preamar.demand.report import NO_PODS, Load, Report
from preamar.protocol.canary import Apart, Side, Trial
from preamar.protocol.demand import Carried
from preamar.protocol.histogram import BOUNDS
from preamar.protocol.sequential_test import STAKES

log = logging.getLogger(__name__)
LARGEST_BODY = 2 * 2**20
LONGEST_NAME = 253
LARGEST_COUNT = 2**53
MOST_PODS = 1000
BARE = frozenset({"queued", "running", "arrived"})
KEY_READ_SECONDS = 10.0


class InternalKey:
    """The key in a mounted Secret, read again now and then because Secrets are rotated."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at = -KEY_READ_SECONDS
        self._key = b""

    def read(self) -> bytes:
        """The key, empty if there is none: then nobody is let in."""
        if time.monotonic() - self._read_at >= KEY_READ_SECONDS:
            self._read_at = time.monotonic()
            try:
                self._key = self._path.read_bytes().strip()
            except OSError as error:
                log.warning("the internal key cannot be read: %s", error)
        return self._key

    def fits(self, header: str) -> bool:
        """Whether an Authorization header carries the key; the time it takes tells nothing."""
        given = header.removeprefix("Bearer ").strip().encode()
        key = self.read()
        return hmac.compare_digest(given, key) and bool(key)


def application(
    book: DemandBook,
    key: InternalKey,
    heard: Callable[[Changes], None],
    accounts: AccountBook,
    accounted: Callable[[frozenset[str], frozenset[str]], None],
) -> web.Application:
    """The server's two routes. ``accounted`` hears of tenants and of services."""

    async def demand(request: web.Request) -> web.Response:
        if not key.fits(request.headers.get("Authorization", "")):
            raise web.HTTPUnauthorized(text="The internal key is missing or wrong.\n")
        try:
            report = parse(json.loads(await request.read()))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise web.HTTPBadRequest(text=f"This is no demand report: {error}\n") from error
        try:
            heard(book.take(report, time.monotonic()))
        except TooMany:
            raise web.HTTPTooManyRequests(text="Too many gateways report.\n") from None
        return web.Response(status=204)

    async def money(request: web.Request) -> web.Response:
        if not key.fits(request.headers.get("Authorization", "")):
            raise web.HTTPUnauthorized(text="The internal key is missing or wrong.\n")
        try:
            changed = accounts.take(json.loads(await request.read()))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise web.HTTPBadRequest(text=f"These are no accounts: {error}\n") from error
        accounted(*changed)
        return web.Response(status=204)

    app = web.Application(client_max_size=LARGEST_BODY)
    app.router.add_post("/accounts", money)
    app.router.add_post("/demand", demand)
    return app


def parse(body: Any) -> Report:
    """A report from its JSON. Raises ``ValueError``, ``KeyError`` or ``TypeError``."""
    services = _object(_object(body).get("services", {}))
    if len(services) > MOST_SERVICES:
        raise ValueError(f"more than {MOST_SERVICES} services")
    return Report(
        gateway=_name(body["gateway"]),
        sequence=_count(body["sequence"]),
        services={_name(name): _load(load) for name, load in services.items()},
        leaving=body.get("leaving") is True,
    )


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise TypeError("a report and its services are objects")
    return body


def _load(body: Any) -> Load:
    """An older gateway leaves out what it does not know; so does any what is 0 or empty."""
    count = _count(body["queued"]), _count(body["running"]), _count(body.get("arrived", 0))
    if len(body) <= len(count) and body.keys() <= BARE:
        return Load(*count)
    return Load(
        *count,
        finished=_count(body.get("finished", 0)),
        busy_seconds=_seconds(body.get("busySeconds", 0)),
        first_tokens=_count(body.get("firstTokens", 0)),
        first_token_seconds=_seconds(body.get("firstTokenSeconds", 0)),
        oldest_wait=_seconds(body.get("oldestWait", 0)),
        pods=_pods(body["pods"]) if "pods" in body else NO_PODS,
        trial=_trial(body["trial"]) if "trial" in body else None,
    )


def _trial(body: Any) -> Trial:
    told = _object(body)
    apart = _apart(told["apart"]) if "apart" in told else Apart()
    return Trial(_name(told["revision"]), _side(told["old"]), _side(told["new"]), apart)


def _apart(body: Any) -> Apart:
    compared, total, bets = body
    if not isinstance(bets, list) or len(bets) != len(STAKES):
        raise ValueError("a trial bets by two stakes")
    return Apart(_count(compared), _seconds(total), tuple(map(_logarithm, bets)))


def _side(body: Any) -> Side:
    requests, failures, took = body
    if not isinstance(took, list) or len(took) > len(BOUNDS) + 1:
        raise ValueError("a trial counts answers in buckets")
    return Side(_count(requests), _count(failures), tuple(map(_count, took)))


def _pods(body: Any) -> Mapping[str, Carried]:
    if len(_object(body)) > MOST_PODS:
        raise ValueError(f"more than {MOST_PODS} pods of one service")
    return {
        _name(ip): Carried(_count(pod["running"]), _count(pod.get("tokensLeft", 0)))
        for ip, pod in body.items()
    }


def _name(text: Any) -> str:
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST_NAME:
        raise ValueError("a name is a text of 1 to 253 characters")
    return text


def _count(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < LARGEST_COUNT:
        raise ValueError("counts are whole numbers from 0")
    return number


def _logarithm(number: Any) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError("logarithms are numbers")
    if not -LARGEST_COUNT < number < LARGEST_COUNT:  # nor is NaN
        raise ValueError("logarithms are numbers")
    return float(number)


def _seconds(number: Any) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError("seconds are numbers from 0")
    if not 0 <= number < LARGEST_COUNT:  # nor is NaN
        raise ValueError("seconds are numbers from 0")
    return float(number)
