"""The Lease that says which operator writes: read, take, renew and give back.

Every write carries the version that was read, so of two who reach for it one fails. Times in the
Lease are for people; who may write is judged by each on a clock of his own.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from kubernetes.aio.client import ApiClient

from preamar.cluster.call import call
from preamar.cluster.kinds import collection
from preamar.cluster.port import Conflict

API_VERSION = "coordination.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Held:
    """A Lease as it was read. ``version`` is empty where there is none yet."""

    holder: str = ""
    version: str = ""
    transitions: int = 0


class KubernetesLease:
    """One Lease, by name. All methods raise ``ClusterError``."""

    def __init__(self, client: ApiClient, namespace: str, name: str, deadline: float = 4.0) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._deadline = deadline
        self._path = collection(API_VERSION, "leases", namespace)

    async def read(self) -> Held:
        """Who holds it."""
        try:
            found = await call(
                self._client, "GET", f"{self._path}/{self._name}", deadline=self._deadline
            )
        except Conflict:
            return Held()
        return _held(found)

    async def write(self, before: Held, holder: str, seconds: int) -> Held:
        """Take, renew or (with an empty holder) give back. ``Conflict`` if it is not as read."""
        changed = holder not in {before.holder, ""}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        transitions = before.transitions + changed
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": seconds,
            "renewTime": now,
            "leaseTransitions": transitions,
        }
        if changed or not before.version:
            spec["acquireTime"] = now
        metadata = {"name": self._name, "namespace": self._namespace}
        body = {"apiVersion": API_VERSION, "kind": "Lease", "metadata": metadata, "spec": spec}
        if not before.version:
            return _held(
                await call(self._client, "POST", self._path, body=body, deadline=self._deadline)
            )
        metadata["resourceVersion"] = before.version
        path = f"{self._path}/{self._name}"
        return _held(await call(self._client, "PUT", path, body=body, deadline=self._deadline))


def _held(body: dict[str, dict[str, object]]) -> Held:
    spec = body.get("spec") or {}
    transitions = spec.get("leaseTransitions")
    return Held(
        holder=str(spec.get("holderIdentity") or ""),
        version=str(body["metadata"]["resourceVersion"]),
        transitions=transitions if isinstance(transitions, int) else 0,
    )
