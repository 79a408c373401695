"""Which workers must be made for the leaders that there are, and which replicas begin anew?

Each leader gets the workers of its own revision and batch. A replica whose worker is on a machine that
nobody hears of begins anew as a whole: a StatefulSet does not replace a pod that may still run, but a
new leader has workers of other names.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from preamar.core.due import due
from preamar.core.plan import Delete, Manifest, Ref
from preamar.core.pods import PodView
from preamar.core.serving.desired import revision_of, with_batch
from preamar.core.serving.group import grouped, members_of, workers, workers_ref
from preamar.core.serving.material import claim_of
from preamar.core.serving.observe import GROUP_LABEL, REVISION, Observed, batch_of
from preamar.core.serving.pod import pod_spec

LOST_AFTER = timedelta(seconds=30)
"""After its grace period: a kubelet that is heard of needs no longer to end what must end."""


def made(of: Observed, leaders: Iterable[PodView]) -> tuple[Manifest, ...]:
    """The workers that must be sent now for those of the leaders that are of ``of``'s revision."""
    service = of.service
    if not grouped(service):
        return ()
    claim, revision = claim_of(of), revision_of(service)
    found: list[Manifest] = []
    for leader in leaders:
        if leader.deleting or leader.over or leader.labels.get(REVISION) != revision:
            continue
        batch = batch_of(leader.labels) or service.spec.runtime.batching.max_batch_size
        pod = pod_spec(with_batch(service, batch), of.settings, claim)
        wanted = workers(pod, service, of.settings, leader)
        # The leader owns them, so that it is its UID that says whether they are ours.
        found += due((wanted,), leader.uid, of.children, of.applied, of.refused)
    return tuple(found)


def ended(observed: Observed) -> tuple[Delete, ...]:
    """Leaders whose replica must begin anew, and workers whose leader is lost."""
    namespace = observed.service.metadata.namespace or ""
    found = []
    for leader in (*observed.pods, *observed.canaries):
        if _lost(leader, observed.now):
            ref = workers_ref(observed.service, leader.uid)
            child = observed.children.get(ref)
            if child is not None and child.owner == leader.uid and not child.deleting:
                found.append(Delete(ref, child.uid))
        elif not leader.deleting and any(
            _lost(pod, observed.now) for pod in members_of(leader, observed.workers)
        ):
            found.append(Delete(Ref("v1", "Pod", namespace, leader.name), leader.uid))
    return tuple(found)


def current_workers(observed: Observed, batch: int) -> tuple[PodView, ...]:
    """The workers of the present revision and batch."""
    revision = revision_of(observed.service)
    asked = observed.service.spec.runtime.batching.max_batch_size
    return tuple(
        pod
        for pod in observed.workers
        if GROUP_LABEL in pod.labels
        and pod.labels.get(REVISION) == revision
        and (batch_of(pod.labels) or asked) == batch
    )


def _lost(pod: PodView, now: datetime) -> bool:
    return pod.delete_by is not None and now > pod.delete_by + LOST_AFTER
