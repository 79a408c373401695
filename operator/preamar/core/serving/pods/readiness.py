"""Does a replica's pod answer, and may it be trusted to go on?"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from preamar.core.pods import PodView

STEADY = timedelta(seconds=60)
"""A container that has crashed before is trusted again once it has run for so long."""
CRASHES = 2


def is_ready(pod: PodView, now: datetime) -> bool:
    """Whether a pod answers and has not only just come back from a crash."""
    return pod.ready and not pod.deleting and steadies_in(pod, now) <= 0


def up(pods: Iterable[PodView], now: datetime) -> tuple[PodView, ...]:
    """Those that are ready."""
    return tuple(pod for pod in pods if is_ready(pod, now))


def down(pods: Iterable[PodView], now: datetime) -> tuple[PodView, ...]:
    """Those that are there to stay and are not ready."""
    here = [pod for pod in pods if not pod.deleting and not pod.over]
    return tuple(pod for pod in here if not is_ready(pod, now))


def next_steady(pods: Iterable[PodView], now: datetime) -> float | None:
    """Seconds until the first of those that are not trusted yet is; None where there are none."""
    waits = [steadies_in(pod, now) for pod in pods]
    return min((left for left in waits if left > 0), default=None)


def steadies_in(pod: PodView, now: datetime) -> float:
    """Seconds until a pod that kept crashing is trusted again; 0 if it is trusted."""
    waits = [
        (c.running_since + STEADY - now).total_seconds()
        for c in pod.containers
        if not c.init and c.restarts >= CRASHES and c.running_since is not None
    ]
    return max([0.0, *waits])
