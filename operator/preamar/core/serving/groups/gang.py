"""How many replicas of several pods may be there, when not all their pods find a place?

A replica answers once all its pods are up, so those that are hold accelerators for nothing. After a
deadline there are to be only as many replicas as are complete, which frees what the others hold; after
a pause that doubles from one time to the next, one more is tried. One at a time, since two that each
hold half of what there is would wait for each other again. An edit of the spec forgets all of it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from preamar.core.backoff import INCOMPLETE_GANG, pause
from preamar.core.conditions import shortened
from preamar.core.pods import PodView
from preamar.core.serving.facts import Facts
from preamar.core.serving.pods.group import members_of
from preamar.core.timestamps import moment, stamp

INCOMPLETE = "GroupIncomplete"


@dataclass(frozen=True, slots=True)
class GangLimit:
    """``limit``: how many replicas at most, None without one. ``told``: ``status.groups``.
    ``recheck_in``: seconds until time alone may change the answer."""

    limit: int | None = None
    told: dict[str, Any] | None = None
    message: str = ""
    recheck_in: float | None = None


class _Group(NamedTuple):
    """The pods of one replica."""

    leader: PodView
    workers: tuple[PodView, ...]


def gang_of(facts: Facts, wanted: int) -> GangLimit:
    """What holds now for a size of ``wanted``."""
    if not facts.grouped:
        return GangLimit()
    now, members = facts.observed.now, members_of(facts.here, facts.observed.workers)
    groups = [_Group(leader, members[leader.uid]) for leader in facts.here]
    complete = sum([_is_complete(facts, group) for group in groups])
    known = _known(facts)
    if known is not None and complete >= wanted:
        known = None
    late, soonest = [], None
    for group in groups:
        left = _seconds_left(facts, group)
        if left is not None and left <= 0:
            late.append(group)
        elif left is not None:
            soonest = left if soonest is None else min(soonest, left)
    if late and complete < wanted and not (known and _pausing(known, now) > 0):
        before = known["incomplete"] if known and known["limit"] >= complete else 0
        known = {
            "incomplete": before + 1,
            "limit": complete,
            "at": stamp(now),
            "edition": facts.edition,
            "message": _explanation(facts, late),
        }
    if known is None:
        return GangLimit(recheck_in=soonest)
    left = _pausing(known, now)
    if left > 0:
        return GangLimit(known["limit"], known, known["message"], left)
    # What has become complete stays; the next is tried at once.
    limit = max(known["limit"], complete) + 1
    return GangLimit(limit, known, known["message"], soonest)


def _is_complete(facts: Facts, group: _Group) -> bool:
    """Whether all pods of a replica have started."""
    if group.leader.ready:
        return True
    pods = (group.leader, *group.workers)
    started = [pod for pod in pods if not pod.deleting and pod.phase != "Pending"]
    return len(started) >= facts.service.spec.parallelism.nodes


def _seconds_left(facts: Facts, group: _Group) -> float | None:
    """Until what a replica holds is freed; None where it holds nothing, or only starts slowly."""
    pods = (group.leader, *group.workers)
    placed = [pod for pod in pods if pod.phase != "Pending" or pod.scheduled or pod.node]
    if _is_complete(facts, group) or not placed or group.leader.created is None:
        return None
    if len(placed) >= facts.service.spec.parallelism.nodes:
        return None  # images are pulled and models fetched: a new start would begin anew
    # Since the last was added or lost: a replica that has served and lost a worker gets its time too.
    since = max([pod.created for pod in pods if pod.created is not None])
    observed = facts.observed
    return observed.settings.gang_seconds - (observed.now - since).total_seconds()


def _known(facts: Facts) -> dict[str, Any] | None:
    told = facts.service.status.groups
    if told is None or told.edition != facts.edition:
        return None
    dumped: dict[str, Any] = told.model_dump(by_alias=True, exclude_none=True, mode="json")
    return dumped


def _pausing(known: dict[str, Any], now: datetime) -> float:
    at = moment(known.get("at"))
    if at is None:
        return 0.0
    wait = pause(INCOMPLETE_GANG, int(known["incomplete"]) - 1)
    return max(0.0, wait - (now - at).total_seconds())


def _explanation(facts: Facts, late: list[_Group]) -> str:
    nodes = facts.service.spec.parallelism.nodes
    pods = [pod for group in late for pod in (group.leader, *group.workers)]
    waiting = sorted((p for p in pods if p.phase == "Pending"), key=lambda p: p.name)
    why = next((pod.unschedulable for pod in waiting if pod.unschedulable), "")
    named = f" ({waiting[0].name})" if waiting else ""
    what = "1 replica" if len(late) == 1 else f"{len(late)} replicas"
    reason = f": {why.rstrip('.')}" if why else ""
    return shortened(
        f"{what} of {nodes} pods could not start as a whole within "
        f"{facts.observed.settings.gang_seconds} s{named}{reason}. Its accelerators are freed meanwhile."
    )
