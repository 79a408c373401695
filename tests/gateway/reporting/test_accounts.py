"""What the operator is told of money, by a gateway that has a ledger with something in it.

Holds: gateway/reporting/accounts.py, ledger/budgets/standings.py
"""

import asyncio

import pytest
from aiohttp import web

from preamar.demand.accounts import AccountBook
from preamar.gateway.reporting import accounts
from preamar.protocol.accounts import Drift, decode
from tests.gateway.conftest import endpoints, service, until
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.limits.test_budgets import PRICE, ask, budget, know, tenant


class Operator:
    """Hears accounts as the operator does."""

    def __init__(self):
        self.book = AccountBook()
        self.heard = []
        self.status = 204

    async def __aenter__(self):
        async def take(request):
            assert request.headers["Authorization"] == "Bearer " + "internal" * 4
            body = await request.json()
            self.heard.append(body)
            self.book.take(decode(body))
            return web.Response(status=self.status)

        app = web.Application()
        app.router.add_post("/accounts", take)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        await self.runner.cleanup()


def told(rig, operator):
    """A teller of its own, so that nothing is told at other times."""
    return accounts.Accounts(
        "g", b"internal" * 4, rig.gateway.home, lambda: rig.gateway.reservations.tenants,
        rig.gateway._drifts, lambda: (("127.0.0.1", operator.port),),
    )  # fmt: skip


async def test_the_operator_hears_what_tenants_have_spent_and_have_left(rig, http):
    async with FakeTriton() as fake, Operator() as operator:
        know(
            rig,
            fake,
            tenant(**budget("2.00")),
            tenant("free"),
            tenant("once", **budget("5", period="Prepaid")),
        )
        for _ in range(3):
            assert (await ask(http, rig))[0] == 200
        assert (await ask(http, rig, rig.other("free")))[0] == 200
        assert (await ask(http, rig, rig.other("once")))[0] == 200
        await until(lambda: len(rig.rows()) == 5)
        await told(rig, operator).tell()
        acme, free, once = (operator.book.account(name) for name in ("acme", "free", "once"))
        assert (acme.currency, acme.spent) == ("USD", "0.21")
        assert float(acme.spent) + float(acme.reserved) + float(acme.remaining) == pytest.approx(2)
        assert (free.spent, free.remaining) == ("0.07", None)
        assert (once.period, once.spent) == ("prepaid", "0.07")


async def test_only_news_is_told_and_everything_again_after_a_while(rig, http):
    async with FakeTriton() as fake, Operator() as operator:
        know(rig, fake, tenant(**budget("2.00")), tenant("quiet", **budget("1")))
        teller = told(rig, operator)
        await teller.tell()
        await teller.tell()
        assert len(operator.heard) == 1
        assert set(operator.heard[0]["tenants"]) == {"acme", "quiet"}
        await ask(http, rig)
        await until(rig.rows)
        await teller.tell()
        assert set(operator.heard[1]["tenants"]) == {"acme"}
        teller._told_all -= 60
        await teller.tell()
        assert set(operator.heard[2]["tenants"]) == {"acme", "quiet"}


async def test_what_an_operator_did_not_take_is_told_again(rig, http):
    async with FakeTriton() as fake, Operator() as operator:
        know(rig, fake, tenant(**budget("2.00")))
        operator.status = 503
        teller = told(rig, operator)
        await teller.tell()
        operator.status = 204
        await teller.tell()
        assert len(operator.heard) == 2
        assert operator.heard[0] == operator.heard[1]


async def test_a_disagreement_of_ledger_and_model_servers_is_told_by_service(rig):
    async with Operator() as operator:
        rig.know([service("gpt", price=PRICE)], endpoints("gpt", 1))
        drift = Drift("tokens", 90, 100, 5, 9, -0.1)
        rig.gateway.reconciler.found = {"gpt": drift, "deleted": drift}
        await told(rig, operator).tell()
        assert operator.book.drift("demo/gpt").ratio == -0.1
        assert set(operator.heard[0]["services"]) == {"demo/gpt"}


async def test_no_operator_is_no_trouble(rig):
    rig.gateway.watcher.snapshot.replace("tenants", [tenant(**budget("2.00"))])
    rig.know([])
    teller = accounts.Accounts(
        "g",
        b"k" * 16,
        rig.gateway.home,
        lambda: rig.gateway.reservations.tenants,
        dict,
        lambda: (("127.0.0.1", 1),),
    )
    async with asyncio.timeout(60):
        await teller.tell()
