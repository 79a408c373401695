"""The admin port: keys of tenants, and what each tenant used. One admin key opens all of it."""

import asyncio
import hmac
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib.resources import files
from time import time
from typing import Any

import yaml
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from preamar.gateway.auth.keyring import Keyring
from preamar.gateway.endpoints.health import GatewayHealth
from preamar.gateway.endpoints.request_body import BodyMemory, object_of, read_body
from preamar.gateway.endpoints.usage import COSTS, INVOICE, USAGE, Reports
from preamar.gateway.errors import Problem, bad, bad_key, ledger_down, unknown_route, wrong_method
from preamar.gateway.limits.budget import standing_of
from preamar.gateway.limits.limits import BadLimits, whole
from preamar.gateway.limits.reservations import Reservations
from preamar.gateway.metering.request_id import new_id
from preamar.ledger.keys import StoredKey, TooManyKeys
from preamar.ledger.store.backend import Backend

log = logging.getLogger(__name__)
MAX_BODY, ROOM, READ_SECONDS = 1 << 16, 8 << 20, 10.0
OVERLAP_SECONDS = 86400
"""How long the secret that a key had is still good after a rotation, where nobody says."""
YEAR = 366 * 86400
_TENANT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
Handler = Callable[..., Awaitable[web.Response]]


@cache
def described() -> bytes:
    """This API in the words of OpenAPI, as JSON."""
    text = files("preamar.gateway").joinpath("admin-api.yaml").read_text()
    return json.dumps(yaml.safe_load(text)).encode()


class Admin:
    def __init__(
        self,
        key: bytes,
        keyring: Keyring,
        reservations: Reservations,
        home: Backend,
        health: GatewayHealth,
    ) -> None:
        engine = home.engine
        self._home = home
        self._key = key
        self._keyring = keyring
        self._reservations = reservations
        self._engine = engine
        self._health = health
        self._memory = BodyMemory(ROOM)
        of, one = r"/tenants/(?P<tenant>[^/]{1,253})", r"/keys/(?P<key_id>[^/]{1,64})"
        usage_of = "/v1/organization/usage/(?P<kind>completions|embeddings)"
        reports = Reports(engine)
        nothing: set[str] = set()
        self.routes: list[tuple[re.Pattern[str], Mapping[str, Handler], set[str]]] = [
            (re.compile(pattern), methods, parameters)
            for pattern, methods, parameters in (
                (of + "/keys", {"GET": self._list, "POST": self._create}, nothing),
                (of + one, {"DELETE": self._revoke}, nothing),
                (of + one + "/rotate", {"POST": self._rotate}, nothing),
                (of + "/budget", {"GET": self._budget}, nothing),
                (of + "/invoices/(?P<month>[^/]{1,64})", {"GET": reports.invoice}, INVOICE),
                (usage_of, {"GET": reports.usage}, USAGE),
                ("/v1/organization/costs", {"GET": reports.costs}, COSTS),
            )
        ]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Every request of the port comes here."""
        call_id = new_id()
        try:
            response = self._health.plain(request) or await self._answer(request)
        except Problem as problem:
            response = _failure(problem)
        except SQLAlchemyError:
            log.exception("the ledger failed")
            response = _failure(ledger_down())
        except Exception:
            log.exception("admin request %s failed", call_id)
            response = _failure(Problem(500, "The gateway failed on this request.", "server_error"))
        response.headers["x-request-id"] = call_id
        return response

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        given = key.strip().encode() if scheme.lower() == "bearer" else b""
        if not hmac.compare_digest(given, self._key):
            raise bad_key("wrong" if given else "missing")
        path = request.path
        if path == "/openapi.json" and request.method == "GET":
            return web.Response(body=described(), content_type="application/json")
        allowed: list[str] = []
        for pattern, methods, parameters in self.routes:
            if (match := pattern.fullmatch(path)) is None:
                continue
            if (handler := methods.get(request.method)) is None:
                allowed += methods
                continue
            if "tenant" in match.groupdict() and not _TENANT.fullmatch(match["tenant"]):
                raise bad(
                    "A tenant's name holds small letters, digits and '-', 63 at most.", "tenant"
                )
            if unknown := sorted(set(request.query) - parameters):
                raise bad(f"There is no parameter '{unknown[0][:64]}' here.", unknown[0][:64])
            if request.method == "GET":
                # What is shown has to hold what was answered a moment ago.
                await asyncio.to_thread(self._home.writer.flush)
            return await handler(request, **match.groupdict())
        raise wrong_method(", ".join(sorted(allowed))) if allowed else unknown_route()

    async def _given(self, request: web.BaseRequest) -> dict[str, Any]:
        """The JSON object of a request; an empty body is an empty one."""
        body = await read_body(request, MAX_BODY, READ_SECONDS, self._memory)
        self._memory.left += len(body)
        return object_of(request, body) if body else {}

    async def _budget(self, _request: web.BaseRequest, tenant: str) -> web.Response:
        limits = self._reservations.limits(tenant)
        found = await asyncio.to_thread(standing_of, self._engine, tenant, limits, time())
        return web.json_response(found)

    async def _list(self, _request: web.BaseRequest, tenant: str) -> web.Response:
        found = await asyncio.to_thread(self._keyring.of, tenant)
        return web.json_response({"object": "list", "data": [_shown(key) for key in found]})

    async def _create(self, request: web.BaseRequest, tenant: str) -> web.Response:
        scope = await self._given(request)
        try:
            key, stored = await asyncio.to_thread(self._keyring.create, tenant, int(time()), scope)
        except TooManyKeys:
            raise Problem(409, f"The tenant '{tenant}' has too many keys. Revoke some.") from None
        except BadLimits as error:
            raise bad(str(error), error.param) from None
        return web.json_response({"key": key, **_shown(stored)}, status=201)

    async def _rotate(self, request: web.BaseRequest, tenant: str, key_id: str) -> web.Response:
        given = await self._given(request)
        if unknown := sorted(set(given) - {"overlap_seconds"}):
            raise bad(f"A rotation has 'overlap_seconds', no '{unknown[0]}'.", unknown[0])
        try:
            overlap = whole(given.get("overlap_seconds"), "overlap_seconds", YEAR)
        except BadLimits as error:
            raise bad(str(error), error.param) from None
        until = int(time()) + (OVERLAP_SECONDS if overlap is None else overlap)
        found = await asyncio.to_thread(self._keyring.rotate, tenant, key_id, until)
        if found is None:
            raise Problem(404, f"The tenant '{tenant}' has no such key.", code="key_not_found")
        return web.json_response({"key": found[0], **_shown(found[1])})

    async def _revoke(self, _request: web.BaseRequest, tenant: str, key_id: str) -> web.Response:
        if not await asyncio.to_thread(self._keyring.revoke, tenant, key_id):
            raise Problem(404, f"The tenant '{tenant}' has no such key.", code="key_not_found")
        return web.Response(status=204)


def _shown(key: StoredKey) -> dict[str, Any]:
    shown = {"id": key.id, "tenant": key.tenant, "created": key.created, **json.loads(key.scope)}
    if key.older_digest is not None:
        shown["previous_secret_expires_at"] = key.older_until
    return shown


def _failure(problem: Problem) -> web.Response:
    return web.Response(
        status=problem.status,
        body=problem.body(),
        content_type="application/json",
        headers=problem.headers,
    )
