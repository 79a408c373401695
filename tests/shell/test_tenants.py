"""The operator against a real API server: what gateways say of money becomes a Tenant's status, and a
disagreement of ledger and model servers a condition of its service.

Holds: shell/kinds/tenants.py
"""

import uuid
from typing import Any

import aiohttp
import pytest

from preamar.cluster.call import MERGE, call
from preamar.cluster.kinds import collection, location
from preamar.core.plan import Ref
from tests.shell.test_operator import GROUP, SERVICE, Place, audited, place

pytestmark = pytest.mark.apiserver
__all__ = ["audited", "place"]


async def told(place: Place, tenants: Any = None, services: Any = None) -> int:
    body = {"gateway": "g", "tenants": tenants or {}, "services": services or {}}
    url = f"http://127.0.0.1:{place.demand}/accounts"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=body, headers={"Authorization": "Bearer key"}) as answer,
    ):
        return answer.status


class Money:
    """A Tenant of its own, which no other test has."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.name = f"acme-{uuid.uuid4().hex[:6]}"
        self.ref = Ref(GROUP, "Tenant", "", self.name)

    async def make(self, spec: Any) -> None:
        body = {
            "apiVersion": GROUP,
            "kind": "Tenant",
            "metadata": {"name": self.name},
            "spec": spec,
        }
        await call(self.place.client, "POST", collection(GROUP, "tenants"), body=body)

    async def tell(self, spent: str, reserved: str, remaining: str) -> None:
        account = {"currency": "USD", "period": "2026-11", "spent": spent, "reserved": reserved,
                   "remaining": remaining}  # fmt: skip
        assert await told(self.place, {self.name: account}) == 204

    async def status(self) -> dict[str, Any]:
        body = await call(self.place.client, "GET", location(self.ref))
        return body.get("status") or {}

    async def until(self, reason: str) -> dict[str, Any]:
        async def so() -> dict[str, Any] | None:
            status = await self.status()
            reasons = [c["reason"] for c in status.get("conditions") or ()]
            return status if reasons == [reason] else None

        return await self.place.until(f"{self.name} is {reason}", so)


async def test_a_tenant_shows_what_it_has_spent_and_whether_it_may_go_on(place: Place) -> None:
    money = Money(place)
    async with place.operator():
        await money.make({"budget": {"amount": "100"}})
        assert "spent" not in await money.until("NotReported")
        await money.tell("12.5", "0.4", "87.1")
        status = await money.until("Open")
        assert (status["spent"], status["reserved"], status["remaining"]) == ("12.5", "0.4", "87.1")
        await money.tell("99.9", "0.1", "0")
        status = await money.until("BudgetSpent")
        assert status["conditions"][0]["status"] == "False"
        await call(
            place.client, "PATCH", location(money.ref), content_type=MERGE,
            body={"spec": {"budget": {"amount": "200"}}},
        )  # fmt: skip
        await money.tell("99.9", "0.1", "100")
        status = await money.until("Open")
        assert status["observedGeneration"] == 2
        await call(place.client, "DELETE", location(money.ref))


async def test_what_was_known_of_a_tenant_outlives_the_operator(place: Place) -> None:
    money = Money(place)
    async with place.operator():
        await money.make({"budget": {"amount": "100"}})
        await money.until("NotReported")
        await money.tell("100", "0", "0")
        before = await money.until("BudgetSpent")
    async with place.operator():
        await place.make("InferenceService", "minilm", SERVICE)
        await place.condition("InferenceService", "minilm", "Ready")
        assert await money.status() == before
        await call(place.client, "DELETE", location(money.ref))


async def test_a_disagreement_is_a_condition_of_the_service(place: Place) -> None:
    name = f"{place.namespace}/minilm"
    drift = {"unit": "tokens", "ledger": 9000, "engine": 12000, "ratio": "-0.250000",
             "since": 1795780000, "until": 1795783600}  # fmt: skip
    async with place.operator():
        await place.make("InferenceService", "minilm", SERVICE)
        await place.condition("InferenceService", "minilm", "Ready")
        assert await told(place, services={name: drift}) == 204
        found = await place.condition("InferenceService", "minilm", "MeteringDrift")
        assert (found["status"], found["reason"]) == ("True", "ChargedTooLittle")
        assert "9,000 tokens" in found["message"]
        assert "25.0%" in found["message"]
        assert await told(place, services={name: drift | {"ratio": "0.000000"}}) == 204

        async def agrees() -> bool:
            now = await place.condition("InferenceService", "minilm", "MeteringDrift")
            return now["status"] == "False"

        await place.until("they agree", agrees)
