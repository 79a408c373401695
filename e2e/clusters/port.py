"""What every kind of cluster can do for us: the one interface behind `make up`."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

from e2e.clusters.kubectl import Kubectl


class Endpoints(NamedTuple):
    """Where callers on this machine reach the gateway."""

    gateway: str
    grpc: str
    admin: str


class Provider(Protocol):
    """A cluster that is this clone's, or is used by it."""

    name: str
    kubeconfig: Path
    secrets: Path  # a directory for what only this installation knows
    audit_log: Path | None  # what was asked of the API server, where we can read it

    def check(self) -> None:
        """Install what is missing; ``TroubleError`` when that cannot be done."""

    def running(self) -> bool: ...

    def start(self) -> None:
        """Until a node is Ready; nothing but a look when it is."""

    def kubectl(self) -> Kubectl: ...

    def load(self, reference: str) -> None:
        """Make a built image available to pods; nothing when it is."""

    def values(self) -> dict[str, Any]:
        """What the chart must be told about this kind of cluster."""

    def endpoints(self) -> Endpoints: ...

    def dns(self) -> None:
        """Let pods look each other up by name."""

    def stop(self) -> None:
        """Remove all that this provider made."""
