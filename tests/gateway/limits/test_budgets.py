"""A tenant, and a key, gets what it may use and not one request more; whose budget it is learns why.

Holds: gateway/auth/keyring.py, gateway/limits/budget.py, gateway/limits/limits.py,
gateway/limits/refusals.py, gateway/limits/reservations.py
"""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from decimal import Decimal
from time import time

import openai
import pytest
from sqlalchemy.exc import OperationalError

from preamar.gateway.auth import keyring
from preamar.gateway.limits import quota_lease as purses
from preamar.gateway.limits import reservations
from preamar.ledger.budgets import leases
from preamar.ledger.budgets.leases import Allowance
from tests.gateway.conftest import ADMIN, endpoints, running_gateway, service, until
from tests.gateway.fake_triton import FakeTriton

# A token costs a cent, in and out.
PRICE = {"perMillionInputTokens": "10000", "perMillionOutputTokens": "10000"}
ADMINS = {"Authorization": f"Bearer {ADMIN}"}
ASK = {"model": "gpt", "prompt": "hi", "max_tokens": 3}


def tenant(name="acme", **spec):
    return {"metadata": {"name": name}, "spec": spec}


def budget(amount, **more):
    return {"budget": {"currency": "USD", "amount": amount, "period": "Month"} | more}


def know(rig, fake, *tenants, **spec):
    rig.gateway.watcher.snapshot.replace("tenants", tenants)
    rig.know([service("gpt", price=PRICE, **spec)], endpoints("gpt", fake.port))


async def ask(http, rig, auth=None, **more):
    async with http.post(
        rig.url + "/v1/completions", json=ASK | more, headers=auth or rig.auth
    ) as answer:
        return answer.status, await answer.json(), answer.headers


async def standing(http, rig, name="acme"):
    async with http.get(f"{rig.admin_url}/tenants/{name}/budget", headers=ADMINS) as answer:
        return await answer.json()


async def test_a_budget_is_spent_to_its_end_and_not_beyond(rig, http):
    async with FakeTriton() as fake:
        # The fake answers with four tokens in and three out: seven cents.
        know(rig, fake, tenant(**budget("2.00")))
        statuses = []
        for _ in range(40):
            status, told, headers = await ask(http, rig)
            statuses.append(status)
        assert statuses.index(429) > 5
        assert set(statuses[statuses.index(429) :]) == {429}
        assert told["error"]["code"] == "insufficient_quota"
        assert headers["x-should-retry"] == "false"
        assert "2 USD this month" in told["error"]["message"]
        now = await standing(http, rig)
        spent = Decimal(now["spent"])
        assert spent == Decimal("0.07") * statuses.count(200)
        assert spent <= 2
        assert Decimal(now["remaining"]) + spent + Decimal(now["reserved"]) == 2
        # Whoever asks for less may still fit.
        assert "can cost" in told["error"]["message"]
        assert len([row for row in rig.rows() if row.status == 200]) == statuses.count(200)


async def test_the_unmodified_client_does_not_try_again_on_a_spent_budget(rig, http):
    async with FakeTriton() as fake:
        know(rig, fake, tenant(**budget("0.01")))
        client = openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key=rig.key, max_retries=2)
        with pytest.raises(openai.RateLimitError) as refused:
            await client.completions.create(**ASK)
        async with http.get(rig.url + "/metrics") as answer:
            counted = await answer.text()
        assert 'preamar_gateway_requests_total{code="429",model="gpt",tenant="acme"} 1.0' in counted
        assert refused.value.code == "insufficient_quota"
        assert fake.requests == []


async def test_two_hundred_at_once_through_four_gateways_do_not_overspend(
    tmp_path, http, monkeypatch
):
    monkeypatch.setattr(keyring, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(reservations, "TIDY_SECONDS", 0.1)
    monkeypatch.setattr(purses, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(purses, "KNOWN_SECONDS", 0.1)
    async with FakeTriton(pause=0.002) as fake, AsyncExitStack() as stack:
        rigs = [await stack.enter_async_context(running_gateway(tmp_path)) for _ in range(4)]
        key = rigs[0].auth
        await until(lambda: all(rig.gateway.keyring.caller(rigs[0].key) for rig in rigs))
        for rig in rigs:
            know(rig, fake, tenant(**budget("5.00")))
        answers = await asyncio.gather(
            *(ask(http, rigs[at % 4], key, max_tokens=1 + at % 9) for at in range(200))
        )
        assert {status for status, *_ in answers} == {200, 429}
        paid = sum(Decimal(told["usage"]["cost"]) for status, told, _ in answers if status == 200)
        for rig in rigs:
            rig.gateway.home.writer.flush()
        now = await standing(http, rigs[0])
        assert Decimal(now["spent"]) == paid <= 5
        # What nobody uses is free for all again.
        await until(lambda: left(rigs[0]) == 5 * 10**12 - int(paid * 10**12))
        status, *_ = await ask(http, rigs[3], key)
        assert (status == 200) == (5 - paid >= Decimal("0.5"))


def left(rig):
    month = Allowance("acme", "USD", f"{datetime.now(UTC):%Y-%m}", 5 * 10**12)
    return month.most - sum(leases.standing(rig.gateway.engine, month))


async def test_a_chat_without_a_bound_is_covered_by_what_the_model_can_make(rig, http):
    async with FakeTriton() as fake:  # its context is 64 tokens: 64 cents, and the body's bytes
        know(rig, fake, tenant(**budget("0.90")))
        chat = {"model": "gpt", "messages": [{"role": "user", "content": "hi"}]}
        client = openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key=rig.key, max_retries=0)
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(**chat)
        assert fake.requests == []
        answer = await client.chat.completions.create(**chat, max_tokens=3)
        assert answer.usage.completion_tokens == 3


async def test_only_the_answer_costs_and_it_has_no_bound_of_its_own(rig, http):
    async with FakeTriton() as fake:
        rig.gateway.watcher.snapshot.replace("tenants", [tenant(**budget("0.50"))])
        dear = {"perMillionInputTokens": "0", "perMillionOutputTokens": "10000"}
        rig.know([service("gpt", price=dear)], endpoints("gpt", fake.port))
        chat = {"model": "gpt", "messages": [{"role": "user", "content": "hi"}]}
        url = rig.url + "/v1/chat/completions"
        async with http.post(url, json=chat, headers=rig.auth) as answer:
            assert answer.status == 429  # 64 tokens of context are 64 cents
        assert fake.requests == []
        async with http.post(url, json=chat | {"max_tokens": 50}, headers=rig.auth) as answer:
            assert answer.status == 200


async def test_a_stream_whose_caller_leaves_pays_what_was_made(rig, http):
    async with FakeTriton(words=["w "] * 50, pause=0.05) as fake:
        know(rig, fake, tenant(**budget("100.00")))
        async with http.post(
            rig.url + "/v1/completions",
            json=ASK | {"stream": True, "max_tokens": 50},
            headers=rig.auth,
        ) as answer:
            await answer.content.readany()
        await until(lambda: any(row.status == 499 for row in rig.rows()))
        (row,) = rig.rows()
        await until(lambda: not rig.gateway.health.active)
        now = await standing(http, rig)
        cents = row.input_tokens + row.output_tokens
        assert Decimal(now["spent"]) == Decimal(cents) / 100
        assert 0 < cents < 50
        assert all(not each.reserved for each in rig.gateway.reservations._leases.values())


async def test_what_failed_costs_nothing_and_gives_its_reservation_back(rig, http):
    async with FakeTriton() as fake:
        fake.error_after = 0
        know(rig, fake, tenant(**budget("1.00")))
        for _ in range(20):
            status, *_ = await ask(http, rig)
            assert status == 500
        assert (await standing(http, rig))["spent"] == "0"


@pytest.mark.parametrize(
    ("limits", "unit"),
    [({"requestsPerMinute": 5}, "requests"), ({"tokensPerMinute": 40}, "tokens")],
)
async def test_rates_are_kept_and_said(rig, http, limits, unit):
    async with FakeTriton() as fake:
        know(rig, fake, tenant(limits=limits))
        answers = [await ask(http, rig) for _ in range(12)]
        good = [headers for status, _, headers in answers if status == 200]
        (status, told, headers) = answers[-1]
        if time() % 60 > 5:  # within one minute
            assert status == 429
            assert told["error"]["code"] == "rate_limit_exceeded"
            assert 1 <= int(headers["Retry-After"]) <= 60
        assert good[0][f"x-ratelimit-limit-{unit}"] == str(next(iter(limits.values())))
        left = [int(each[f"x-ratelimit-remaining-{unit}"]) for each in good]
        assert left == sorted(left, reverse=True)
        assert good[0][f"x-ratelimit-reset-{unit}"].endswith("s")


async def test_without_the_ledger_money_stands_still_and_rates_let_go(rig, http, monkeypatch):
    async with FakeTriton() as fake:
        know(rig, fake, tenant(limits={"requestsPerMinute": 1000}))

        def away(*_):
            raise OperationalError("x", {}, Exception("the database is away"))

        monkeypatch.setattr(leases, "grant", away)
        assert (await ask(http, rig))[0] == 200
        know(rig, fake, tenant(**budget("5.00")))
        status, told, _ = await ask(http, rig)
        assert (status, told["error"]["code"]) == (503, "ledger_unavailable")
        monkeypatch.undo()
        assert (await ask(http, rig))[0] == 200
        # The ledger answers, but nobody was told for long that this gateway lives.
        monkeypatch.setattr(type(rig.gateway.home), "fresh", False)
        assert (await ask(http, rig))[0] == 503
        rig.know([service("gpt")])  # what is free costs nobody's budget
        assert (await ask(http, rig))[0] == 200


async def test_no_more_requests_at_once_than_allowed(rig, http):
    async with FakeTriton() as fake:
        know(rig, fake, tenant(limits={"concurrent": 2}))
        fake.gate.clear()
        first = [asyncio.create_task(ask(http, rig)) for _ in range(2)]
        await until(lambda: len(fake.requests) == 2)
        status, _, headers = await ask(http, rig)
        assert (status, headers["Retry-After"]) == (429, "1")
        fake.gate.set()
        assert [status for status, *_ in await asyncio.gather(*first)] == [200, 200]
        assert (await ask(http, rig))[0] == 200


async def test_another_currency_or_another_model_is_refused_with_the_reason(rig, http):
    async with FakeTriton() as fake:
        know(rig, fake, tenant(**budget("5", currency="EUR")))
        status, told, _ = await ask(http, rig)
        assert (status, told["error"]["code"]) == (403, "currency_mismatch")
        know(rig, fake, tenant(models=["other"]))
        assert (await ask(http, rig))[0] == 403
        async with http.get(rig.url + "/v1/models", headers=rig.auth) as answer:
            assert (await answer.json())["data"] == []


async def test_a_tenant_that_cannot_be_read_gets_nothing(rig, http):
    async with FakeTriton() as fake:
        know(rig, fake, tenant(budget={"amount": "a lot"}))
        assert (await ask(http, rig))[0] == 429


async def test_a_key_has_a_scope_of_its_own(rig, http):
    scope = {
        "name": "ci",
        "models": ["gpt"],
        "budget": {"currency": "USD", "amount": "2.00", "period": "Prepaid"},
        "limits": {"requests_per_minute": 1000},
    }
    async with FakeTriton() as fake:
        know(rig, fake)
        async with http.post(
            f"{rig.admin_url}/tenants/acme/keys", json=scope, headers=ADMINS
        ) as answer:
            assert answer.status == 201
            made = await answer.json()
        assert {name: made[name] for name in scope} == scope
        auth = {"Authorization": f"Bearer {made['key']}"}
        statuses = [(await ask(http, rig, auth))[0] for _ in range(30)]
        assert statuses[0] == 200
        assert statuses[-1] == 429
        assert (await ask(http, rig))[0] == 200  # the tenant's other keys have none
        rig.know([service("gpt", price=PRICE), service("two", age=2)])
        async with http.get(rig.url + "/v1/models", headers=auth) as answer:
            assert [model["id"] for model in (await answer.json())["data"]] == ["gpt"]
        assert (await ask(http, rig, auth, model="two"))[0] == 403


async def test_a_key_ends_when_its_scope_says_so(rig, http):
    async with FakeTriton() as fake:
        know(rig, fake)
        key, _ = rig.gateway.keyring.create("acme", 1, {"expires_at": int(time()) + 3600})
        late, _ = rig.gateway.keyring.create("acme", 1, {"expires_at": int(time()) - 1})
        assert (await ask(http, rig, {"Authorization": f"Bearer {key}"}))[0] == 200
        status, told, _ = await ask(http, rig, {"Authorization": f"Bearer {late}"})
        assert (status, told["error"]["message"]) == (401, "The API key has expired.")


async def test_a_rotated_key_has_two_secrets_for_as_long_as_was_said(rig, http):
    async with FakeTriton() as fake:
        know(rig, fake)
        old, stored = rig.gateway.keyring.create("acme", 1)
        url = f"{rig.admin_url}/tenants/acme/keys/{stored.id}/rotate"
        async with http.post(url, json={"overlap_seconds": 60}, headers=ADMINS) as answer:
            new = (await answer.json())["key"]
        both = [{"Authorization": f"Bearer {key}"} for key in (old, new)]
        assert [(await ask(http, rig, auth))[0] for auth in both] == [200, 200]
        assert {row.key_id for row in rig.rows()} == {stored.id}
        async with http.post(url, json={"overlap_seconds": 0}, headers=ADMINS) as answer:
            newest = (await answer.json())["key"]
        both.append({"Authorization": f"Bearer {newest}"})
        assert [(await ask(http, rig, auth))[0] for auth in both] == [401, 401, 200]
        async with http.post(url.replace("acme", "beta"), headers=ADMINS) as answer:
            assert answer.status == 404


@pytest.mark.parametrize(
    ("scope", "param"),
    [
        ({"colour": "red"}, "colour"),
        ({"models": "gpt"}, "models"),
        ({"budget": {"amount": 5}}, "budget"),
        ({"budget": {"amount": "5", "period": "Week"}}, "budget"),
        ({"limits": {"concurrent": -1}}, "concurrent"),
        ({"limits": {"speed": 1}}, "limits"),
        ({"expires_at": "tomorrow"}, "expires_at"),
    ],
)
async def test_a_scope_that_cannot_be_understood_makes_no_key(rig, http, scope, param):
    async with http.post(
        f"{rig.admin_url}/tenants/acme/keys", json=scope, headers=ADMINS
    ) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["param"] == param
    assert len(rig.gateway.keyring.of("acme")) == 1


@pytest.mark.parametrize("body", [b"\x0c", b" ", b"\n", b"nonsense"])
async def test_what_is_no_json_makes_no_key_and_nothing_at_all_makes_one(rig, http, body):
    url = f"{rig.admin_url}/tenants/acme/keys"
    for sent, status in ((body, 400), (b"", 201)):
        async with http.post(url, data=sent, headers=ADMINS) as answer:
            assert answer.status == status
    assert len(rig.gateway.keyring.of("acme")) == 2
