"""What was measured of this model?

It is kept in status, so that an operator which was restarted knows it. How long a request takes
comes from the gateways, and is news when it has moved by more than a tenth, once a minute at most:
a status that is written all the time costs everybody. A cold start is the median of the last five,
which one start that only looked long does not move.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from math import floor, log10
from statistics import median_low
from typing import Any, NamedTuple

from preamar.api.inference import InferenceService
from preamar.core.serving.facts import Facts
from preamar.core.timestamps import moment, stamp
from preamar.protocol.demand import Demand

KEPT_STARTS = 5
NEWS = 0.1
APART = timedelta(seconds=60)


class _Start(NamedTuple):
    """Ordered by when the pod was asked for."""

    at: datetime
    pod: str
    seconds: float


def learned(facts: Facts) -> dict[str, Any]:
    """``status.learned`` as it should be, as JSON; empty while nothing is known."""
    before = facts.service.status.learned
    known = before.model_dump(by_alias=True, exclude_none=True, mode="json") if before else {}
    found: dict[str, Any] = known | _starts(facts) | _service(facts)
    return {name: value for name, value in found.items() if value != []}


def seeded(service: InferenceService, demand: Demand) -> Demand:
    """Demand with what was learned before, where the gateways have not told enough yet."""
    before = service.status.learned
    if demand.service_seconds is not None or before is None or before.service_seconds is None:
        return demand
    return replace(demand, service_seconds=float(before.service_seconds))


def _service(facts: Facts) -> dict[str, Any]:
    now, seconds = facts.observed.now, facts.observed.demand.service_seconds
    before = facts.service.status.learned
    if seconds is None:
        return {}
    if before is not None and before.service_seconds is not None:
        known = float(before.service_seconds)
        written = moment(before.measured_at)
        soon = written is not None and timedelta() <= now - written < APART
        if soon or abs(seconds - known) <= NEWS * known:
            return {}
    return {"serviceSeconds": decimal(seconds), "measuredAt": stamp(now)}


def _starts(facts: Facts) -> dict[str, Any]:
    starts: dict[str, _Start] = {}
    for start in (*_known(facts.service), *_seen(facts)):
        other = starts.get(start.pod)
        # A readiness that was lost for a moment makes a start look longer and never shorter.
        starts[start.pod] = start if other is None or start.seconds < other.seconds else other
    last = sorted(starts.values())[-KEPT_STARTS:]
    if not last:
        return {}
    return {
        "coldStartSeconds": decimal(median_low(start.seconds for start in last)),
        "coldStarts": [
            {"pod": start.pod, "at": at, "seconds": decimal(start.seconds)}
            for start, at in zip(last, [stamp(start.at) for start in last], strict=True)
        ],
    }


def _known(service: InferenceService) -> Iterator[_Start]:
    before = service.status.learned
    starts = before.cold_starts if before else ()
    for start, at in zip(starts, [moment(start.at) for start in starts], strict=True):
        if at is not None:
            yield _Start(at, start.pod, float(start.seconds))


def _seen(facts: Facts) -> Iterator[_Start]:
    """Pods that are ready and whose containers have never been started again."""
    for pod in facts.answering:
        first = all(c.restarts == 0 for c in pod.containers)
        if first and pod.created is not None and pod.ready_at is not None:
            seconds = (pod.ready_at - pod.created).total_seconds()
            if seconds >= 0:
                yield _Start(pod.created, pod.name, seconds)


def decimal(seconds: float) -> str:
    """Three significant digits, and no more than six after the point."""
    if seconds <= 0:
        return "0"
    digits = min(6, max(0, 2 - floor(log10(seconds))))
    return f"{seconds:.{digits}f}"
