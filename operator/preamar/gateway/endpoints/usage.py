"""What each tenant used and owes, as the admin port shows it: usage, costs and invoices."""

import asyncio
from time import time

from aiohttp import web
from sqlalchemy import Engine

from preamar.gateway.errors import bad
from preamar.ledger.reports import costs, invoice, usage
from preamar.ledger.tables.usage_record import UsageKind


def _lists(*names: str) -> set[str]:
    """As clients write lists: by name, or by name and brackets."""
    return {*names, *(f"{name}[]" for name in names)}


PERIOD = {"start_time", "end_time", "bucket_width", "limit", "page"}
USAGE = {*PERIOD, *_lists("group_by", "project_ids", "api_key_ids", "models")}
COSTS = {*PERIOD, *_lists("group_by", "project_ids", "api_key_ids", "line_items")}
INVOICE = {"format"}
"""The parameters of each. One that is not known is refused: a filter that was misspelt would show
what belongs to others."""


class Reports:
    """Each raises ``Problem`` for parameters that it cannot understand."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def invoice(self, request: web.BaseRequest, tenant: str, month: str) -> web.Response:
        """Of one month, as JSON or CSV: the same bytes at any time."""
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

    async def usage(self, request: web.BaseRequest, kind: str) -> web.Response:
        """OpenAI's organization usage."""
        try:
            query = usage.query_of(UsageKind(kind), _given(request), int(time()))
        except usage.BadQuery as error:
            raise bad(str(error), error.param) from None
        counted = await asyncio.to_thread(usage.sums, self._engine, query)
        return web.json_response(usage.report(query, counted))

    async def costs(self, request: web.BaseRequest) -> web.Response:
        """OpenAI's organization costs."""
        given = _given(request)
        try:
            query = costs.query_of(given, int(time()))
        except usage.BadQuery as error:
            raise bad(str(error), error.param) from None
        items = usage.many(given, "line_items")
        owed = await asyncio.to_thread(costs.lines, self._engine, query, items)
        return web.json_response(costs.report(query, owed))


def _given(request: web.BaseRequest) -> dict[str, list[str]]:
    return {name: list(request.query.getall(name)) for name in set(request.query)}
