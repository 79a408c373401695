"""Gateways that share a ledger never let callers use more than there is, and nothing stays locked up.

Holds: gateway/limits/quota_lease.py
"""

import asyncio
from random import Random
from types import SimpleNamespace

import pytest
from sqlalchemy.exc import OperationalError

from preamar.gateway.limits import quota_lease
from preamar.gateway.limits.quota_lease import Exhausted, QuotaLease
from preamar.ledger.budgets.leases import Allowance, Granted

ALLOWANCE = Allowance("acme", "USD", "2026-11", 1000)


class Ledger:
    """Leases as the ledger grants them, in memory; ``asked`` counts how often it was."""

    def __init__(self, most=1000):
        self.most, self.leased, self.asked, self.down = most, 0, 0, False

    async def lend(self, _allowance, needed, wanted):
        self.asked += 1
        await asyncio.sleep(0)
        if self.down:
            raise OperationalError("x", {}, Exception("down"))
        left = self.most - self.leased
        if needed > left:
            return Granted(0, left)
        amount = max(needed, min(wanted, left // 4))
        self.leased += amount
        return Granted(amount, left - amount)

    async def give_back(self, _allowance, amount):
        self.leased -= amount

    def lease(self, allowance=ALLOWANCE):
        return QuotaLease(allowance, self.lend, self.give_back)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(time=1000.0)
    monkeypatch.setattr(quota_lease, "monotonic", lambda: now.time)
    return now


async def test_many_who_come_together_are_one_question():
    ledger = Ledger()
    lease = ledger.lease()
    await asyncio.gather(*(lease.take(5) for _ in range(100)))
    assert ledger.leased == 500
    assert ledger.asked <= 12
    assert (lease.free, lease.reserved) == (0, 100)


async def test_who_does_not_fit_is_refused_and_those_after_it_are_not():
    lease = Ledger(100).lease()
    results = await asyncio.gather(
        *(lease.take(amount) for amount in (60, 50, 40)), return_exceptions=True
    )
    assert [type(each) for each in results] == [type(None), Exhausted, type(None)]
    assert results[1].left == 40
    with pytest.raises(Exhausted):
        await lease.take(1)


async def test_that_nothing_is_left_is_believed_for_a_second_only(clock):
    ledger = Ledger(10)
    mine, other = ledger.lease(), ledger.lease()
    await other.take(10)
    for _ in range(5):
        with pytest.raises(Exhausted):
            await mine.take(1)
    assert ledger.asked == 2
    other.put_back(10)
    clock.time += quota_lease.IDLE_SECONDS
    await other.tidy()
    assert ledger.leased == 0
    await mine.take(10)


async def test_what_is_not_used_goes_back_but_a_slice(clock):
    ledger = Ledger()
    lease = ledger.lease()
    await lease.take(400)
    lease.put_back(400)
    await lease.tidy()
    assert ledger.leased == lease.free == lease.slice == 10
    clock.time += quota_lease.IDLE_SECONDS
    await lease.tidy()
    assert ledger.leased == lease.free == 0


async def test_who_leaves_while_waiting_takes_nothing_along():
    ledger = Ledger()
    lease = ledger.lease()
    waiting = asyncio.create_task(lease.take(7))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.sleep(0.01)
    await lease.take(1)
    assert lease.reserved == 1
    lease.put_back(1)
    assert lease.free == ledger.leased


async def test_a_ledger_that_is_away_refuses_all_who_wait_and_then_serves_again():
    ledger = Ledger()
    lease = ledger.lease()
    ledger.down = True
    results = await asyncio.gather(*(lease.take(5) for _ in range(9)), return_exceptions=True)
    assert {type(each) for each in results} == {OperationalError}
    ledger.down = False
    await lease.take(5)
    assert lease.reserved == 1


async def test_the_lease_serves_on_while_the_ledger_is_away():
    ledger = Ledger()
    lease = ledger.lease()
    await lease.take(5)
    lease.put_back(5)
    ledger.down = True
    await lease.take(5)
    with pytest.raises(OperationalError):
        await lease.take(500)


async def test_a_budget_that_was_lowered_holds_for_the_next_request(clock):
    ledger = Ledger()
    lease = ledger.lease()
    await lease.take(5)
    ledger.most = 5
    lease.changed(Allowance("acme", "USD", "2026-11", 5))
    lease.put_back(0)
    with pytest.raises(Exhausted):
        await lease.take(5)
    await lease.tidy()
    assert ledger.leased == 5


@pytest.mark.parametrize("seed", range(20))
async def test_gateways_together_never_use_more_than_there_is(clock, seed):
    random = Random(seed)
    ledger = Ledger(random.choice([50, 1000, 10**6]))
    gateways = [ledger.lease(Allowance("acme", "USD", "m", ledger.most)) for _ in range(3)]
    spent = 0

    async def request():
        nonlocal spent
        lease, most = random.choice(gateways), random.randint(1, ledger.most // 5)
        try:
            await lease.take(most)
        except Exhausted:
            return
        await asyncio.sleep(0)
        if random.random() < 0.3:
            more = random.randint(1, most)
            try:
                await lease.grow(more)
            except Exhausted:
                lease.put_back(most)
                return
            most += more
        cost = random.randint(0, most)
        spent += cost
        lease.put_back(most - cost)

    for _ in range(12):
        await asyncio.gather(*(request() for _ in range(25)))
        clock.time += random.choice([0.1, 2, 10])
        for lease in gateways:
            await lease.tidy()
        assert spent <= ledger.leased <= ledger.most
        assert all(not lease.reserved for lease in gateways)
    assert ledger.leased == spent + sum(lease.free for lease in gateways)
