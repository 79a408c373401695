"""What a request has of its replica's accelerators: its equal share of them, and not more than there is.

Holds: gateway/routing/replica.py, gateway/routing/service_time.py
"""

import asyncio
from decimal import Decimal
from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.gateway.discovery.resources import Address
from preamar.gateway.routing import replica as replicas
from preamar.gateway.routing.replica import Replica, Slot
from preamar.gateway.routing.service_time import ServiceTime
from tests.gateway.conftest import endpoints, service, until
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.limits.test_budgets import budget, tenant
from tests.hunting import examples

SECOND = {"perAcceleratorSecond": "1.00"}
STEPS = st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 9)), max_size=40)


@examples(check=25, hunt=2000)
@given(STEPS)
def test_shares_add_up_to_the_time_in_which_anything_ran(steps):
    with pytest.MonkeyPatch.context() as patch:
        now, names = [0.0], count()
        patch.setattr(replicas, "monotonic", lambda: now[0])
        one = Replica(Address("127.0.0.1", 1, 1, "p", "u"))
        there, gone, busy = {}, [], 0.0
        for seconds, comes, which in steps:
            busy += seconds if there else 0
            now[0] += seconds
            if comes:
                there[next(names)] = Slot(one, ServiceTime(), 0, lambda p, _: p.replica.carry(-1))
            elif there:
                place = there.pop(sorted(there)[which % len(there)])
                place.release()
                gone.append(place)
        shares = [place.had() for place in (*there.values(), *gone)]
        assert sum(shares) == pytest.approx(busy)
        assert all(share >= 0 for share in shares)
        now[0] += 100
        assert sum(place.had() for place in gone) == pytest.approx(sum(p.had() for p in gone))


def know(rig, fake, price=None, **spec):
    rig.know([service("gpt", price=price or SECOND, **spec)], endpoints("gpt", fake.port))


async def ask(http, rig, **more):
    body = {"model": "gpt", "prompt": "hi", "max_tokens": 3} | more
    async with http.post(rig.url + "/v1/completions", json=body, headers=rig.auth) as answer:
        return answer.status, await answer.json()


@pytest.fixture
def clock(monkeypatch):
    """By which replicas count; it stands where a test does not move it, by what binary fractions say."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(replicas, "monotonic", lambda: clock.now)
    return clock


async def test_requests_at_the_same_time_share_what_they_use_and_are_told_what_it_costs(
    clock, rig, http
):
    async with FakeTriton() as fake:
        know(rig, fake, accelerator={"type": "GPU", "count": 2})
        fake.gate.clear()
        asked = [asyncio.create_task(ask(http, rig)) for _ in range(4)]
        await until(lambda: len(fake.requests) == 4)
        clock.now += 0.5
        fake.gate.set()
        answers = await asyncio.gather(*asked)
        await until(lambda: len(rig.rows()) == 4)
        assert [row.accelerator_ms for row in rig.rows()] == [2 * 500 / 4] * 4
        assert [Decimal(answer["usage"]["cost"]) for _, answer in answers] == [Decimal("0.25")] * 4


async def test_a_stream_is_told_what_the_ledger_has(rig, http):
    async with FakeTriton(pause=0.05) as fake:
        know(rig, fake)
        body = {"model": "gpt", "prompt": "hi", "stream": True,
                "stream_options": {"include_usage": True}}  # fmt: skip
        async with http.post(rig.url + "/v1/completions", json=body, headers=rig.auth) as answer:
            text = await answer.text()
        await until(lambda: rig.rows() and rig.rows()[0].state == "done")
        (row,) = rig.rows()
        assert row.accelerator_ms >= 100
        cost = f"{Decimal(row.accelerator_ms) / 1000:f}".rstrip("0")
        assert f'"cost":"{cost}"' in text


async def test_who_pays_for_nothing_but_tokens_is_not_timed(rig, http):
    async with FakeTriton() as fake:
        know(rig, fake, {"perMillionOutputTokens": "1"})
        await ask(http, rig)
        await until(rig.rows)
        assert [row.accelerator_ms for row in rig.rows()] == [0]


async def test_waiting_for_a_replica_costs_nothing_and_one_that_died_is_not_paid_for(
    clock, rig, http
):
    async with FakeTriton() as fake:
        know(rig, fake)
        rig.know(slices=[])
        waiting = asyncio.create_task(ask(http, rig))
        await until(lambda: rig.line("gpt").hold)
        clock.now += 0.5
        fake.gate.clear()
        fake.hang_up = 1
        rig.know(slices=endpoints("gpt", fake.port))
        for seconds, goes_on in ((7.0, fake.gate.clear), (0.125, fake.gate.set)):
            asked = len(fake.requests)
            await until(lambda count=asked: len(fake.requests) > count)
            clock.now += seconds
            fake.gate.set()  # whoever is there goes on
            goes_on()
        assert (await waiting)[0] == 200
        await until(rig.rows)
        assert rig.rows()[0].accelerator_ms == 125


async def test_of_several_gateways_each_charges_its_part(clock, rig, http, monkeypatch):
    async with FakeTriton() as fake:
        know(rig, fake)
        monkeypatch.setattr(type(rig.gateway.home), "gateways", 3)
        fake.gate.clear()
        asked = asyncio.create_task(ask(http, rig))
        await until(lambda: fake.requests)
        clock.now += 0.375
        fake.gate.set()
        await asked
        await until(rig.rows)
        assert rig.rows()[0].accelerator_ms == 125


async def test_a_budget_holds_for_accelerators_too(rig, http):
    async with FakeTriton() as fake:
        rig.gateway.watcher.snapshot.replace("tenants", [tenant(**budget("700"))])
        know(rig, fake)
        assert (await ask(http, rig))[0] == 200
        fake.gate.clear()
        both = [asyncio.create_task(ask(http, rig)) for _ in range(2)]
        # Ten minutes are set aside for each: two do not fit at once.
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        fake.gate.set()
        assert sorted([(await one)[0] for one in both]) == [200, 429]
        async with http.post(
            rig.url + "/v1/completions",
            json={"model": "gpt", "prompt": "hi"},
            headers=rig.auth | {"x-request-timeout": "60"},
        ) as answer:
            assert answer.status == 200
