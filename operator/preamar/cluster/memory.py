"""A cluster in a dict: the API server's habits that our code relies on, without a network.

Resource versions, UIDs, generations, server-side apply with owners of fields, ``/status`` and
``/scale``, preconditions, finalizers and garbage collection. For tests, the life test and dry
runs; ``tests/cluster`` holds it and a real API server to the same contract.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from preamar.cluster.ownership import Path, changed, differs, leaves, merge, remove
from preamar.cluster.port import Conflict, Refused
from preamar.core.plan import Event, Manifest, Mark, Ref, ref_of

Json = TypeVar("Json")
Verb = Literal["apply", "delete", "scale", "mark", "status", "emit", "read"]
OBJECTS, STATUS, SCALER, USER = "preamar/objects", "preamar/status", "preamar/scaler", "user"
# Parts of metadata which only the server writes.
SERVER_OWNED = frozenset(
    {"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"}
)
NOT_FIELDS = SERVER_OWNED | {"name", "namespace"}


class MemoryCluster:
    """``Cluster`` in memory. ``before`` sees every verb first and may raise, which is how tests
    make a write fail; the methods which are not of the port are what users and controllers do.
    """

    def __init__(
        self,
        clock: Callable[[], str] = lambda: "2026-01-01T00:00:00Z",
        before: Callable[[Verb, Ref], None] = lambda _verb, _ref: None,
    ) -> None:
        self.objects: dict[Ref, dict[str, Any]] = {}
        self.events: dict[tuple[Ref, Event], int] = {}
        self.version = 0
        self.before = before
        self._clock = clock
        self._born = 0
        self._owned: dict[Ref, dict[str, frozenset[Path]]] = {}

    # The port.

    async def read(self, ref: Ref) -> Manifest | None:
        """The object as it is now."""
        self.before("read", ref)
        return self.get(ref)

    async def apply(self, manifest: Manifest) -> str:
        """Server-side apply; an unchanged object keeps its version."""
        ref = ref_of(manifest)
        self.before("apply", ref)
        if "managedFields" in manifest["metadata"]:
            raise Refused(f"{ref.kind} {ref.name}: metadata.managedFields must be nil")
        live = self.objects.get(ref)
        self._check(live, manifest, ref)
        sent = _plain({key: part for key, part in manifest.items() if key != "status"})
        return self._write_as(OBJECTS, ref, live, sent)

    async def delete(self, ref: Ref, uid: str) -> None:
        """Delete that very object; a namesake is left alone."""
        self.before("delete", ref)
        live = self.objects.get(ref)
        if live is not None and live["metadata"]["uid"] == uid:
            self.remove(ref)

    async def scale(self, ref: Ref, replicas: int, version: str) -> str:
        """Write the size, if nobody wrote since ``version``."""
        self.before("scale", ref)
        live = self.objects.get(ref)
        if live is None or live["metadata"]["resourceVersion"] != version:
            raise Conflict(f"{ref.kind} {ref.name} is not at version {version}")
        self._take(ref, SCALER, frozenset({("spec", "replicas")}))
        return self._store(ref, merge(live, {"spec": {"replicas": replicas}}))

    async def mark(self, mark: Mark) -> None:
        """Write one annotation of that very object."""
        self.before("mark", mark.ref)
        live = self.objects.get(mark.ref)
        if live is None or live["metadata"]["uid"] != mark.uid:
            raise Conflict(f"{mark.ref.kind} {mark.ref.name} of UID {mark.uid} is not there")
        self._take(mark.ref, mark.manager, frozenset({("metadata", "annotations", mark.name)}))
        told = {"metadata": {"annotations": {mark.name: mark.value}}}
        self._store(mark.ref, merge(live, told))

    async def patch_status(self, manifest: Manifest) -> str:
        """Server-side apply of ``.status`` alone."""
        ref = ref_of(manifest)
        self.before("status", ref)
        live = self.objects.get(ref)
        if live is None:
            raise Conflict(f"{ref.kind} {ref.name} is not there")
        self._check(live, manifest, ref)
        return self._write_as(STATUS, ref, live, _plain({"status": manifest.get("status", {})}))

    async def emit(self, regarding: Manifest, event: Event) -> None:
        """Count the event."""
        ref = ref_of(regarding)
        self.before("emit", ref)
        self.events[ref, event] = self.events.get((ref, event), 0) + 1

    # What users and controllers do.

    def get(self, ref: Ref) -> dict[str, Any] | None:
        """A copy of the object."""
        return _copy(self.objects.get(ref))

    def select(
        self, kind: str, labels: Mapping[str, str] | None = None, namespace: str = ""
    ) -> list[dict[str, Any]]:
        """Copies of the objects of a kind which carry these labels, by namespace and name."""
        return [
            _copy(found)
            for ref, found in sorted(self.objects.items())
            if ref.kind == kind
            and (not namespace or ref.namespace == namespace)
            and (labels or {}).items() <= found["metadata"].get("labels", {}).items()
        ]

    def create(self, manifest: Manifest) -> dict[str, Any]:
        """A user makes an object."""
        ref = ref_of(manifest)
        if ref in self.objects:
            raise Conflict(f"{ref.kind} {ref.name} already exists")
        self._write_as(USER, ref, None, _plain(manifest))
        return _copy(self.objects[ref])

    def edit(self, ref: Ref, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """A user or a controller changes an object in place, status included."""
        wanted = _copy(self.objects[ref])
        change(wanted)
        before = self.objects[ref]
        self._take(ref, USER, frozenset(changed(before, wanted)))
        self._store(ref, wanted)
        return _copy(self.objects.get(ref, wanted))

    def remove(self, ref: Ref) -> None:
        """A user deletes an object; finalizers hold it until somebody removes them."""
        live = self.objects[ref]
        if live["metadata"].get("finalizers"):
            if "deletionTimestamp" not in live["metadata"]:
                gone = _copy(live)
                gone["metadata"]["deletionTimestamp"] = self._clock()
                self._store(ref, gone)
            return
        self.version += 1
        del self.objects[ref], self._owned[ref]

    def collect_garbage(self) -> None:
        """Delete every object all of whose owners are gone, until there is none."""
        while True:
            alive = {found["metadata"]["uid"] for found in self.objects.values()}
            orphans = [
                ref
                for ref, found in self.objects.items()
                if (owners := found["metadata"].get("ownerReferences"))
                and not any(owner["uid"] in alive for owner in owners)
                and "deletionTimestamp" not in found["metadata"]
            ]
            if not orphans:
                return
            for ref in orphans:
                self.remove(ref)

    # How it is kept.

    def _check(self, live: Manifest | None, manifest: Manifest, ref: Ref) -> None:
        """UID and version in what is sent are preconditions."""
        for field in ("uid", "resourceVersion"):
            wanted = manifest["metadata"].get(field)
            if wanted is not None and (live is None or live["metadata"][field] != wanted):
                raise Conflict(f"{ref.kind} {ref.name}: {field} is not {wanted}")

    def _write_as(
        self, manager: str, ref: Ref, live: dict[str, Any] | None, sent: dict[str, Any]
    ) -> str:
        told = {key: part for key, part in sent.items() if key not in {"apiVersion", "kind"}}
        told["metadata"] = {
            key: part for key, part in sent.get("metadata", {}).items() if key not in NOT_FIELDS
        }
        mine = frozenset(path for path in leaves(told) if path != ("metadata",))
        wanted = merge(live or {"metadata": {}}, sent)
        others = [paths for who, paths in self._owned.get(ref, {}).items() if who != manager]
        for path in sorted(self._owned.get(ref, {}).get(manager, frozenset()) - mine):
            if not any(_holds(paths, path) for paths in others):
                wanted = remove(wanted, path)
        changed_hands = self._owned.get(ref, {}).get(manager, frozenset()) != mine
        if live is not None and wanted != live:
            lost = frozenset(path for path in mine if differs(live, wanted, path))
            self._take(ref, manager, lost)
        self._owned.setdefault(ref, {})[manager] = mine
        return self._store(ref, wanted, even_unchanged=changed_hands)

    def _take(self, ref: Ref, manager: str, paths: frozenset[Path]) -> None:
        """Fields whose value ``manager`` changed are no longer owned by anybody else."""
        owned = self._owned.setdefault(ref, {})
        for other in owned:
            if other != manager:
                owned[other] -= paths
        owned[manager] = owned.get(manager, frozenset()) | paths

    def _store(self, ref: Ref, wanted: dict[str, Any], *, even_unchanged: bool = False) -> str:
        live = self.objects.get(ref)
        meta = dict(wanted["metadata"])
        if live is None:
            self._born += 1
            uid = f"{self._born:08x}-0000-4000-8000-000000000000"
            meta |= {"uid": uid, "generation": 1, "creationTimestamp": self._clock()}
        else:
            meta |= {
                name: live["metadata"][name] for name in SERVER_OWNED & live["metadata"].keys()
            }
            if "deletionTimestamp" in wanted["metadata"]:
                meta["deletionTimestamp"] = wanted["metadata"]["deletionTimestamp"]
            if wanted.get("spec") != live.get("spec"):
                meta["generation"] = live["metadata"]["generation"] + 1
        stored = {**wanted, "metadata": meta}
        if live is not None and stored == live and not even_unchanged:
            return str(live["metadata"]["resourceVersion"])
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        self.objects[ref] = stored
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            self.remove(ref)
        return str(self.version)


def _holds(paths: frozenset[Path], wanted: Path) -> bool:
    """Whether an owner has that field, or one inside it."""
    return any(path[: len(wanted)] == wanted for path in paths)


def _plain(value: Any) -> Any:
    """JSON of our own making, with the dicts and lists that JSON has and nothing shared."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value


def _copy(value: Json) -> Json:
    """A copy of JSON, several times as fast as one that must expect anything."""
    found: Any = value
    if type(found) is dict:
        found = {key: _copy(part) for key, part in found.items()}
    elif type(found) is list:
        found = [_copy(part) for part in found]
    return found  # type: ignore[no-any-return]
