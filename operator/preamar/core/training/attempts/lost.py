"""Which pods will never say that they are over, because their node is gone?

The kubelet that should end a deleted pod and say so does neither once its node is dead or cut off:
the pod stays for as long as its node's object does, and its Job never says that it has failed. A job
that waited for them would wait for ever. So a pod that is still there well after its grace period is
taken for over, and its Job for failed.

It may be running yet, behind a broken network. It cannot do harm: the next attempt claims the
checkpoint store first, and whoever has lost that claim may not publish.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from preamar.core.conditions import shortened
from preamar.core.pods import PodView
from preamar.core.training.attempts.endings import NODE_LOST, converters, pods_of
from preamar.core.training.observe import JobView, Observed

LOST_SECONDS = 60.0
"""How long a kubelet that lives may take, beyond the grace period, to say that a pod is over."""


def without_lost(observed: Observed) -> Observed:
    """The same, with pods of lost nodes as failed, and so their Jobs, where nothing else runs."""
    pods = tuple(_judged(pod, observed.now) for pod in observed.pods)
    if pods == observed.pods:
        return observed
    return replace(
        observed,
        pods=pods,
        jobs=tuple(_ended(view, pods_of(view, pods)) for view in observed.jobs),
        conversions=tuple(_ended(view, converters(view, pods)) for view in observed.conversions),
    )


def _judged(pod: PodView, now: datetime) -> PodView:
    if pod.delete_by is None or pod.delete_by + PATIENCE > now or pod.over:
        return pod
    where = f" on node {pod.node}" if pod.node else ""
    message = (
        f"Pod {pod.name}{where} was deleted and nobody says that it has ended: "
        "its node is taken for lost."
    )
    return replace(pod, phase="Failed", reason=NODE_LOST, message=shortened(message))


def _ended(view: JobView, pods: tuple[PodView, ...]) -> JobView:
    """Its controller waits for the last pod before it says that the Job has failed."""
    lost = [pod.delete_by for pod in pods if pod.reason == NODE_LOST and pod.delete_by is not None]
    doomed = view.failing or view.deleting
    if view.over or not doomed or not lost or not all(pod.over for pod in pods):
        return view
    return replace(view, failed=True, ended_at=max(lost) + PATIENCE)


PATIENCE = timedelta(seconds=LOST_SECONDS)
