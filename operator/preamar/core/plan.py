"""What should be done next: the vocabulary of intent.

A decision never acts. It returns a ``Plan``; only ``cluster.execute`` knows verbs. A plan carried
out in full leaves nothing to plan, which the life test holds both kinds to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from json import dumps
from typing import Any, Literal, NamedTuple

Manifest = Mapping[str, Any]


class Ref(NamedTuple):
    """Where an object is. ``namespace`` is empty for cluster-scoped kinds."""

    api_version: str
    kind: str
    namespace: str
    name: str


class Applied(NamedTuple):
    """What we last sent for an object, and the version the API server gave it.

    Comparing manifests instead would never settle: the server rewrites quantities, adds defaults,
    and cannot show us a field which we have stopped sending.
    """

    digest: str
    version: str | None


class RefusedManifest(NamedTuple):
    """What the API server would not take, and why, in a sentence for the user.

    The same manifest is not sent again while its digest is the one refused; the shell forgets the
    refusal at the periodic resync, because quotas and policies change too.
    """

    digest: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Event:
    """A sentence for ``kubectl describe``, written once per transition."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


@dataclass(frozen=True, slots=True)
class Delete:
    """An object to remove. The UID is a precondition: a namesake made later is left alone."""

    ref: Ref
    uid: str


@dataclass(frozen=True, slots=True)
class Scale:
    """A size to write through ``/scale``. The version is that of the object it was decided on:
    a deposed leader's late write then fails instead of undoing the new leader's."""

    ref: Ref
    replicas: int
    version: str


@dataclass(frozen=True, slots=True)
class Mark:
    """An annotation to put on an object that another controller owns, or that we never change. The
    UID is a precondition: a namesake made later is left alone. ``manager`` owns the field."""

    ref: Ref
    uid: str
    name: str
    value: str
    manager: str = "preamar/victims"


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order they are carried out; status last, so that it never runs ahead, and
    events after it, so that one which is told did happen."""

    scale: Scale | None = None
    marks: tuple[Mark, ...] = ()
    apply: tuple[Manifest, ...] = ()
    delete: tuple[Delete, ...] = ()
    status: Manifest | None = None
    events: tuple[Event, ...] = ()
    recheck_in: float | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing would be written."""
        written = (self.scale, self.marks, self.apply, self.delete, self.status, self.events)
        return not any(written)


def ref_of(manifest: Manifest) -> Ref:
    """The place of an object given as JSON."""
    metadata = manifest["metadata"]
    return Ref(
        manifest["apiVersion"], manifest["kind"], metadata.get("namespace", ""), metadata["name"]
    )


def digest_of(manifest: Manifest) -> str:
    """A short digest of what we would send; equal for equal JSON whatever the order of keys."""
    return sha256(dumps(manifest, sort_keys=True, default=dict).encode()).hexdigest()[:16]
