"""What we need of a cluster: seven verbs. ``live`` speaks them to an API server, ``memory`` to a dict.

Every verb either takes effect or raises ``ClusterError``. ``Conflict`` means that somebody else was
first (a stale version or UID): observe again. ``Refused`` means that the API server will never
accept it as it is (invalid, forbidden): the sentence in it is for the user.
"""

from typing import Protocol

from preamar.core.plan import Event, Manifest, Mark, Ref


class ClusterError(Exception):
    """The world's fault: the work queue backs off and tries again, not before ``retry_after``
    seconds where the API server named some. ``status`` is that of HTTP, 0 without an answer."""

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class Conflict(ClusterError):
    """A precondition failed (409, 412): what we decided on is not what is there."""


class Refused(ClusterError):
    """The API server will not take this object as it is (400, 403, 404 of the kind, 422)."""


class Cluster(Protocol):
    """The hands and eyes of the operator."""

    async def read(self, ref: Ref) -> Manifest | None:
        """The object as it is now, None where there is none."""

    async def apply(self, manifest: Manifest) -> str:
        """Server-side apply, conflicts forced, field manager ``preamar/objects``.
        Returns the resourceVersion which the object has now."""

    async def delete(self, ref: Ref, uid: str) -> None:
        """Delete with a UID precondition, in the background. Already gone, or another UID: done."""

    async def scale(self, ref: Ref, replicas: int, version: str) -> str:
        """Write ``spec.replicas`` through ``/scale`` as ``preamar/scaler``. ``Conflict`` if the
        object is no longer at ``version``. Returns the new resourceVersion."""

    async def mark(self, mark: Mark) -> None:
        """Write one annotation as the mark's manager, and nothing beside it. ``Conflict`` if that
        very object is gone."""

    async def patch_status(self, manifest: Manifest) -> str:
        """Server-side apply of ``.status`` as ``preamar/status``; returns the resourceVersion."""

    async def emit(self, regarding: Manifest, event: Event) -> None:
        """Record an event about an object; repeats of the same are counted, not multiplied."""
