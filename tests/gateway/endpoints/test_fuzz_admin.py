"""The admin API against its own description: whatever that allows, and much of what it does not.

Holds: gateway/endpoints/admin.py, gateway/endpoints/usage.py
"""

import asyncio
import json
import threading

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from preamar.gateway.endpoints.admin import described
from tests.gateway.conftest import ADMIN, running_gateway, service
from tests.hunting import examples

PATIENCE_SECONDS = 60
ADMINS = {"Authorization": f"Bearer {ADMIN}"}

schema = schemathesis.openapi.from_dict(json.loads(described()))


@pytest.fixture(scope="module")
def admin(tmp_path_factory):
    """A gateway in a thread of its own, because the fuzzer's calls block."""
    ready, done = threading.Event(), asyncio.Event()
    place = {}

    async def serve():
        async with running_gateway(tmp_path_factory.mktemp("admin")) as rig:
            rig.know([service("gpt")], [])
            tenant = {"metadata": {"name": "acme"}, "spec": {"budget": {"amount": "5.00"}}}
            rig.gateway.watcher.snapshot.replace("tenants", [tenant])
            rig.know()
            place.update(url=rig.admin_url, loop=asyncio.get_running_loop(), rig=rig)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(120)
    yield place
    place["loop"].call_soon_threadsafe(done.set)
    thread.join(120)


@schema.parametrize()
@examples(check=12, hunt=300, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_described_and_none_is_a_failure(case, admin):
    # That a period ends after it begins, and has not too many buckets, no schema can say; and in an
    # address everything is text, so that nothing is of the wrong type.
    reports = [positive_data_acceptance, negative_data_rejection]
    unsaid = reports if "/organization/" in case.path else []
    case.call_and_validate(
        base_url=admin["url"], headers=ADMINS, timeout=PATIENCE_SECONDS, excluded_checks=unsaid
    )


def test_the_description_names_every_route_and_each_asks_for_the_key(admin):
    told = requests.get(
        f"{admin['url']}/openapi.json", headers=ADMINS, timeout=PATIENCE_SECONDS
    ).json()
    assert told == json.loads(described())
    methods = {(path, method) for path, item in told["paths"].items() for method in item
               if method != "parameters"}  # fmt: skip
    routes = admin["rig"].gateway.admin_routes
    assert len(methods) == sum(len(of) for _, of, _ in routes)
    for path, method in methods:
        url = admin["url"] + path.format(
            tenant="acme", key="12345678", month="2026-01", kind="completions"
        )
        for headers in ({}, {"Authorization": "Bearer nonsense"}):
            answer = requests.request(method, url, headers=headers, timeout=PATIENCE_SECONDS)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
