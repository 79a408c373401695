"""What users, controllers and kubelets do in a run: straight to the API server, not by the proxy.

Deployments, Jobs and garbage are the real controllers'. There is no node: ``Kubelet`` says what one
would say of pods, and the gateway is a report each quarter of a second.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp

MERGE = "application/merge-patch+json"
PATHS = {
    "pods": "/api/v1/namespaces/{}/pods",
    "services": "/api/v1/namespaces/{}/services",
    "events": "/api/v1/namespaces/{}/events",
    "persistentvolumeclaims": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "deployments": "/apis/apps/v1/namespaces/{}/deployments",
    "jobs": "/apis/batch/v1/namespaces/{}/jobs",
    "poddisruptionbudgets": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "inferenceservices": "/apis/preamar.dev/v1alpha1/namespaces/{}/inferenceservices",
    "trainingjobs": "/apis/preamar.dev/v1alpha1/namespaces/{}/trainingjobs",
}


@dataclass(slots=True)
class World:
    """One namespace of the cluster."""

    server: str
    session: aiohttp.ClientSession
    namespace: str

    async def call(self, method: str, path: str, body: Any = None, kind: str = "") -> Any:
        """One request; raises on anything but success, None for 404."""
        headers = {"Content-Type": kind or "application/json"}
        async with self.session.request(
            method, f"{self.server}{path}", json=body, headers=headers
        ) as answer:
            if answer.status == 404:  # a path that is not served yet says so in plain text
                return None
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {await answer.text()}")
            return await answer.json(content_type=None)

    def path(self, plural: str, name: str = "", part: str = "") -> str:
        """Where objects are."""
        return "/".join(filter(None, (PATHS[plural].format(self.namespace), name, part)))

    async def items(self, plural: str) -> list[dict[str, Any]]:
        """All objects of a kind."""
        found = await self.call("GET", self.path(plural))
        return list(found["items"])

    async def make(self, plural: str, body: dict[str, Any]) -> dict[str, Any]:
        """A user makes an object."""
        made: dict[str, Any] = await self.call("POST", self.path(plural), body)
        return made

    async def patch(self, plural: str, name: str, body: dict[str, Any], part: str = "") -> None:
        """Somebody changes an object."""
        await self.call("PATCH", self.path(plural, name, part), body, MERGE)

    async def claim(self, name: str) -> None:
        """A volume that is there and can be shared."""
        spec = {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "",
        }
        await self.make("persistentvolumeclaims", {"metadata": {"name": name}, "spec": spec})
        status = {"phase": "Bound", "accessModes": ["ReadWriteMany"]}
        await self.patch("persistentvolumeclaims", name, {"status": status}, "status")

    async def until(self, what: str, true: Callable[[], Any], seconds: float = 45.0) -> None:
        """Wait for something to become true of the cluster."""
        try:
            async with asyncio.timeout(seconds):
                while not await true():  # noqa: ASYNC110  # the truth is in another process
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise TimeoutError(f"not within {seconds:g} s: {what}") from None


@dataclass(slots=True)
class Kubelet:
    """Pods become ready soon after they are made, and end when deleted."""

    world: World
    done: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(RuntimeError, aiohttp.ClientError):
                for pod in await self.world.items("pods"):
                    await self._one(pod)
            await asyncio.sleep(0.1)

    async def _one(self, pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        if metadata.get("deletionTimestamp"):
            options = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
            path = self.world.path("pods", metadata["name"])
            await self.world.call("DELETE", path, options)
            return
        if metadata["uid"] in self.done:
            return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        true = [
            {"type": t, "status": "True", "lastTransitionTime": now}
            for t in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ]
        containers = [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": metadata["creationTimestamp"]}},
            }
            for container in pod["spec"]["containers"]
        ]
        status = {
            "phase": "Running",
            "conditions": true,
            "containerStatuses": containers,
            "podIP": "127.0.0.1",
            "podIPs": [{"ip": "127.0.0.1"}],
        }
        await self.world.patch("pods", metadata["name"], {"status": status}, "status")
        self.done.add(metadata["uid"])


@dataclass(slots=True)
class Gateway:
    """Reports demand to whichever operator listens."""

    port: int
    key: str
    services: dict[str, dict[str, int]] = field(default_factory=dict)

    async def run(self) -> None:
        """Until cancelled."""
        sequence = 0
        headers = {"Authorization": f"Bearer {self.key}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            while True:
                sequence += 1
                report = {"gateway": "g", "sequence": sequence, "services": self.services}
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with session.post(
                        f"http://127.0.0.1:{self.port}/demand", json=report
                    ) as answer:
                        await answer.read()
                await asyncio.sleep(0.25)
