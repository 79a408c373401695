"""One name, one owner: operator and gateway say the same of services that claim a model's name.

Holds: protocol/ownership.py, core/serving/blocks.py, gateway/discovery/catalog.py,
shell/kinds/serving.py
"""

from hypothesis import given
from hypothesis import strategies as st

from preamar.api.inference import InferenceService
from preamar.core.serving.blocks import ServingBlock, blocked
from preamar.core.serving.facts import facts_of
from preamar.core.serving.observe import Observed
from preamar.gateway.discovery import catalog
from preamar.shell.kinds.serving import Claimed
from preamar.shell.watching.keys import Key
from tests.core.builders import NOW
from tests.hunting import examples


def claim(namespace, name, uid, seconds=0, model="chat"):
    """A service as the API server gives it; times have whole seconds."""
    return {
        "metadata": {
            "namespace": namespace, "name": name, "uid": uid, "generation": 1,
            "creationTimestamp": f"2026-11-01T00:00:{seconds:02d}Z",
        },
        "spec": {"model": {"uri": "pvc://models/m"} | ({"name": model} if model else {})},
    }  # fmt: skip


def of_gateway(bodies):
    """Whom the gateway routes each name to."""
    heard = catalog.Snapshot()
    heard.replace("services", bodies)
    return {name: model.service for name, model in catalog.models(heard).items()}


def of_operator(bodies):
    """Which services the operator lets have their name."""
    claimed = Claimed({})
    for body in bodies:
        meta = body["metadata"]
        claimed.note(Key("InferenceService", meta["namespace"], meta["name"]), body, True)
    owners = {}
    for body in bodies:
        meta = body["metadata"]
        service = InferenceService.model_validate(body)
        found = blocked(facts_of(Observed(service, NOW, rivals=claimed.rivals(service))))
        if found is None or found.reason != ServingBlock.NAME_TAKEN:
            assert service.model_name not in owners, "two have one name"
            owners[service.model_name] = f"{meta['namespace']}/{meta['name']}"
    return owners


def test_of_two_that_are_equally_old_the_first_by_namespace_and_name_has_the_name():
    for first, second in (("1", "2"), ("2", "1")):
        pair = [claim("team-b", "chat-a", first), claim("team-a", "chat-b", second)]
        assert of_operator(pair) == {"chat": "team-a/chat-b"}
        assert of_gateway(pair) == {"chat": "team-a/chat-b"}
        pair = [claim("team", "chat-b", first), claim("team", "chat-a", second)]
        assert of_operator(pair) == {"chat": "team/chat-a"}
        assert of_gateway(pair) == {"chat": "team/chat-a"}


def test_an_older_one_has_it_whatever_it_is_called():
    pair = [claim("a", "a", "1", seconds=1), claim("b", "b", "2", seconds=0)]
    assert of_operator(pair) == of_gateway(pair) == {"chat": "b/b"}


CLAIMS = st.lists(
    st.tuples(
        st.sampled_from(("a", "b", "a-b")),
        st.sampled_from(("chat", "net", "x", "x-canary")),
        st.integers(0, 2),
        st.sampled_from((None, "chat", "net")),
    ),
    unique_by=lambda one: one[:2],
    max_size=6,
)


@examples(check=60, hunt=3000)
@given(CLAIMS, st.randoms())
def test_both_choose_the_same_owner_of_every_name(drawn, random):
    uids = [f"{n}" for n in range(len(drawn))]
    random.shuffle(uids)
    bodies = [claim(*one[:2], uid, *one[2:]) for one, uid in zip(drawn, uids, strict=True)]
    assert of_operator(bodies) == of_gateway(bodies)
