"""The admin port: keys of tenants, and what each tenant used. One admin key opens all of it."""

import asyncio
import hmac
import logging
import re
from time import time
from typing import Any

from aiohttp import web
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from preamar.gateway.call import new_id
from preamar.gateway.errors import Problem, bad, bad_key, ledger_down, unknown_route, wrong_method
from preamar.gateway.keyring import Keyring
from preamar.gateway.state import State
from preamar.ledger import costs, invoice, usage
from preamar.ledger.keys import StoredKey, TooManyKeys
from preamar.ledger.rows import Kind

log = logging.getLogger(__name__)
_KEYS = re.compile(r"/tenants/([^/]{1,253})/keys(?:/([^/]{1,64}))?")
_INVOICE = re.compile(r"/tenants/([^/]{1,253})/invoices/([^/]{1,64})")
_TENANT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_COSTS = "/v1/organization/costs"
_USAGE = {f"/v1/organization/usage/{kind}": kind for kind in Kind}


class Admin:
    def __init__(self, key: bytes, keyring: Keyring, engine: Engine, state: State) -> None:
        self._key = key
        self._keyring = keyring
        self._engine = engine
        self._state = state

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Every request of the port comes here."""
        call_id = new_id()
        try:
            response = self._state.plain(request) or await self._answer(request)
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
            raise bad_key(missing=not given)
        if request.path == _COSTS or request.path in _USAGE:
            if request.method != "GET":
                raise wrong_method("GET")
            kind = _USAGE.get(request.path)
            return await (self._usage(request, kind) if kind else self._costs(request))
        if (match := _INVOICE.fullmatch(request.path)) is not None:
            if request.method != "GET":
                raise wrong_method("GET")
            return await self._invoice(_tenant(match[1]), match[2], request)
        match = _KEYS.fullmatch(request.path)
        if match is None:
            raise unknown_route()
        return await self._keys(_tenant(match[1]), match[2], request)

    async def _keys(
        self, tenant: str, key_id: str | None, request: web.BaseRequest
    ) -> web.Response:
        if key_id is not None:
            if request.method != "DELETE":
                raise wrong_method("DELETE")
            return await self._revoke(tenant, key_id)
        if request.method == "POST":
            return await self._create(tenant)
        if request.method == "GET":
            found = await asyncio.to_thread(self._keyring.of, tenant)
            return web.json_response({"object": "list", "data": [_shown(key) for key in found]})
        raise wrong_method("GET, POST")

    async def _create(self, tenant: str) -> web.Response:
        try:
            key, stored = await asyncio.to_thread(self._keyring.create, tenant, int(time()))
        except TooManyKeys:
            raise Problem(409, f"The tenant '{tenant}' has too many keys. Revoke some.") from None
        return web.json_response({"key": key, **_shown(stored)}, status=201)

    async def _revoke(self, tenant: str, key_id: str) -> web.Response:
        if not await asyncio.to_thread(self._keyring.revoke, tenant, key_id):
            raise Problem(404, f"The tenant '{tenant}' has no such key.", code="key_not_found")
        return web.Response(status=204)

    async def _invoice(self, tenant: str, month: str, request: web.BaseRequest) -> web.Response:
        wanted = request.query.get("format", "json")
        if wanted not in {"json", "csv"}:
            raise bad("format must be json or csv.", "format")
        try:
            invoice.span(month)
        except ValueError as error:
            raise bad(str(error), "month") from None
        found = await asyncio.to_thread(invoice.lines, self._engine, tenant, month)
        if wanted == "csv":
            return web.Response(body=invoice.table(found), content_type="text/csv", charset="utf-8")
        body = invoice.document(tenant, month, found)
        return web.Response(body=body, content_type="application/json")

    async def _usage(self, request: web.BaseRequest, kind: Kind) -> web.Response:
        try:
            query = usage.query_of(kind, _given(request), int(time()))
        except usage.BadQuery as error:
            raise bad(str(error), error.param) from None
        counted = await asyncio.to_thread(usage.sums, self._engine, query)
        return web.json_response(usage.report(query, counted))

    async def _costs(self, request: web.BaseRequest) -> web.Response:
        given = _given(request)
        try:
            query = costs.query_of(given, int(time()))
        except usage.BadQuery as error:
            raise bad(str(error), error.param) from None
        items = usage.many(given, "line_items")
        owed = await asyncio.to_thread(costs.lines, self._engine, query, items)
        return web.json_response(costs.report(query, owed))


def _tenant(name: str) -> str:
    if not _TENANT.fullmatch(name):
        raise bad("A tenant's name holds small letters, digits and '-', 63 at most.", "tenant")
    return name


def _given(request: web.BaseRequest) -> dict[str, list[str]]:
    return {name: list(request.query.getall(name)) for name in set(request.query)}


def _shown(key: StoredKey) -> dict[str, Any]:
    return {"id": key.id, "tenant": key.tenant, "created": key.created}


def _failure(problem: Problem) -> web.Response:
    return web.Response(
        status=problem.status,
        body=problem.body(),
        content_type="application/json",
        headers=problem.headers,
    )
