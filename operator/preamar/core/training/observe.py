"""What is true of one training job right now?

Frozen data, gathered by the shell before a pass: the resource, its attempts (one Indexed Job
each), their pods, the volumes it names, and what rank 0's agent last said. Nothing here judges.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from preamar.api.fields.uri import ModelUri
from preamar.api.training import TrainingJob
from preamar.core.objects import Children, ClaimView
from preamar.core.plan import Applied, Manifest, Ref, RefusedManifest
from preamar.core.pods import PodView
from preamar.core.settings import Settings
from preamar.core.timestamps import moment
from preamar.core.training.grace import BEYOND_SECONDS, GRACE_SECONDS
from preamar.core.training.progress import ProgressReport
from preamar.protocol.labels import ATTEMPT_LABEL, CONVERSION_LABEL, SCOUT_LABEL


@dataclass(frozen=True, slots=True)
class JobView:
    """One attempt: an Indexed Job of ours. A conversion is one too, with ``conversion`` the attempt
    that it is for, and scouts are, with ``scout`` the attempt for which they look for places."""

    name: str
    uid: str
    version: str
    attempt: int
    created: datetime | None = None
    started: datetime | None = None
    workers: int = 0
    active: int = 0
    terminating: int = 0
    succeeded: int = 0
    complete: bool = False
    failed: bool = False
    failing: bool = False
    suspended: bool = False
    reason: str = ""
    message: str = ""
    ended_at: datetime | None = None
    deleting: bool = False
    grace: int = GRACE_SECONDS
    """Seconds between SIGTERM and the end in which its ranks may save."""
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    conversion: int = 0
    scout: int = 0

    @classmethod
    def of(cls, body: Manifest) -> Self:
        metadata: Mapping[str, Any] = body["metadata"]
        spec: Mapping[str, Any] = body.get("spec") or {}
        status: Mapping[str, Any] = body.get("status") or {}
        true = {c["type"]: c for c in status.get("conditions") or () if c.get("status") == "True"}
        end = true.get("Failed") or true.get("Complete") or {}
        why = true.get("Failed") or true.get("FailureTarget") or {}
        pod: Mapping[str, Any] = (spec.get("template") or {}).get("spec") or {}
        labels = metadata.get("labels") or {}
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            version=metadata["resourceVersion"],
            attempt=_number(labels.get(ATTEMPT_LABEL)),
            created=moment(metadata.get("creationTimestamp")),
            started=moment(status.get("startTime")),
            workers=int(spec.get("completions") or 0),
            active=int(status.get("active") or 0),
            terminating=int(status.get("terminating") or 0),
            succeeded=int(status.get("succeeded") or 0),
            complete="Complete" in true,
            failed="Failed" in true,
            failing="FailureTarget" in true,
            suspended=bool(spec.get("suspend")),
            reason=why.get("reason") or "",
            message=why.get("message") or "",
            ended_at=moment(end.get("lastTransitionTime")) if end else None,
            deleting=bool(metadata.get("deletionTimestamp")),
            grace=int(pod.get("terminationGracePeriodSeconds") or GRACE_SECONDS + BEYOND_SECONDS)
            - BEYOND_SECONDS,
            annotations=MappingProxyType(dict(metadata.get("annotations") or {})),
            conversion=_number(labels.get(CONVERSION_LABEL)),
            scout=_number(labels.get(SCOUT_LABEL)),
        )

    @property
    def over(self) -> bool:
        """Whether its controller will start no more pods."""
        return self.complete or self.failed


def _number(text: object) -> int:
    return int(text) if isinstance(text, str) and text.isdecimal() else 0


@dataclass(frozen=True, slots=True)
class StopAck:
    """What became of an order to stop: whether rank 0's agent took it, and for how many seconds it
    was tried."""

    accepted: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything a pass may look at.

    ``children`` holds what stands under each of ``children_named(job)``, other people's objects
    included. ``jobs`` are the attempts, ``conversions`` the Jobs that convert checkpoints between
    them, ``scouts`` those that look for places, ``preparing`` is the Job that prepares the data, ``pods`` are all their pods. ``claims``
    holds those of ``claims_named(job)`` that exist. ``stop`` is None where no order was tried yet,
    as after a start of ours. ``ended`` names pods that said that their work is done before their
    status does.
    """

    job: TrainingJob
    now: datetime
    settings: Settings = field(default_factory=Settings)
    children: Children = field(default_factory=lambda: MappingProxyType({}))
    jobs: tuple[JobView, ...] = ()
    conversions: tuple[JobView, ...] = ()
    scouts: tuple[JobView, ...] = ()
    preparing: JobView | None = None
    prepare_state: str = ""
    pods: tuple[PodView, ...] = ()
    claims: Mapping[str, ClaimView] = field(default_factory=lambda: MappingProxyType({}))
    progress: ProgressReport | None = None
    stop: StopAck | None = None
    ended: frozenset[str] = frozenset()
    applied: Mapping[Ref, Applied] = field(default_factory=lambda: MappingProxyType({}))
    refused: Mapping[Ref, RefusedManifest] = field(default_factory=lambda: MappingProxyType({}))


def children_named(job: TrainingJob, jobs: tuple[JobView, ...]) -> tuple[Ref, ...]:
    """Where the headless Service, the next attempts, the next conversion and the scouts would be,
    whether they exist or not."""
    namespace, name = job.metadata.namespace or "", job.metadata.name
    last = max((view.attempt for view in jobs), default=0)
    last = max(last, job.status.attempt or 0)
    prepare = (
        [Ref("batch/v1", "Job", namespace, prepare_name(job))] if job.spec.data.prepare else []
    )
    names = [f"{name}-{n}" for n in range(max(last, 1), last + 2)]
    return (
        Ref("v1", "Service", namespace, f"{name}-ranks"),
        *prepare,
        *(
            Ref("batch/v1", "Job", namespace, n)
            for n in (*names, conversion_name(name, last + 1), scout_name(name, last))
        ),
    )


def prepare_name(job: TrainingJob) -> str:
    """The Job that prepares the data."""
    return f"{job.metadata.name}-prepare"


def conversion_name(name: str, attempt: int) -> str:
    """The Job that converts a checkpoint for an attempt."""
    return f"{name}-{attempt}-convert"


def scout_name(name: str, attempt: int) -> str:
    """The Job of pods that look for more places for an attempt."""
    return f"{name}-{attempt}-scout"


class ChildJobs(NamedTuple):
    """The Jobs that a resource controls: attempts, conversions and scouts by number, and the one
    that prepares the data."""

    attempts: tuple[JobView, ...]
    conversions: tuple[JobView, ...]
    scouts: tuple[JobView, ...]
    preparing: JobView | None


def apart(views: Iterable[JobView]) -> ChildJobs:
    """Which Job is what."""
    every = sorted(views, key=lambda view: (view.attempt, view.conversion))
    others = (v for v in every if not v.attempt and not v.conversion and not v.scout)
    return ChildJobs(
        tuple(v for v in every if v.attempt),
        tuple(v for v in every if v.conversion),
        tuple(v for v in every if v.scout),
        next((v for v in others if v.name.endswith("-prepare")), None),
    )


def claims_named(job: TrainingJob) -> tuple[str, ...]:
    """The PersistentVolumeClaims to look up before a pass, in the job's own namespace."""
    spec = job.spec
    uris = [source.uri for source in spec.data.sources]
    uris += [part.uri for part in (spec.checkpoint, spec.export) if part is not None]
    uris += [spec.data.prepare.target] if spec.data.prepare else []
    names: dict[str, None] = {}
    for text in uris:
        try:
            uri = ModelUri.parse(text)
        except ValueError:
            continue
        if uri.scheme == "pvc" and uri.claim:
            names[uri.claim] = None
    return tuple(names)
