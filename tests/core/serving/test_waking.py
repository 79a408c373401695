"""The size that is written at once, and when that is left to a whole pass.

Holds: core/serving/waking.py
"""

from datetime import timedelta

import pytest

from preamar.core.plan import Plan
from preamar.core.serving.pods.desired import revision_of
from preamar.core.serving.reconcile import reconcile
from preamar.core.serving.waking import wake
from preamar.protocol.demand import Demand
from tests.core.builders import NOW, a_service, seen

ONE = Demand(in_flight=1, at_least=1, queued=1)
MANY = Demand(in_flight=90, at_least=90, queued=90)


def asleep(*, stalled: str = "False", loaded: bool = True, deleting: bool = False, **spec):
    conditions = [
        {
            "type": "Stalled",
            "status": stalled,
            "reason": "Progressing",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ]
    spec = {"replicas": 0, "scaling": {"max": 4}, **spec}
    revision = revision_of(a_service(**spec)) if loaded else "other"
    status = {"observedGeneration": 3, "conditions": conditions, "revision": revision}
    meta = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleting else None
    return a_service(status=status, meta=meta, **spec)


@pytest.mark.parametrize(("demand", "size"), [(ONE, 1), (MANY, 4)])
def test_a_first_request_wakes_it_at_the_size_of_the_queue(demand: Demand, size: int) -> None:
    plan = wake(seen(asleep(), demand=demand))
    assert plan.scale is not None
    assert (plan.scale.replicas, plan.scale.version) == (size, "7")
    assert [event.reason for event in plan.events] == ["DemandMet" if size < 4 else "AtMaxReplicas"]
    assert plan == Plan(scale=plan.scale, events=plan.events)


@pytest.mark.parametrize("demand", [ONE, MANY, Demand(None, 3, 3), Demand(2, 2, 1)])
@pytest.mark.parametrize("signal", ["InFlight", "QueueSeconds", "FirstTokenSeconds"])
def test_a_whole_pass_comes_to_the_same_size(demand: Demand, signal: str) -> None:
    service = asleep(scaling={"max": 4, "target": {"signal": signal, "value": "3"}})
    for later in (0, 3600):
        observed = seen(service, demand=demand, now=NOW + timedelta(seconds=later))
        assert wake(observed).scale == reconcile(observed).scale
        assert wake(observed).scale is not None


@pytest.mark.parametrize(
    "service",
    [
        asleep(replicas=1),
        asleep(stalled="True"),
        asleep(loaded=False),
        asleep(deleting=True),
        asleep(scaling={"mode": "External", "max": 4}),
        asleep(scaling={"mode": "Fixed", "max": 4}),
        a_service(replicas=0),
    ],
    ids=["awake", "stalled", "never loaded", "deleting", "External", "Fixed", "new"],
)
def test_what_is_not_a_plain_case_is_left_to_a_whole_pass(service) -> None:
    assert wake(seen(service, demand=MANY)) == Plan()


def test_without_anybody_waiting_nothing_is_written() -> None:
    assert wake(seen(asleep(), demand=Demand(0, 0, 0))) == Plan()
    assert wake(seen(asleep(), demand=Demand(None, 0, 0))) == Plan()
