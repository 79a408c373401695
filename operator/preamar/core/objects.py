"""What do we know of objects beside the resource itself: its children, and the user's volumes?

Only what a decision needs. A child's UID and version come from the watch or from a read; the
``owner`` says whether it is ours at all, because an object that merely has the name is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from preamar.core.plan import Manifest, Ref


@dataclass(frozen=True, slots=True)
class Child:
    """An object under one of the names we compute. ``owner`` is the UID of its controller,
    None if it has none: then it is somebody else's, and we leave it alone."""

    uid: str
    version: str
    owner: str | None
    deleting: bool = False
    failed: str = ""
    """Of a Job that failed for good, why, in one word."""

    @classmethod
    def of(cls, body: Manifest) -> Self:
        metadata = body["metadata"]
        return cls(
            uid=metadata["uid"],
            version=metadata["resourceVersion"],
            owner=controller_of(metadata),
            deleting=bool(metadata.get("deletionTimestamp")),
            failed=_failed(body) if body.get("kind") == "Job" else "",
        )


@dataclass(frozen=True, slots=True)
class ClaimView:
    """A PersistentVolumeClaim of the user's. We mount it and never write or delete it."""

    name: str
    phase: str
    access_modes: tuple[str, ...]
    deleting: bool = False

    @classmethod
    def of(cls, body: Manifest) -> Self:
        metadata = body["metadata"]
        status = body.get("status") or {}
        spec = body.get("spec") or {}
        # The status has the modes of the bound volume; before it is bound only the wish is there.
        modes = status.get("accessModes") or spec.get("accessModes") or ()
        return cls(
            name=metadata["name"],
            phase=status.get("phase", "Pending"),
            access_modes=tuple(modes),
            deleting=bool(metadata.get("deletionTimestamp")),
        )


def _failed(job: Manifest) -> str:
    found = (job.get("status") or {}).get("conditions") or ()
    true = (c for c in found if c.get("type") == "Failed" and c.get("status") == "True")
    return next((c.get("reason") or "Failed" for c in true), "")


def controller_of(metadata: Mapping[str, Any]) -> str | None:
    """The UID of the object's controller."""
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            return str(owner["uid"])
    return None


Children = Mapping[Ref, Child]
