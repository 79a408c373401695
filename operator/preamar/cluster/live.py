"""The seven verbs, spoken to a real API server: server-side apply, one field manager per concern.

Every request has a deadline and is sent once; the work queue decides about another try. The fields
of a status, of children and of a size have managers of their own, so that ``kubectl`` shows who
wrote what, and nobody's fields are lost.
"""

from collections.abc import Callable
from typing import Any

from kubernetes.aio.client import ApiClient

from preamar.cluster.call import APPLY, MERGE, call
from preamar.cluster.kinds import location
from preamar.cluster.port import ClusterError, Conflict
from preamar.cluster.recorder import Recorder
from preamar.core.plan import Event, Manifest, Mark, Ref, ref_of

OBJECTS, STATUS, SCALER = "preamar/objects", "preamar/status", "preamar/scaler"
Told = Callable[[str, str], None]


class LiveCluster:
    """``Cluster`` over ``kubernetes.aio``. ``told`` hears each request's verb and outcome
    (``ok``, ``absent`` or the name of the error), for metrics."""

    def __init__(self, client: ApiClient, told: Told = lambda _verb, _outcome: None) -> None:
        self._client = client
        self._told = told
        self._recorder = Recorder(client)

    async def read(self, ref: Ref) -> Manifest | None:
        """The object as it is now; a kind that is not installed is an error, not an absence."""
        try:
            return await self._call("read", "GET", location(ref))
        except Conflict as error:
            if error.status == 404:
                return None
            raise

    async def apply(self, manifest: Manifest) -> str:
        """Create or change an object, so that it says what we say."""
        query = {"fieldManager": OBJECTS, "force": "true"}
        path = location(ref_of(manifest))
        return _version(await self._call("apply", "PATCH", path, query, plain(manifest), APPLY))

    async def delete(self, ref: Ref, uid: str) -> None:
        """Delete that very object; its dependents follow in the background."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            await self._call("delete", "DELETE", location(ref), None, options)
        except Conflict:
            # Gone (404), or another object has the name by now (409): ours is not there.
            return

    async def scale(self, ref: Ref, replicas: int, version: str) -> str:
        """Write the size as any autoscaler would."""
        body = {"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}}
        query = {"fieldManager": SCALER}
        path = f"{location(ref)}/scale"
        return _version(await self._call("scale", "PATCH", path, query, body, MERGE))

    async def mark(self, mark: Mark) -> None:
        """A merge patch, because an apply to a pod that is gone would try to create one."""
        body = {"metadata": {"uid": mark.uid, "annotations": {mark.name: mark.value}}}
        query = {"fieldManager": mark.manager}
        await self._call("mark", "PATCH", location(mark.ref), query, body, MERGE)

    async def patch_status(self, manifest: Manifest) -> str:
        """Write the status, and nothing beside it."""
        query = {"fieldManager": STATUS, "force": "true"}
        path = f"{location(ref_of(manifest))}/status"
        return _version(await self._call("status", "PATCH", path, query, plain(manifest), APPLY))

    async def emit(self, regarding: Manifest, event: Event) -> None:
        """Record an event."""
        try:
            await self._recorder.record(regarding, event)
        except ClusterError as error:
            self._told("emit", type(error).__name__)
            raise
        self._told("emit", "ok")

    async def _call(
        self,
        verb: str,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        try:
            answer = await call(
                self._client, method, path, query=query, body=body, content_type=content_type
            )
        except ClusterError as error:
            absent = verb == "read" and error.status == 404
            self._told(verb, "absent" if absent else type(error).__name__)
            raise
        self._told(verb, "ok")
        return answer


def plain(value: Any) -> Any:
    """JSON of dicts and lists only: the client knows no other mappings."""
    if hasattr(value, "items"):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value


def _version(answer: dict[str, Any]) -> str:
    return str(answer["metadata"]["resourceVersion"])
