"""Which sizes were written outside a pass, and have not been shown by a watch yet?

A pass goes on from the size as it was written, so that it neither waits for the watch nor writes
the size again; it also tells what there is to say of it, once.
"""

from dataclasses import dataclass

from preamar.core.plan import Event, Manifest
from preamar.shell.watching.keys import Key
from preamar.shell.watching.mirror import version_of


@dataclass(slots=True)
class _Size:
    version: int
    replicas: int
    events: tuple[Event, ...]


class Expectations:
    """The last such size of each resource."""

    def __init__(self) -> None:
        self._sizes: dict[Key, _Size] = {}

    def scaled(self, key: Key, version: int, replicas: int, events: tuple[Event, ...]) -> None:
        """Note a size, the version of the resource that has it, and what to say of it."""
        self._sizes[key] = _Size(version, replicas, events)

    def caught_up(self, key: Key, body: Manifest) -> Manifest:
        """The resource with that size in it, unless the watch has shown as much."""
        size = self._sizes.get(key)
        if size is None or version_of(body["metadata"]) >= size.version:
            return body
        metadata = {**body["metadata"], "resourceVersion": str(size.version)}
        return {**body, "metadata": metadata, "spec": {**body["spec"], "replicas": size.replicas}}

    def unsaid(self, key: Key) -> tuple[Event, ...]:
        """What is to be told still."""
        size = self._sizes.get(key)
        return size.events if size else ()

    def said(self, key: Key, body: Manifest) -> None:
        """It was told; nothing is kept once a watch has shown as much."""
        size = self._sizes.get(key)
        if size is None:
            return
        size.events = ()
        if version_of(body["metadata"]) >= size.version:
            del self._sizes[key]

    def forget(self, key: Key) -> None:
        """The resource is gone."""
        self._sizes.pop(key, None)
