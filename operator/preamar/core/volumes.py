"""Can pods use this PersistentVolumeClaim as they want to?

The one check of a volume that a user names: it exists, it has not lost its volume, and its access
modes allow what is done with it. Who asks says in his own words what is to be done about it.
"""

from typing import NamedTuple

from preamar.core.objects import ClaimView
from preamar.core.trouble import Trouble

MISSING = "VolumeMissing"
LOST = "VolumeLost"
NOT_SHARED = "VolumeNotShared"
READ_ONLY = "VolumeReadOnly"
SHARED = frozenset({"ReadWriteMany", "ReadOnlyMany"})
"""Access modes by which pods on several nodes can mount a volume."""


class Use(NamedTuple):
    """What is done with a claim. ``pods`` mount it at once, ``who`` names them with their verb, and
    ``otherwise`` is what to do where they cannot; ``create`` where it is missing."""

    pods: int
    who: str
    otherwise: str
    create: str
    written: bool = False


def lacking(name: str, namespace: str, claim: ClaimView | None, use: Use) -> Trouble | None:
    """The first thing that is wrong with it."""
    if claim is None or claim.deleting:
        return Trouble(
            MISSING,
            f"The PersistentVolumeClaim {name!r} does not exist in namespace {namespace}. "
            f"{use.create}",
        )
    if claim.phase == "Lost":
        return Trouble(
            LOST, f"The PersistentVolumeClaim {name!r} has lost its volume. Restore or replace it."
        )
    modes, told = set(claim.access_modes), ", ".join(claim.access_modes) or "none"
    if use.written and modes <= {"ReadOnlyMany"}:
        return Trouble(
            READ_ONLY,
            f"The PersistentVolumeClaim {name!r} is written to, and its access modes ({told}) "
            "allow reading only.",
        )
    if use.pods > 1 and not SHARED & modes:
        return Trouble(
            NOT_SHARED,
            f"{use.who} the PersistentVolumeClaim {name!r}, whose access modes ({told}) allow one "
            f"node. {use.otherwise}",
        )
    return None
