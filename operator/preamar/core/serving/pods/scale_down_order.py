"""Which replicas go when there are to be fewer, and how is Kubernetes told?

Those with the least left to do: fewest output tokens, then fewest requests, then the youngest. No
more are marked than must be, and none where Kubernetes would lose as little by itself.

Kubernetes takes pods that are not up first, whatever we say; among equals it goes by the annotation
``controller.kubernetes.io/pod-deletion-cost``, lowest first. Marks are below the cost of every pod that
stays, so a mark that an earlier shrink left behind never decides a later one, and none has to be
taken back.
"""

from collections.abc import Mapping, Sequence

from preamar.core.plan import Mark, Ref
from preamar.core.pods import PodView
from preamar.protocol.demand import Carried

COST = "controller.kubernetes.io/pod-deletion-cost"
LOWEST = -(2**31)
NOTHING = Carried()
Load = Mapping[str, Carried]


def victims(pods: Sequence[PodView], carried: Load, how_many: int) -> tuple[PodView, ...]:
    """The pods that should go, the first to go first. ``carried``: by a pod's address."""

    def rank(pod: PodView) -> tuple[int, int, int, float, str]:
        load = carried.get(pod.ip, NOTHING)
        born = pod.created.timestamp() if pod.created else 0.0
        return (_standing(pod), load.tokens_left, load.running, -born, pod.name)

    return tuple(sorted(_here(pods), key=rank)[: max(how_many, 0)])


def marks(
    namespace: str, pods: Sequence[PodView], carried: Load, replicas: int
) -> tuple[Mark, ...]:
    """What to write on which pods before a size of ``replicas`` is asked for."""
    going = victims(pods, carried, len(_here(pods)) - replicas)
    staying = [pod for pod in _here(pods) if pod not in going]
    if not any(
        _load(keep, carried) > _load(gone, carried) and not _before(gone, keep)
        for gone in going
        for keep in staying
    ):
        return ()
    lowest: dict[int, int] = {}
    for keep in staying:
        standing = _standing(keep)
        lowest[standing] = min(lowest.get(standing, 0), cost_of(keep))
    found = []
    # Each below the next, so that the first goes first should fewer go than we count: in a
    # roll-out the old pods and the new ones are two sets, which shrink apart.
    for gone in reversed(going):
        standing, cost = _standing(gone), cost_of(gone)
        if standing not in lowest:
            continue
        if cost >= lowest[standing]:
            cost = max(lowest[standing] - 1, LOWEST)
            ref = Ref("v1", "Pod", namespace, gone.name)
            found.append(Mark(ref, gone.uid, COST, str(cost)))
        lowest[standing] = cost
    return tuple(reversed(found))


def cost_of(pod: PodView) -> int:
    """As Kubernetes reads it: what is not there, or is no number, is 0."""
    try:
        return int(pod.annotations.get(COST, "0"))
    except ValueError:
        return 0


def _here(pods: Sequence[PodView]) -> list[PodView]:
    """Those that count towards the size; one that is being deleted has gone already."""
    return [pod for pod in pods if not pod.deleting and not pod.over]


def _load(pod: PodView, carried: Load) -> tuple[int, int]:
    load = carried.get(pod.ip, NOTHING)
    return load.tokens_left, load.running


def _before(one: PodView, other: PodView) -> bool:
    """Whether Kubernetes is certain to take the one first. Its further rules (pods that share a
    node, time of readiness in rough steps, restarts) are not ours to guess."""
    return (_standing(one), cost_of(one)) < (_standing(other), cost_of(other))


def _standing(pod: PodView) -> int:
    """How far it has come, as Kubernetes compares pods before it looks at their cost:
    https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#pod-deletion-cost"""
    if pod.ready:
        return 4
    if not pod.node:
        return 0
    return {"Pending": 1, "Unknown": 2}.get(pod.phase, 3)
