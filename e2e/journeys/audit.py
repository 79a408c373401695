"""What was asked of the API server and by whom, from its audit log: one request, one line."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from e2e.cluster import Cluster

SYSTEM = "preamar-system"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. ``resource`` has its subresource after a slash; ``code`` is the answer's;
    ``allowed`` is what the account's rights said, whatever came of it afterwards."""

    at: datetime
    user: str
    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    code: int
    allowed: bool


def account(part: str) -> str:
    """The user name of ``operator`` or ``gateway``."""
    return f"system:serviceaccount:{SYSTEM}:preamar-{part}"


def read(here: Cluster) -> Iterator[Asked]:
    """All that is left of the log, oldest file first. A line that is being written is left out."""
    log = Path(here.audit_log)
    for path in (*sorted(log.parent.glob(f"{log.stem}-*{log.suffix}")), log):
        with path.open() as lines:
            for line in lines:
                if line.endswith("\n") and (asked := parsed(json.loads(line))) is not None:
                    yield asked


def parsed(event: dict) -> Asked | None:
    """None for what is not about a resource, such as /healthz."""
    ref = event.get("objectRef")
    if ref is None or not ref.get("resource"):
        return None
    sub = ref.get("subresource")
    return Asked(
        at=datetime.fromisoformat(event["requestReceivedTimestamp"]),
        user=event["user"]["username"],
        verb=event["verb"],
        group=ref.get("apiGroup", ""),
        resource=f"{ref['resource']}/{sub}" if sub else ref["resource"],
        namespace=ref.get("namespace", ""),
        name=ref.get("name", ""),
        code=(event.get("responseStatus") or {}).get("code", 0),
        allowed=(event.get("annotations") or {}).get("authorization.k8s.io/decision") != "forbid",
    )
