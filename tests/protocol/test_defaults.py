"""The gateway takes a resource that leaves fields out as it takes the same one with these filled in, as
the API server does it by the models' defaults.

Holds: protocol/defaults.py, gateway/limits/limits.py, gateway/discovery/resources.py
"""

from hypothesis import given
from hypothesis import strategies as st

from preamar.api.inference import InferenceService
from preamar.api.tenant import Tenant
from preamar.gateway.discovery.resources import model_of
from preamar.gateway.limits.limits import of_tenant
from tests.hunting import examples

METADATA = {
    "name": "m", "namespace": "demo", "uid": "u", "generation": 1,
    "creationTimestamp": "2026-11-01T00:00:00Z",
}  # fmt: skip
MONEY = st.sampled_from(("0.40", "3"))


def service(**spec):
    spec["model"] = {"uri": "pvc://models/m"} | spec.get("model", {})
    return {"metadata": METADATA, "spec": spec}


def given_or_not(**fields):
    """Objects that have some of these fields, or none."""
    return st.fixed_dictionaries({}, optional=fields)


SPECS = given_or_not(
    model=given_or_not(
        name=st.just("chat"), task=st.sampled_from(("Infer", "Embed", "Generate", "Rank"))
    ),
    runtime=given_or_not(
        instances=st.integers(1, 3),
        batching=given_or_not(
            maxBatchSize=st.integers(1, 16), maxDelayMicroseconds=st.integers(0, 9)
        ),
    ),
    accelerator=given_or_not(count=st.integers(1, 4)),
    parallelism=given_or_not(nodes=st.integers(1, 3)),
    scaling=given_or_not(
        target=given_or_not(
            signal=st.sampled_from(("InFlight", "QueueSeconds")),
            value=st.sampled_from(("2", "0.5", "40")),
        )
    ),
    hold=given_or_not(maxRequests=st.integers(0, 500), maxSeconds=st.integers(0, 500)),
    price=given_or_not(
        currency=st.sampled_from(("USD", "EUR")),
        perMillionInputTokens=MONEY, perMillionOutputTokens=MONEY,
        perRequest=MONEY, perAcceleratorSecond=MONEY,
    ),
    access=given_or_not(mode=st.sampled_from(("Everyone", "Listed"))),
)  # fmt: skip


def filled_in(kind, body):
    """As the API server stores it."""
    spec = kind.model_validate(body).model_dump(by_alias=True, mode="json", exclude_none=True)
    return body | {"spec": spec["spec"]}


def test_what_is_left_out_is_what_the_models_say():
    # Each shows a default that the others hide behind a larger number.
    for spec in (
        {},
        {"runtime": {"batching": {"maxBatchSize": 1}}},
        {"runtime": {"batching": {"maxBatchSize": 64}, "instances": 2}},
        {"scaling": {"target": {"value": "40"}}},
        {"scaling": {"target": {"signal": "QueueSeconds"}}},
        {"price": {"perRequest": "1"}},
        {"accelerator": {"count": 2}},
        {"parallelism": {"nodes": 2}},
    ):
        body = service(**spec)
        assert model_of(body) == model_of(filled_in(InferenceService, body)) != None  # noqa: E711


@examples(check=150, hunt=5000)
@given(SPECS)
def test_a_service_that_leaves_fields_out_is_what_the_api_server_makes_of_it(spec):
    body = service(**spec)
    found = model_of(body)
    assert found is not None
    assert found == model_of(filled_in(InferenceService, body))


@examples(check=100, hunt=3000)
@given(
    given_or_not(
        priority=st.integers(-5, 5),
        budget=st.fixed_dictionaries(
            {"amount": MONEY},
            optional={
                "currency": st.sampled_from(("USD", "EUR")),
                "period": st.sampled_from(("Month", "Prepaid")),
            },
        ),
        limits=given_or_not(concurrent=st.integers(0, 9)),
        models=st.just(["chat"]),
    )
)
def test_a_tenant_that_leaves_fields_out_is_what_the_api_server_makes_of_it(spec):
    body = {"metadata": {"name": "acme"}, "spec": spec}
    assert of_tenant(body) == of_tenant(filled_in(Tenant, body))


def test_a_service_of_a_newer_version_is_still_read():
    body = service(hold={"newWord": 1}, scaling={"target": {"newer": True}}, later={"a": []})
    assert model_of(body) == model_of(service())
