"""The gateway finds the pods of a revision on trial by the name that the operator gave them.

Holds: protocol/labels.py, protocol/names.py
"""

from hypothesis import example, given
from hypothesis import strategies as st

from preamar.core.serving.observe import canary_ref, children_named
from preamar.gateway.discovery.resources import addresses_of
from preamar.protocol.labels import SERVICE_LABEL
from preamar.protocol.names import is_canary
from tests.core.builders import a_service
from tests.hunting import examples

NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", fullmatch=True).flatmap(
    lambda name: st.sampled_from((name, f"{name[:43]}-canary", f"{name[:36]}-canary-canary"))
)
HASHES = st.text("bcdfghjklmnpqrstvwxz2456789", min_size=1, max_size=10)


def pod_of(deployment, template, random):
    """As the controllers of Kubernetes name one: of what comes before five random characters they
    keep 58."""
    return f"{deployment}-{template}-"[:58] + random


@examples(check=300, hunt=20_000)
@given(NAMES, HASHES, st.text("bcdfghjklmnpqrstvwxz2456789", min_size=5, max_size=5))
@example("foo-canary", "6d5f", "x2k9p")
@example("canary", "6d5f", "x2k9p")
@example("a" * 50, "6d5f789bcd", "x2k9p")
@example("a" * 43 + "-canary", "6d5f789bcd", "x2k9p")
def test_the_gateway_knows_the_pods_of_both_deployments_apart(name, template, random):
    service = a_service(name)
    serving = children_named(service)[0].name
    for deployment, tried in ((serving, False), (canary_ref(service).name, True)):
        pod = pod_of(deployment, template, random)
        assert is_canary(pod, name) == tried
        (address,) = addresses_of(
            {
                "metadata": {"labels": {SERVICE_LABEL: name}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"name": pod}}],
            }
        )
        assert address.canary == tried


def test_a_service_called_foo_canary_is_not_on_trial_of_foo():
    """Its Deployments have other names than foo's, and its own pods are no canaries of itself."""
    named = {
        ref.name
        for service in ("foo", "foo-canary")
        for ref in children_named(a_service(service, rollout={"strategy": "Canary"}))
        if ref.kind == "Deployment"
    }
    assert named == {"foo-serve", "foo-canary", "foo-canary-serve", "foo-canary-canary"}
    assert not is_canary("foo-canary-serve-6d5f-x2k9p", "foo-canary")
    assert is_canary("foo-canary-canary-6d5f-x2k9p", "foo-canary")
