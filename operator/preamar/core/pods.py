"""What has become of a pod?

A frozen view of the parts of a Pod that decisions look at: where it runs, whether it is ready,
and what its containers say when they wait or end. ``message`` of an ended container is its
termination message, which is how our images explain themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from json import loads
from types import MappingProxyType
from typing import Any, Self

from preamar.core.plan import Manifest
from preamar.core.timestamps import moment

_NOTHING: Mapping[str, Any] = MappingProxyType({})
OVER = frozenset({"Succeeded", "Failed"})
"""Phases of a pod of which nothing runs or writes any more."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended."""

    exit_code: int
    reason: str = ""
    message: str = ""
    started: datetime | None = None
    finished: datetime | None = None

    @classmethod
    def of(cls, state: Mapping[str, Any] | None) -> Self | None:
        if not state:
            return None
        return cls(
            exit_code=int(state.get("exitCode", 0)),
            reason=state.get("reason") or "",
            message=state.get("message") or "",
            started=moment(state.get("startedAt")),
            finished=moment(state.get("finishedAt")),
        )

    @property
    def words(self) -> Mapping[str, Any]:
        """What its message says as a JSON object; empty where it is none. The container may run a
        user's image or have read a user's data: they may be anything."""
        try:
            told: Any = loads(self.message)
        except (ValueError, RecursionError):
            return _NOTHING
        return told if isinstance(told, dict) else _NOTHING


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container, init containers included. At most one of waiting, running and ended."""

    name: str
    image: str = ""
    init: bool = False
    ready: bool = False
    restarts: int = 0
    waiting: str = ""
    waiting_message: str = ""
    running_since: datetime | None = None
    ended: Ended | None = None
    ended_before: Ended | None = None

    @classmethod
    def of(cls, status: Mapping[str, Any], *, init: bool) -> Self:
        state = status.get("state") or _NOTHING
        waiting = state.get("waiting") or _NOTHING
        running = state.get("running") or _NOTHING
        return cls(
            name=status["name"],
            image=status.get("image") or "",
            init=init,
            ready=bool(status.get("ready")),
            restarts=int(status.get("restartCount") or 0),
            waiting=waiting.get("reason") or "",
            waiting_message=waiting.get("message") or "",
            running_since=moment(running.get("startedAt")),
            ended=Ended.of(state.get("terminated")),
            ended_before=Ended.of((status.get("lastState") or _NOTHING).get("terminated")),
        )

    @property
    def last_end(self) -> Ended | None:
        """How it ended most recently."""
        return self.ended or self.ended_before


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod of ours."""

    name: str
    uid: str
    created: datetime | None = None
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    node: str = ""
    ip: str = ""
    ready: bool = False
    ready_at: datetime | None = None
    scheduled: bool = False
    unschedulable: str = ""
    disrupted: str = ""
    deleting: bool = False
    delete_by: datetime | None = None
    """When its grace period ends, where it is being deleted."""
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    containers: tuple[ContainerView, ...] = ()

    @classmethod
    def of(cls, body: Manifest) -> Self:
        metadata = body["metadata"]
        status = body.get("status") or _NOTHING
        conditions = {c["type"]: c for c in status.get("conditions") or ()}
        ready = conditions.get("Ready", _NOTHING)
        scheduled = conditions.get("PodScheduled", _NOTHING)
        disrupted = conditions.get("DisruptionTarget", _NOTHING)
        blocked = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            created=moment(metadata.get("creationTimestamp")),
            phase=_phase(body.get("spec") or _NOTHING, status),
            reason=status.get("reason") or "",
            message=status.get("message") or "",
            node=(body.get("spec") or _NOTHING).get("nodeName") or "",
            ip=status.get("podIP") or "",
            ready=ready.get("status") == "True",
            ready_at=moment(ready.get("lastTransitionTime")) if ready else None,
            scheduled=scheduled.get("status") == "True",
            unschedulable=(scheduled.get("message") or "no node fits") if blocked else "",
            disrupted=(disrupted.get("reason") or "Disrupted")
            if disrupted.get("status") == "True"
            else "",
            deleting=bool(metadata.get("deletionTimestamp")),
            delete_by=moment(metadata.get("deletionTimestamp")),
            labels=MappingProxyType(dict(metadata.get("labels") or {})),
            annotations=MappingProxyType(dict(metadata.get("annotations") or {})),
            containers=(
                *(
                    ContainerView.of(c, init=True)
                    for c in status.get("initContainerStatuses") or ()
                ),
                *(ContainerView.of(c, init=False) for c in status.get("containerStatuses") or ()),
            ),
        )

    @property
    def over(self) -> bool:
        """Whether every container has ended for good: nothing of it runs or writes."""
        return self.phase in OVER

    def container(self, name: str) -> ContainerView | None:
        """The container of that name, if the kubelet has reported it."""
        return next((c for c in self.containers if c.name == name), None)


def _phase(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """The phase that the kubelet will report. It says that the containers have ended a second
    before that, and where none is ever started again that decides it."""
    phase = status.get("phase") or "Pending"
    names = {container["name"] for container in spec.get("containers") or ()}
    if phase != "Running" or spec.get("restartPolicy") != "Never" or not names:
        return phase
    found = status.get("containerStatuses") or ()
    ends = {c["name"]: (c.get("state") or _NOTHING).get("terminated") or _NOTHING for c in found}
    if not all(ends.get(name) for name in names):
        return phase
    return "Failed" if any(ends[name].get("exitCode") for name in names) else "Succeeded"
