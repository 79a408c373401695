"""Services that sleep and can be put to sleep again, and when the operator wrote their size.

Their model waits instead of computing, so that what is measured is the road to a scale write and
not who else wants the processor.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple
from uuid import uuid4

from e2e.cluster import Cluster
from e2e.conftest import claim
from e2e.journeys import audit
from e2e.journeys.paced_model import seed_talker
from e2e.journeys.wishes import a_service, merged
from e2e.kube import OURS, Json, Kube, until

TALKER: Json = {
    "uri": "pvc://models/talker",
    "task": "Generate",
    "format": "Python",
    "trust": "Code",
}
KIND = "InferenceService"


class Write(NamedTuple):
    """A size that the operator wrote: for which service, and when the API server had it."""

    name: str
    at: float


class NoAuditLogError(Exception):
    """The API server's audit log cannot be read here."""


@contextlib.contextmanager
def place(
    here: Cluster, kube: Kube, seed: Callable[[Kube, str], None] = seed_talker
) -> Iterator[str]:
    """A namespace with the model that ``seed`` writes onto a claim; removed at the end."""
    if not here.audit_log:
        raise NoAuditLogError(
            f"the audit log of a cluster by {here.provider} cannot be read: use a host cluster"
        )
    namespace = f"bench-{uuid4().hex[:6]}"
    kube.namespace(namespace)
    try:
        kube.apply(claim("models"), namespace)
        seed(kube, namespace)
        yield namespace
    finally:
        kube.delete("v1", "Namespace", namespace)


def a_sleeper(name: str, **spec: object) -> Json:
    """A service at 0 to ``scaling.max`` replicas that may be put to sleep at once."""
    scaling = {"min": 0, "max": 1, "idleSeconds": 0}
    model = TALKER | {"name": name}
    base: Json = {"model": model, "scaling": scaling, "hold": {"maxRequests": 1000}}
    return a_service(name, **merged(base, {**spec, "drain": {"seconds": 1}}))


def asleep(kube: Kube, namespace: str, names: list[str], seconds: float) -> None:
    """Put services to sleep and wait until they stay so, with no pod left."""
    for name in names:
        kube.patch(OURS, KIND, name, namespace, {"spec": {"replicas": 0}})

    def quiet() -> bool:
        found = kube.list(OURS, KIND, namespace)
        awake = [one for one in found if one["metadata"]["name"] in names and size(one)]
        for one in awake:
            kube.patch(OURS, KIND, one["metadata"]["name"], namespace, {"spec": {"replicas": 0}})
        pods = kube.list("v1", "Pod", namespace, "preamar.dev/inferenceservice")
        mine = [p for p in pods if p["metadata"]["labels"]["preamar.dev/inferenceservice"] in names]
        return not awake and not mine

    until(f"{', '.join(names)} sleep", seconds, quiet, every=0.3)
    time.sleep(1.0)  # the machine, too, is to be at rest


def loaded(kube: Kube, namespace: str, names: list[str], seconds: float = 120) -> None:
    """Wait until each model has loaded once: before that its service may not sleep."""

    def all_have() -> bool:
        found = {one["metadata"]["name"]: one for one in kube.list(OURS, KIND, namespace)}
        return all((found[name].get("status") or {}).get("revision") for name in names)

    until("every model has loaded once", seconds, all_have, every=1.0)


def put_to_sleep(kube: Kube, namespace: str, names: list[str], **spec: object) -> None:
    """Make services, let each model load once, and put all to sleep."""
    for name in names:
        kube.apply(a_sleeper(name, **spec), namespace)
    print(f"loading {len(names)} models once", flush=True)
    loaded(kube, namespace, names)
    asleep(kube, namespace, names, 60)


def size(service: Json) -> int:
    """The size that was asked for."""
    return int(service["spec"].get("replicas", 1))


def writes(here: Cluster, namespace: str) -> list[Write]:
    """Every size that the operator wrote in a namespace, as the audit log has it."""
    return [
        Write(one.name, stamp(one.at))
        for one in audit.read(here)
        if one.namespace == namespace
        and one.resource == "inferenceservices/scale"
        and one.user == audit.account("operator")
        and one.verb == "patch"
        and one.code == 200
    ]


def stamp(at: datetime) -> float:
    """Seconds of the wall clock."""
    return at.timestamp()
