"""Which replicas go, and what is written so that Kubernetes takes those.

Holds: core/serving/pods/scale_down_order.py
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.core.objects import Child
from preamar.core.plan import Applied, Mark, Plan, Ref, digest_of
from preamar.core.serving.observe import DeploymentView, children_named
from preamar.core.serving.pods.scale_down_order import COST, LOWEST, marks, victims
from preamar.core.serving.reconcile import reconcile
from preamar.protocol.demand import Carried, Demand
from tests.core.builders import a_pod, a_service, later, seen

SERVICE = a_service(replicas=1, scaling={"mode": "External"})


def up(name, *, cost=None, **more):
    """A ready pod whose address is its name."""
    annotations = {} if cost is None else {COST: str(cost)}
    facts = {"ready": True, "node": "n", "phase": "Running", "annotations": annotations} | more
    return a_pod(SERVICE, name=name, ip=name, **facts)


def names(pods):
    return [pod.name for pod in pods]


def written(found):
    return {mark.ref.name: int(mark.value) for mark in found}


@pytest.mark.parametrize(
    ("pods", "carried", "going"),
    [
        pytest.param(
            (up("a"), up("b"), up("c")),
            {"a": Carried(1, 50), "b": Carried(9, 10), "c": Carried(1, 900)},
            ["b", "a"],
            id="the fewest tokens go first, however many requests they belong to",
        ),
        pytest.param(
            (up("a"), up("b"), up("c")),
            {"a": Carried(3, 0), "b": Carried(1, 0), "c": Carried(2, 0)},
            ["b", "c"],
            id="of equal tokens the fewest requests",
        ),
        pytest.param(
            (up("a", created=later(-9)), up("b", created=later(-5)), up("c", created=later(-7))),
            {},
            ["b", "c"],
            id="of equal work the youngest",
        ),
        pytest.param(
            (up("a"), up("b", ready=False), up("c", ready=False, node="", phase="Pending")),
            {"b": Carried(1, 70)},
            ["c", "b"],
            id="what is not up goes before what is, as Kubernetes has it",
        ),
        pytest.param(
            (up("a", deleting=True), up("b"), up("c", phase="Failed")),
            {"b": Carried(1, 70)},
            ["b"],
            id="what has gone already is not counted",
        ),
    ],
)
def test_those_with_the_least_to_do_go_first(pods, carried, going):
    assert names(victims(pods, carried, 2)) == going
    assert victims(pods, carried, 0) == victims(pods, carried, -3) == ()


def test_a_mark_names_the_very_pod():
    found = marks("demo", (up("a"), up("b")), {"a": Carried(1, 9)}, 1)
    assert found == (Mark(Ref("v1", "Pod", "demo", "b"), "b", COST, "-1"),)


@pytest.mark.parametrize(
    ("pods", "carried", "replicas"),
    [
        pytest.param((up("a"), up("b")), {}, 1, id="nobody carries anything"),
        pytest.param((up("a"), up("b")), {"a": Carried(1, 9), "b": Carried(1, 9)}, 1, id="equals"),
        pytest.param((up("a"), up("b")), {"a": Carried(1, 9)}, 0, id="all of them go"),
        pytest.param((up("a"), up("b")), {"a": Carried(1, 9)}, 2, id="none goes"),
        pytest.param((up("a"), up("b", ready=False)), {"a": Carried(1, 9)}, 1, id="not up"),
        pytest.param((up("a"), up("b", cost=-4)), {"a": Carried(1, 9)}, 1, id="marked already"),
    ],
)
def test_nothing_is_written_where_kubernetes_would_lose_as_little(pods, carried, replicas):
    assert marks("demo", pods, carried, replicas) == ()


def test_what_an_earlier_shrink_marked_and_left_does_not_go_for_that():
    pods = (up("old", cost=-1), up("b"), up("c"))
    carried = {"old": Carried(1, 900), "b": Carried(1, 5), "c": Carried(1, 7)}
    assert written(marks("demo", pods, carried, 1)) == {"b": -3, "c": -2}
    assert written(marks("demo", pods, carried, 2)) == {"b": -2}


def test_costs_stay_within_what_kubernetes_reads():
    pods = (up("a", cost=LOWEST), up("b", cost="rubbish"))
    assert written(marks("demo", pods, {"a": Carried(1, 9)}, 1)) == {"b": LOWEST}


PODS = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from([0, 0, 0, -1, -2, 7]),
        st.integers(0, 3),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=7,
)


@given(PODS, st.integers(0, 7), st.randoms(use_true_random=False))
def test_whatever_kubernetes_does_among_equals_the_least_work_is_lost(drawn, replicas, chance):
    """The judge is Kubernetes' own order with its finer rules drawn by lot."""
    pods = [up(f"p{at}", ready=ready, cost=cost) for at, (ready, cost, _, _) in enumerate(drawn)]
    carried = {f"p{at}": Carried(running, left) for at, (_, _, running, left) in enumerate(drawn)}
    found = marks("demo", pods, carried, replicas)
    costs = {pod.name: int(pod.annotations[COST]) for pod in pods} | written(found)
    lot = {pod.name: chance.random() for pod in pods}
    order = sorted(pods, key=lambda p: (p.ready, costs[p.name], lot[p.name]))
    gone = order[: max(len(pods) - replicas, 0)]
    kept = [pod for pod in pods if pod not in gone]

    def load(pod):
        return carried[pod.name].tokens_left, carried[pod.name].running

    for one in gone:
        assert all(load(one) <= load(other) for other in kept if one.ready == other.ready)
    if found:
        again = [up(p.name, ready=p.ready, cost=costs[p.name]) for p in pods]
        assert marks("demo", again, carried, replicas) == (), "a plan carried out leaves nothing"


REF = children_named(SERVICE)[0]
BUSY = Demand(2, pods={"a": Carried(1, 90), "b": Carried(1, 5), "c": Carried(1, 50)})


def shrinking(service, wanted=3, demand=BUSY, **more):
    facts = {
        "children": {REF: Child("d", "1", "uid-m")},
        "deployment": DeploymentView("d", "1", wanted=wanted),
        "pods": (up("a"), up("b"), up("c")),
        "applied": {REF: Applied("of three", "1")},
        "demand": demand,
    }
    return reconcile(seen(service, **facts | more))


@pytest.mark.parametrize("mode", ["External", "Fixed", "Managed"])
def test_victims_are_marked_in_the_plan_that_makes_the_deployment_smaller(mode):
    service = a_service(replicas=1, scaling={"mode": mode})
    plan = shrinking(service)
    assert written(plan.marks) == {"b": -2, "c": -1}
    assert [m["spec"]["replicas"] for m in plan.apply if m["kind"] == "Deployment"] == [1]
    assert not plan.empty


@pytest.mark.parametrize("wanted", [1, 0])
def test_a_plan_that_does_not_shrink_marks_nobody(wanted):
    assert shrinking(SERVICE, wanted=wanted).marks == ()


def test_reports_alone_mark_nobody():
    plan = shrinking(SERVICE)
    (deployment,) = (m for m in plan.apply if m["kind"] == "Deployment")
    same = {REF: Applied(digest_of(deployment), "1")}
    for left in (1, 2, 900):
        demand = Demand(3, pods=BUSY.pods | {"a": Carried(1, left)})
        assert shrinking(SERVICE, wanted=1, demand=demand, applied=same).marks == ()


def test_a_plan_of_marks_alone_is_not_empty():
    assert not Plan(marks=(Mark(REF, "u", COST, "-1"),)).empty
