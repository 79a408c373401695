"""What do we say of a resource that this version cannot read?

The CRD keeps such a thing out, but one may have been stored by another version's CRD. Its children
are left as they are; the user gets a sentence.
"""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from pydantic import ValidationError

from preamar.core.conditions import Verdict, merge
from preamar.core.plan import Manifest, Plan

REASON = "NotUnderstood"


def unreadable(body: Manifest, error: ValidationError) -> Plan:
    """A plan which says so, once."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "the resource"
    sentence = f"{place}: {first['msg']}. This version of Preamar cannot read it; edit it."
    metadata = body["metadata"]
    success = "Succeeded" if body["kind"] == "TrainingJob" else "Ready"
    told = (
        Verdict(success, "False", REASON, sentence),
        Verdict("Stalled", "True", REASON, sentence),
    )
    before = (body.get("status") or {}).get("conditions") or ()
    generation = metadata.get("generation", 1)
    conditions = merge(
        [
            SimpleNamespace(
                type=c.get("type"),
                status=c.get("status"),
                reason=c.get("reason"),
                last_transition_time=c.get("lastTransitionTime"),
            )
            for c in before
        ],
        told,
        generation,
        datetime.now(UTC),
    )
    if _same(before, conditions):
        return Plan()
    status = {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": {key: metadata[key] for key in ("name", "namespace", "uid") if key in metadata},
        "status": {"observedGeneration": generation, "conditions": conditions},
    }
    return Plan(status=status)


def _same(before: Any, conditions: list[dict[str, Any]]) -> bool:
    was = {c.get("type"): (c.get("status"), c.get("message")) for c in before}
    return all(was.get(c["type"]) == (c["status"], c["message"]) for c in conditions)
