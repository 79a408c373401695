"""Where gateways say what is asked of them: ``POST /demand``, with the internal key. And
``POST /accounts``, what that comes to in money.

The answer is 204 at once; what a report changes is handed on before that, so that a first request
for a sleeping model wakes it without waiting for anything.
"""

import hmac
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from preamar.demand.accounts import AccountAggregator
from preamar.demand.aggregator import Changes, DemandAggregator, TooMany
from preamar.protocol.accounts import decode as account_report
from preamar.protocol.demand import decode as demand_report

log = logging.getLogger(__name__)
LARGEST_BODY = 2 * 2**20
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
    aggregator: DemandAggregator,
    key: InternalKey,
    heard: Callable[[Changes], None],
    accounts: AccountAggregator,
    accounted: Callable[[frozenset[str], frozenset[str]], None],
) -> web.Application:
    """The server's two routes. ``accounted`` hears of tenants and of services."""

    async def demand(request: web.Request) -> web.Response:
        if not key.fits(request.headers.get("Authorization", "")):
            raise web.HTTPUnauthorized(text="The internal key is missing or wrong.\n")
        try:
            report = demand_report(json.loads(await request.read()))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise web.HTTPBadRequest(text=f"This is no demand report: {error}\n") from error
        try:
            heard(aggregator.take(report, time.monotonic()))
        except TooMany:
            raise web.HTTPTooManyRequests(text="Too many gateways report.\n") from None
        return web.Response(status=204)

    async def money(request: web.Request) -> web.Response:
        if not key.fits(request.headers.get("Authorization", "")):
            raise web.HTTPUnauthorized(text="The internal key is missing or wrong.\n")
        try:
            changed = accounts.take(account_report(json.loads(await request.read())))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise web.HTTPBadRequest(text=f"These are no accounts: {error}\n") from error
        accounted(*changed)
        return web.Response(status=204)

    app = web.Application(client_max_size=LARGEST_BODY)
    app.router.add_post("/accounts", money)
    app.router.add_post("/demand", demand)
    return app
