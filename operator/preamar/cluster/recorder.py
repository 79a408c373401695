"""How events are recorded: one Event object per thing said about an object, with a count.

Its name is computed from what it says, so that an operator which died halfway, or another replica,
counts on instead of saying it twice. What one object may cause is limited, and so is what is
remembered.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from kubernetes.aio.client import ApiClient

from preamar.cluster.call import MERGE, call
from preamar.cluster.kinds import collection
from preamar.cluster.port import Conflict
from preamar.core.plan import Event, Manifest

REMEMBERED = 2048
BURST, SECONDS_PER_EVENT = 25.0, 60.0
LONGEST_MESSAGE = 1024


@dataclass(slots=True)
class _Allowance:
    left: float
    at: float


class Recorder:
    """Writes events, counts repeats, and holds back an object that talks too much."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()

    async def record(self, regarding: Manifest, event: Event) -> None:
        """Raises ``ClusterError``; an event held back is counted with the next one."""
        metadata = regarding["metadata"]
        said = "\0".join((metadata["uid"], event.type, event.reason, event.message))
        name = f"{metadata['name'][:200]}.{sha256(said.encode()).hexdigest()[:16]}"
        count = self._counts.pop(name, 0) + 1
        _remember(self._counts, name, count)
        if not self._allowed(metadata["uid"]):
            return
        path = collection("v1", "events", metadata.get("namespace") or "default")
        if count == 1:
            try:
                await call(self._client, "POST", path, body=_body(name, regarding, event))
                return
            except Conflict:  # said before this process began
                found = await call(self._client, "GET", f"{path}/{name}")
                count = self._counts[name] = int(found.get("count") or 1) + 1
        again = {"count": count, "lastTimestamp": _now()}
        try:
            await call(self._client, "PATCH", f"{path}/{name}", body=again, content_type=MERGE)
        except Conflict:  # the server keeps events for an hour only
            self._counts[name] = 1
            await call(self._client, "POST", path, body=_body(name, regarding, event))

    def _allowed(self, uid: str) -> bool:
        now = time.monotonic()
        allowance = self._allowances.pop(uid, None) or _Allowance(BURST, now)
        earned = (now - allowance.at) / SECONDS_PER_EVENT
        allowance = _Allowance(min(BURST, allowance.left + earned), now)
        allowed = allowance.left >= 1
        allowance.left -= allowed
        _remember(self._allowances, uid, allowance)
        return allowed


def _remember(memory: OrderedDict[str, Any], key: str, value: Any) -> None:
    memory[key] = value
    while len(memory) > REMEMBERED:
        memory.popitem(last=False)


def _body(name: str, regarding: Manifest, event: Event) -> dict[str, Any]:
    metadata = regarding["metadata"]
    now = _now()
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": metadata.get("namespace") or "default"},
        "involvedObject": {
            "apiVersion": regarding["apiVersion"],
            "kind": regarding["kind"],
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata["uid"],
        },
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:LONGEST_MESSAGE],
        "source": {"component": "preamar-operator"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
