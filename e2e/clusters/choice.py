"""Which kind of cluster, and why.

``PREAMAR_CLUSTER`` decides. ``auto`` never touches a cluster that somebody else may be using: it takes
kind where a container engine answers and this machine itself elsewhere.
"""

import os
import shutil
from typing import NamedTuple

from e2e.clusters.container_engine import engine
from e2e.clusters.places import Places, identity
from e2e.clusters.port import Provider
from e2e.clusters.say import TroubleError

KINDS = ("auto", "host", "kind", "current")


class Choice(NamedTuple):
    kind: str
    reason: str


def decide(asked: str, engine: str | None, kind_command: bool) -> Choice:
    """The rule itself: ``engine`` is the container engine that answers, if one does."""
    if asked not in KINDS:
        raise TroubleError(f"PREAMAR_CLUSTER={asked} is not one of {', '.join(KINDS)}.")
    if asked != "auto":
        return Choice(asked, f"PREAMAR_CLUSTER={asked}")
    if engine and kind_command:
        return Choice("kind", f"{engine} answers and kind is installed")
    if engine:
        return Choice("host", f"{engine} answers, but kind is not installed")
    return Choice("host", "no container engine answers")


def choose() -> Choice:
    asked = os.environ.get("PREAMAR_CLUSTER") or "auto"
    if asked != "auto":
        return decide(asked, None, kind_command=False)
    return decide(asked, engine(), shutil.which("kind") is not None)


def provider(kind: str) -> Provider:
    name = identity()
    if kind == "host":
        from e2e.clusters.onhost.provider import Host

        return Host(Places.of(name))
    if kind == "kind":
        from e2e.clusters.kind import Kind

        return Kind(name, engine() or "docker")
    from e2e.clusters.current import Current

    return Current()
