"""Which workers must be made for the leaders that there are?

Each leader gets the workers of its own revision and batch, and Kubernetes removes them with it.
"""

from collections.abc import Iterable

from preamar.core.needs_apply import due
from preamar.core.plan import Manifest
from preamar.core.pods import PodView
from preamar.core.serving.facts import Facts
from preamar.core.serving.observe import batch_of
from preamar.core.serving.pods.group import workers
from preamar.core.serving.pods.pod import pod_spec
from preamar.protocol.labels import GROUP_LABEL, REVISION


def made(facts: Facts, leaders: Iterable[PodView]) -> tuple[Manifest, ...]:
    """The workers that must be sent now for those of the leaders that are of the revision."""
    if not facts.grouped:
        return ()
    service, of = facts.service, facts.observed
    found: list[Manifest] = []
    for leader in leaders:
        if leader.deleting or leader.over or leader.labels.get(REVISION) != facts.revision:
            continue
        batch = batch_of(leader.labels) or service.spec.runtime.batching.max_batch_size
        pod = pod_spec(service, of.settings, facts.claim, batch)
        wanted = workers(pod, service, of.settings, leader)
        # The leader owns them, so that it is its UID that says whether they are ours.
        found += due((wanted,), leader.uid, of.children, of.applied, of.refused)
    return tuple(found)


def current_workers(facts: Facts, batch: int) -> tuple[PodView, ...]:
    """The workers of the present revision and batch."""
    if not facts.grouped:
        return ()
    asked = facts.service.spec.runtime.batching.max_batch_size
    return tuple(
        pod
        for pod in facts.observed.workers
        if GROUP_LABEL in pod.labels
        and pod.labels.get(REVISION) == facts.revision
        and (batch_of(pod.labels) or asked) == batch
    )
