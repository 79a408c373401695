"""Is the end as it would have been without the fault? Judged without asking the operator.

The state of a namespace, with what differs between any two runs masked; what was created and
deleted, and how often; whose children exist; and that every delete named the UID it meant.
"""

import json
from collections import Counter
from typing import Any

from e2e.faults.proxy import Write
from e2e.faults.world import World

RESOURCES = ("inferenceservices", "trainingjobs")
CHILDREN = ("deployments", "services", "poddisruptionbudgets", "jobs")
# Times, versions and names that are drawn; and history, which tells of the fault itself.
MASKED = {
    "uid", "resourceVersion", "creationTimestamp", "managedFields", "lastTransitionTime", "at",
    "startTime", "clusterIP", "clusterIPs", "decisions", "learned", "controller-uid",
    "batch.kubernetes.io/controller-uid", "lastUpdateTime", "signal", "deployment.kubernetes.io/revision",
    "completionTime", "startedAt", "finishedAt", "generation", "observedGeneration", "terminating", "uncountedTerminatedPods",
    "message", "goodput", "disruptedPods", "wanted",
}  # fmt: skip


async def snapshot(world: World) -> dict[str, Any]:
    """Everything of the namespace that a user would call its state."""
    state: dict[str, Any] = {}
    uids: dict[str, str] = {}
    for plural in (*RESOURCES, *CHILDREN):
        for found in await world.items(plural):
            name = f"{plural}/{found['metadata']['name']}"
            uids[found["metadata"]["uid"]] = name
            state[name] = _masked({key: found.get(key) for key in ("metadata", "spec", "status")})
    pods = Counter(
        f"{pod['metadata']['labels'].get('app.kubernetes.io/instance')} {pod['status']['phase']}"
        for pod in await world.items("pods")
        if not pod["metadata"].get("deletionTimestamp")
    )
    state["pods"] = dict(sorted(pods.items()))
    text = json.dumps(state, sort_keys=True)
    for uid, name in uids.items():
        text = text.replace(uid, f"<{name}>")
    return dict(json.loads(text.replace(world.namespace, "<namespace>")))


async def strays(world: World) -> list[str]:
    """Children that have no owner which exists: nobody would ever remove them."""
    alive = {
        found["metadata"]["uid"] for plural in RESOURCES for found in await world.items(plural)
    }
    return [
        f"{plural}/{found['metadata']['name']} has no owner"
        for plural in CHILDREN
        for found in await world.items(plural)
        if not any(o["uid"] in alive for o in found["metadata"].get("ownerReferences", ()))
    ]


def summary(writes: list[Write]) -> dict[str, int]:
    """What the operator created and deleted, by name, and how often it took effect."""
    counted: Counter[str] = Counter()
    for write in writes:
        what = write.name.split(" ")[1]
        if what == "events":
            continue
        if write.status == 201:
            counted[f"CREATE {what}"] += 1
        elif write.method == "DELETE" and write.status < 300:
            counted[f"DELETE {what}"] += 1
    return dict(sorted(counted.items()))


def careless(writes: list[Write]) -> list[str]:
    """Deletes that did not say which object they meant."""
    return [
        f"{write.name} without a UID"
        for write in writes
        if write.method == "DELETE"
        and not ((write.body or {}).get("preconditions") or {}).get("uid")
    ]


def differences(wanted: Any, found: Any, place: str = "") -> list[str]:
    """Where two states differ, for people."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [
            line
            for key in sorted(wanted.keys() | found.keys())
            for line in differences(wanted.get(key), found.get(key), f"{place}/{key}")
        ]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return [
            line
            for index, (left, right) in enumerate(zip(wanted, found, strict=True))
            for line in differences(left, right, f"{place}/{index}")
        ]
    return [] if wanted == found else [f"{place}: {_short(wanted)} became {_short(found)}"]


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _masked(part) for key, part in value.items() if key not in MASKED}
    if isinstance(value, list):
        items = [_masked(item) for item in value]
        if items and all(isinstance(item, dict) and "type" in item for item in items):
            return sorted(items, key=lambda item: str(item["type"]))
        return items
    return value


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 160 else text[:157] + "..."
