"""What did the watches last tell? Kopf's indices, read by key.

Handlers only fill indices and name keys; no handler runs before every index is full. Small frozen
views are kept, not bodies; of the resources themselves the body, because a pass parses it anew.
``ghosts`` are objects whose deletion a watch has missed: the audit finds them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import kopf

from preamar.core.objects import Child
from preamar.core.plan import Manifest, Ref
from preamar.protocol.labels import OURS
from preamar.shell.watching.keys import Key, owner_key

Add = Callable[[Key], None]


@dataclass(frozen=True, slots=True)
class MirroredObject:
    """One object as a watch last showed it."""

    ref: Ref
    uid: str
    version: int
    child: Child
    view: Any
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Watched:
    """A kind that Kopf watches for us; ``selector`` filters on the server. ``cluster``: it has no
    namespaces."""

    api_version: str
    kind: str
    plural: str
    selector: str | None = None
    cluster: bool = False

    @property
    def place(self) -> dict[str, Any]:
        """As Kopf names kinds."""
        group, _, version = self.api_version.rpartition("/")
        return {"group": group, "version": version, "plural": self.plural}


class Mirror:
    """The indices of all watched kinds."""

    def __init__(self) -> None:
        self.watched: list[Watched] = []
        self.ghosts: set[str] = set()
        self.full = False
        self._indices: Mapping[str, Any] = {}

    def connect(self, indices: Mapping[str, Any]) -> None:
        """Take Kopf's indices, which its start-up handlers are given by name."""
        self._indices = {w.plural: indices[w.plural] for w in self.watched}

    def watch_resources(
        self,
        registry: kopf.OperatorRegistry,
        watched: Watched,
        changed: Callable[[Key, Manifest, bool], None],
    ) -> None:
        """Index one of our own kinds by key; ``changed`` hears every event, and whether the
        resource is still there after it."""
        self.watched.append(watched)

        async def by_key(namespace: str | None, name: str, body: Any, **_: Any) -> Any:
            return {Key(watched.kind, namespace or "", name): _lean(body)}

        async def heard(namespace: str | None, name: str, body: Any, **event: Any) -> None:
            self.full = True
            changed(Key(watched.kind, namespace or "", name), body, event["type"] != "DELETED")

        kopf.index(**watched.place, id=watched.plural, registry=registry)(by_key)
        kopf.on.event(**watched.place, id=f"{watched.plural}-heard", registry=registry)(heard)

    def watch_children(
        self,
        registry: kopf.OperatorRegistry,
        watched: Watched,
        view: Callable[[Manifest], Any],
        add: Add,
    ) -> None:
        """Index a kind of children by the key of the resource they belong to."""
        self.watched.append(watched)

        async def by_owner(body: Any, **_: Any) -> Any:
            key = owner_key(body["metadata"])
            return {} if key is None else {key: _seen(watched, body, view)}

        async def heard(body: Any, **_: Any) -> None:
            self.full = True
            key = owner_key(body["metadata"])
            if key is not None:
                add(key)

        kopf.index(**watched.place, id=watched.plural, registry=registry)(by_owner)
        kopf.on.event(**watched.place, id=f"{watched.plural}-heard", registry=registry)(heard)

    def keys(self, kind: str) -> Iterator[Key]:
        """Every resource of one of our kinds."""
        for watched in self.watched:
            if watched.kind == kind:
                yield from self._indices.get(watched.plural, ())

    def resource(self, key: Key) -> dict[str, Any] | None:
        """The body of a resource, None if it is not there."""
        for watched in self.watched:
            if watched.kind == key.kind:
                found = [
                    body
                    for body in self._at(watched.plural, key)
                    if body["metadata"]["uid"] not in self.ghosts
                ]
                return max(found, key=lambda b: version_of(b["metadata"]), default=None)
        return None

    def children(self, key: Key) -> dict[Ref, MirroredObject]:
        """The newest object under each name that carries the key's label, pods left out."""
        newest: dict[Ref, MirroredObject] = {}
        for watched in self.watched:
            if watched.kind in {key.kind, "Pod"}:
                continue
            for seen in self._at(watched.plural, key):
                other = newest.get(seen.ref)
                if seen.uid not in self.ghosts and (not other or other.version < seen.version):
                    newest[seen.ref] = seen
        return newest

    def pods(self, key: Key) -> tuple[Any, ...]:
        """Views of the pods that carry the key's label, by name."""
        seen = [pod for pod in self._at("pods", key) if pod.uid not in self.ghosts]
        return tuple(pod.view for pod in sorted(seen, key=lambda pod: pod.ref.name))

    def versions(self, plural: str) -> dict[str, tuple[int, Key]]:
        """What an index holds, by UID: for the audit."""
        held: dict[str, tuple[int, Key]] = {}
        index = self._indices.get(plural) or {}
        for key in index:
            for item in index[key]:
                if isinstance(item, MirroredObject):
                    held[item.uid] = (item.version, key)
                else:
                    held[item["metadata"]["uid"]] = (version_of(item["metadata"]), key)
        return held

    def _at(self, plural: str, key: Key) -> list[Any]:
        index = self._indices.get(plural)
        return list(index[key]) if index is not None and key in index else []


def children_of_kind(api_version: str, kind: str, plural: str) -> Watched:
    """A kind of which we watch only what carries our label."""
    return Watched(api_version, kind, plural, OURS)


def version_of(metadata: Mapping[str, Any]) -> int:
    """Resource versions of one kind are ordered numbers; 0 for what cannot be read as one."""
    text = str(metadata.get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 0


def _seen(watched: Watched, body: Any, view: Callable[[Manifest], Any]) -> MirroredObject:
    # Lists come without the kind, which a view may need.
    plain = {**body, "apiVersion": watched.api_version, "kind": watched.kind}
    metadata = plain["metadata"]
    return MirroredObject(
        ref=Ref(
            watched.api_version, watched.kind, metadata.get("namespace") or "", metadata["name"]
        ),
        uid=metadata["uid"],
        version=version_of(metadata),
        child=Child.of(plain),
        view=view(plain),
        labels=dict(metadata.get("labels") or {}),
    )


def _lean(body: Any) -> dict[str, Any]:
    """A resource's body without the record of who wrote what, which may be most of it."""
    metadata = {key: part for key, part in body["metadata"].items() if key != "managedFields"}
    return {**body, "metadata": metadata}
