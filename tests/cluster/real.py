"""The same world on a real API server: what a stranger does goes over plain requests."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from preamar.cluster.call import call
from preamar.cluster.connect import connect
from preamar.cluster.kinds import collection, location
from preamar.cluster.live import LiveCluster
from preamar.core.plan import Ref


@dataclass
class RealWorld:
    cluster: LiveCluster
    namespace: str
    client: Any

    def ref(self, name: str) -> Ref:
        return Ref("apps/v1", "Deployment", self.namespace, name)

    async def edit(self, ref: Ref, change: Callable[[dict], None]) -> dict[str, Any]:
        body = await call(self.client, "GET", location(ref))
        change(body)
        return await call(self.client, "PUT", location(ref), body=body)

    async def counted(self, regarding: dict[str, Any], reason: str) -> int:
        events = await call(self.client, "GET", collection("v1", "events", self.namespace))
        return sum(
            event["count"]
            for event in events["items"]
            if event["involvedObject"]["uid"] == regarding["metadata"]["uid"]
            and event["reason"] == reason
        )


@contextlib.asynccontextmanager
async def real_world(kubeconfig: str) -> AsyncIterator[RealWorld]:
    """A namespace of its own, removed at the end."""
    namespace = f"contract-{uuid.uuid4().hex[:8]}"
    async with connect(kubeconfig) as client:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await call(client, "POST", "/api/v1/namespaces", body=body)
        try:
            yield RealWorld(LiveCluster(client), namespace, client)
        finally:
            await call(client, "DELETE", f"/api/v1/namespaces/{namespace}")
