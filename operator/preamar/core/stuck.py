"""Why has a pod not even started?

Causes that both kinds share: no node takes it, its image cannot be had, its container cannot be
made. What may heal within seconds is given a grace; the answer then says how long it lasts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from preamar.core.pods import OVER, PodView

GRACE = timedelta(seconds=15)
PROVISIONING = timedelta(seconds=90)
"""How long a disk may take that is made for the pod."""
UNBOUND = "unbound immediate PersistentVolumeClaims"


class Cause(StrEnum):
    IMAGE = "ImageUnavailable"
    CONFIG = "ContainerConfigInvalid"
    UNSCHEDULABLE = "Unschedulable"


PULLING = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "InvalidImageName"}
    | {"ImageInspectError", "RegistryUnavailable"}
)
MISCONFIGURED = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)


@dataclass(frozen=True, slots=True)
class Stuck:
    """A cause with its sentence. ``in_grace`` seconds are left until it counts; None: it does."""

    cause: Cause
    message: str
    in_grace: float | None = None


Judge = Callable[[PodView, datetime], Stuck | None]


def without_image(pod: PodView, now: datetime) -> Stuck | None:
    for c in pod.containers:
        if c.waiting in PULLING:
            return Stuck(
                Cause.IMAGE,
                f"The image {c.image or '(unnamed)'} of container {c.name} cannot be pulled: "
                f"{c.waiting_message or c.waiting}. Check its name and imagePullSecrets.",
                # A name that is no name will not get better.
                None if c.waiting == "InvalidImageName" else _grace(pod, now),
            )
    return None


def misconfigured(pod: PodView, now: datetime) -> Stuck | None:
    for c in pod.containers:
        if c.waiting in MISCONFIGURED:
            return Stuck(
                Cause.CONFIG,
                f"Container {c.name} cannot be started: {c.waiting_message or c.waiting}.",
                _grace(pod, now),
            )
    return None


def unschedulable(pod: PodView, now: datetime) -> Stuck | None:
    if not pod.unschedulable:
        return None
    message = f"No node can take pod {pod.name}: {pod.unschedulable}"
    grace = PROVISIONING if UNBOUND in pod.unschedulable else GRACE
    return Stuck(Cause.UNSCHEDULABLE, message, _grace(pod, now, grace))


JUDGES: tuple[Judge, ...] = (without_image, misconfigured, unschedulable)


def stuck(pods: tuple[PodView, ...], now: datetime) -> Stuck | None:
    """The surest cause over all pods; one that counts before one in grace."""
    here = [pod for pod in pods if pod.phase not in OVER and not pod.deleting]
    found = [
        cause
        for judge in JUDGES
        for pod in here
        for cause in (judge(pod, now),)
        if cause is not None
    ]
    return next((c for c in found if c.in_grace is None), found[0] if found else None)


def _grace(pod: PodView, now: datetime, grace: timedelta = GRACE) -> float | None:
    left = (pod.created + grace - now).total_seconds() if pod.created else 0.0
    return left if left > 0 else None
