"""How many replicas of several pods may be there, when not all their pods find a place?

A replica answers once all its pods are up, so those that are hold accelerators for nothing. After a
deadline there are to be only as many replicas as are complete, which frees what the others hold; after
a pause that doubles from one time to the next, one more is tried. One at a time, since two that each
hold half of what there is would wait for each other again. An edit of the spec forgets all of it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from preamar.core.backoff import INCOMPLETE_GANG, pause
from preamar.core.conditions import shortened
from preamar.core.pods import PodView
from preamar.core.serving.observe import Observed
from preamar.core.serving.pods.desired import edition_of
from preamar.core.serving.pods.group import grouped, members_of
from preamar.core.timestamps import moment, stamp

INCOMPLETE = "GroupIncomplete"


@dataclass(frozen=True, slots=True)
class Gang:
    """``limit``: how many replicas at most, None without one. ``told``: ``status.groups``.
    ``recheck_in``: seconds until time alone may change the answer."""

    limit: int | None = None
    told: dict[str, Any] | None = None
    message: str = ""
    recheck_in: float | None = None

    def at_most(self, replicas: int) -> int:
        """The size that is made of one that is wanted."""
        return replicas if self.limit is None else min(replicas, self.limit)


def gang_of(observed: Observed, wanted: int) -> Gang:
    """What holds now for a size of ``wanted``."""
    if not grouped(observed.service):
        return Gang()
    leaders = [pod for pod in observed.pods if not pod.deleting and not pod.over]
    complete = sum(is_complete(observed, leader) for leader in leaders)
    known = _known(observed)
    if known is not None and complete >= wanted:
        known = None
    late, soonest = [], None
    for leader in leaders:
        left = _seconds_left(observed, leader)
        if left is not None and left <= 0:
            late.append(leader)
        elif left is not None:
            soonest = left if soonest is None else min(soonest, left)
    if late and complete < wanted and not (known and _pausing(known, observed.now) > 0):
        before = known["incomplete"] if known and known["limit"] >= complete else 0
        known = {
            "incomplete": before + 1,
            "limit": complete,
            "at": stamp(observed.now),
            "edition": edition_of(observed.service),
            "message": _explanation(observed, late),
        }
    if known is None:
        return Gang(recheck_in=soonest)
    left = _pausing(known, observed.now)
    if left > 0:
        return Gang(known["limit"], known, known["message"], left)
    # What has become complete stays; the next is tried at once.
    limit = max(known["limit"], complete) + 1
    return Gang(limit, known, known["message"], soonest)


def is_complete(observed: Observed, leader: PodView) -> bool:
    """Whether all pods of a replica have started."""
    if leader.ready:
        return True
    pods = (leader, *members_of(leader, observed.workers))
    started = [pod for pod in pods if not pod.deleting and pod.phase != "Pending"]
    return len(started) >= observed.service.spec.parallelism.nodes


def _seconds_left(observed: Observed, leader: PodView) -> float | None:
    """Until what a replica holds is freed; None where it holds nothing, or only starts slowly."""
    pods = (leader, *members_of(leader, observed.workers))
    placed = [pod for pod in pods if pod.phase != "Pending" or pod.scheduled or pod.node]
    if is_complete(observed, leader) or not placed or leader.created is None:
        return None
    if len(placed) >= observed.service.spec.parallelism.nodes:
        return None  # images are pulled and models fetched: a new start would begin anew
    # Since the last was added or lost: a replica that has served and lost a worker gets its time too.
    since = max([pod.created for pod in pods if pod.created is not None])
    return observed.settings.gang_seconds - (observed.now - since).total_seconds()


def _known(observed: Observed) -> dict[str, Any] | None:
    told = observed.service.status.groups
    if told is None or told.edition != edition_of(observed.service):
        return None
    dumped: dict[str, Any] = told.model_dump(by_alias=True, exclude_none=True, mode="json")
    return dumped


def _pausing(known: dict[str, Any], now: datetime) -> float:
    at = moment(known.get("at"))
    if at is None:
        return 0.0
    wait = pause(INCOMPLETE_GANG, int(known["incomplete"]) - 1)
    return max(0.0, wait - (now - at).total_seconds())


def _explanation(observed: Observed, late: list[PodView]) -> str:
    nodes = observed.service.spec.parallelism.nodes
    pods = [p for leader in late for p in (leader, *members_of(leader, observed.workers))]
    waiting = sorted((p for p in pods if p.phase == "Pending"), key=lambda p: p.name)
    why = next((pod.unschedulable for pod in waiting if pod.unschedulable), "")
    named = f" ({waiting[0].name})" if waiting else ""
    what = "1 replica" if len(late) == 1 else f"{len(late)} replicas"
    reason = f": {why.rstrip('.')}" if why else ""
    return shortened(
        f"{what} of {nodes} pods could not start as a whole within "
        f"{observed.settings.gang_seconds} s{named}{reason}. Its accelerators are freed meanwhile."
    )
