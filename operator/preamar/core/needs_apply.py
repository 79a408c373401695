"""Which of the objects that should exist must be sent now?

Those that are missing, that we would send differently than last time, or that somebody has changed
since. An object under one of our names that is not ours is left alone, and so is one that the API
server has refused as it is: both are for a person to settle.
"""

from collections.abc import Iterable, Mapping

from preamar.core.objects import Children
from preamar.core.plan import Applied, Manifest, Ref, RefusedManifest, digest_of, ref_of


def due(
    wanted: Iterable[Manifest],
    owner: str,
    children: Children,
    applied: Mapping[Ref, Applied],
    refused: Mapping[Ref, RefusedManifest],
) -> tuple[Manifest, ...]:
    """What to send, in the order given."""
    sent = [(manifest, ref_of(manifest), digest_of(manifest)) for manifest in wanted]
    return tuple(
        manifest
        for manifest, ref, digest in sent
        if _is_due(ref, digest, owner, children, applied, refused)
    )


def _is_due(
    ref: Ref,
    digest: str,
    owner: str,
    children: Children,
    applied: Mapping[Ref, Applied],
    refused: Mapping[Ref, RefusedManifest],
) -> bool:
    refusal = refused.get(ref)
    if refusal is not None and refusal.digest == digest:
        return False
    child = children.get(ref)
    if child is None:
        return True
    if child.owner != owner or child.deleting:  # a deleted one is made anew once it is gone
        return False
    sent = applied.get(ref)
    return sent is None or sent != Applied(digest, child.version)


def taken(names: Iterable[Ref], owner: str, children: Children) -> Ref | None:
    """The first name under which something stands that is not ours."""
    return next((r for r in names if r in children and children[r].owner != owner), None)


def refusal_of(names: Iterable[Ref], refused: Mapping[Ref, RefusedManifest]) -> str:
    """What the API server said of the first object it would not take; empty if it took all."""
    return next((f"{r.kind} {r.name}: {refused[r].sentence}" for r in names if r in refused), "")
