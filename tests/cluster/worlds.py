"""Two clusters to ask the same questions: the one in memory, and a real API server."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
import pytest_asyncio

from preamar.cluster.memory import MemoryCluster
from preamar.cluster.port import Cluster
from preamar.core.plan import Ref, ref_of


class World(Protocol):
    """A cluster, and what somebody else does in it."""

    cluster: Cluster
    namespace: str

    def ref(self, name: str) -> Ref: ...
    async def edit(self, ref: Ref, change: Callable[[dict], None]) -> dict[str, Any]: ...
    async def counted(self, regarding: dict[str, Any], reason: str) -> int: ...


@dataclass
class MemoryWorld:
    cluster: MemoryCluster
    namespace: str = "contract"

    def ref(self, name: str) -> Ref:
        return Ref("apps/v1", "Deployment", self.namespace, name)

    async def edit(self, ref: Ref, change: Callable[[dict], None]) -> dict[str, Any]:
        return self.cluster.edit(ref, change)

    async def counted(self, regarding: dict[str, Any], reason: str) -> int:
        return sum(
            count
            for (ref, event), count in self.cluster.events.items()
            if ref == ref_of(regarding) and event.reason == reason
        )


@pytest_asyncio.fixture(
    params=["memory", pytest.param("apiserver", marks=pytest.mark.apiserver)],
)
async def both_worlds(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld(MemoryCluster())
        return
    from tests.cluster.real import real_world

    kubeconfig = request.getfixturevalue("kubeconfig")
    async with real_world(kubeconfig) as world:
        yield world


def a_deployment(
    world: World,
    name: str,
    *,
    replicas: int | None = 0,
    annotations: dict[str, str] | None = None,
    env: dict[str, str] | None = None,
) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "main", "image": "localhost/none"}
    if env:
        container["env"] = [{"name": key, "value": value} for key, value in env.items()]
    spec = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    metadata: dict[str, Any] = {"name": name, "namespace": world.namespace}
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def container_of(deployment: Any) -> dict[str, Any]:
    return deployment["spec"]["template"]["spec"]["containers"][0]
