"""Money on the real cluster: a tenant's budget and status, and the ledger against what Triton counted."""

import json
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from uuid import uuid4

import pytest
from openai import OpenAI, RateLimitError

from e2e.clients.models import STORY
from e2e.cluster import Cluster
from e2e.demo.calls import client
from e2e.journeys.watching import moving
from e2e.kube import OURS, Json, Kube, condition, until

COUNT, COST = 24, "0.024"
pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture
def tenant(kube: Kube) -> Iterator[str]:
    """A tenant who can pay for two texts."""
    name = f"spender-{uuid4().hex[:6]}"
    budget = {"currency": "USD", "amount": "0.06", "period": "Month"}
    made = {"apiVersion": OURS, "kind": "Tenant", "metadata": {"name": name}}
    kube.apply(made | {"spec": {"budget": budget}})
    yield name
    kube.delete(OURS, "Tenant", name)


def caller(here: Cluster, tenant: str) -> OpenAI:
    """The client with a new key of the tenant."""
    request = urllib.request.Request(
        f"{here.admin_url}/tenants/{tenant}/keys",
        data=b"{}",
        headers={"Authorization": f"Bearer {here.admin_key()}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        key = json.load(answer)["key"]
    return OpenAI(base_url=f"{here.gateway_url}/v1", api_key=key, max_retries=3)


def test_a_tenant_spends_its_budget_and_its_status_says_so(
    here: Cluster, kube: Kube, tenant: str
) -> None:
    calls = caller(here, tenant)

    def known() -> bool:
        """The gateway has heard of the tenant once its answers say what may be spent."""
        request = urllib.request.Request(
            f"{here.admin_url}/tenants/{tenant}/budget",
            headers={"Authorization": f"Bearer {here.admin_key()}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["amount"] is not None

    until("the gateway knows the tenant", 30, known)
    wish = {"model": STORY, "prompt": "High tide", "max_tokens": COUNT, "temperature": 0}
    for _ in range(2):
        assert calls.completions.create(**wish).usage.cost == COST
    with pytest.raises(RateLimitError) as refused:
        calls.completions.create(**wish)
    assert refused.value.code == "insufficient_quota"

    def told() -> Json | None:
        status = (kube.get(OURS, "Tenant", tenant, None) or {}).get("status") or {}
        return status if status.get("spent") == "0.048" else None

    status = until("its status has what it spent", 90, told)
    parts = [Decimal(status[name]) for name in ("spent", "reserved", "remaining")]
    assert sum(parts) == Decimal("0.06")
    row = kube.row(OURS, "Tenant", tenant, None)
    assert (row["Spent"], row["Reason"]) == ("0.048", "Open")


def test_the_ledger_and_the_model_server_agree(here: Cluster, kube: Kube, namespace: str) -> None:
    def judged() -> Json | None:
        # What is compared has to be of a time in which something was asked.
        client(here).completions.create(
            model=STORY, prompt="High tide", max_tokens=COUNT, temperature=0
        )
        service = kube.get(OURS, "InferenceService", STORY, namespace)
        return condition(service, "MeteringDrift") or None

    found = until("the two were compared", 180, judged, every=2.0, progress=moving(kube, namespace))
    assert (found["status"], found["reason"]) == ("False", "Agreed")
