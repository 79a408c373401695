"""What is going on while the operator dies: a service that is made and grows, a training run that
starts and is suspended. Each step waits for the cluster, never for the clock."""

from typing import Any

from e2e.faults.world import Gateway, World

MEMORY = {"requests": {"cpu": "10m", "memory": "16Mi"}}


async def serving(world: World, gateway: Gateway) -> None:
    """A service is made, loads its model, and is asked for four replicas."""
    gateway.services = {f"{world.namespace}/chat": {"queued": 0, "running": 1, "arrived": 1}}
    await world.claim("models")
    await world.make(
        "inferenceservices",
        {
            "apiVersion": "preamar.dev/v1alpha1",
            "kind": "InferenceService",
            "metadata": {"name": "chat"},
            "spec": {
                "model": {"uri": "pvc://models/chat"},
                "accelerator": {"type": "CPU"},
                "scaling": {"min": 1, "max": 4, "target": {"signal": "InFlight", "value": "8"}},
            },
        },
    )
    await world.until("the service is ready", lambda: _says(world, "chat", "Ready", 1))
    gateway.services = {f"{world.namespace}/chat": {"queued": 25, "running": 5, "arrived": 31}}
    await world.until("four replicas are ready", lambda: _says(world, "chat", "Ready", 4))


async def training(world: World, _gateway: Gateway) -> None:
    """A job is made, its gang starts; the user suspends it, and the gang goes."""
    await world.claim("data")
    await world.claim("ckpt")
    await world.make(
        "trainingjobs",
        {
            "apiVersion": "preamar.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": "gpt"},
            "spec": {
                "model": {"preset": "gpt-tiny"},
                "batch": {"global": 8},
                "accelerator": {"type": "CPU"},
                "workers": {"replicas": 2, "min": 1, "max": 2, "resources": MEMORY},
                "data": {"sources": [{"name": "books", "uri": "pvc://data/books", "weight": "1"}]},
                "checkpoint": {"uri": "pvc://ckpt/run"},
                "steps": 10,
            },
        },
    )
    await world.until("the gang trains", lambda: _is(world, "gpt", "Running", "True"))
    # Or its progress is in the end of one run, and not in that of another.
    await world.until("its progress is told", lambda: _progress(world, "gpt"))
    await world.patch("trainingjobs", "gpt", {"spec": {"suspend": True}})
    await world.until("the job is suspended", lambda: _is(world, "gpt", "Suspended", "True"))


WORKLOADS = {"serving": serving, "training": training}


async def _says(world: World, name: str, condition: str, replicas: int) -> bool:
    found = await world.call("GET", world.path("inferenceservices", name))
    status: dict[str, Any] = (found or {}).get("status") or {}
    return status.get("readyReplicas") == replicas and _true(status, condition) == "True"


async def _is(world: World, name: str, condition: str, wanted: str) -> bool:
    found = await world.call("GET", world.path("trainingjobs", name))
    return _true((found or {}).get("status") or {}, condition) == wanted


async def _progress(world: World, name: str) -> bool:
    found = await world.call("GET", world.path("trainingjobs", name))
    return bool(((found or {}).get("status") or {}).get("progress"))


def _true(status: dict[str, Any], condition: str) -> str:
    return next((c["status"] for c in status.get("conditions", ()) if c["type"] == condition), "")
