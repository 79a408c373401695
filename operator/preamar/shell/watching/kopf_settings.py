"""What do we ask of Kopf? Its watches and indices, and that it writes nothing."""

from collections.abc import Mapping
from typing import Any

import kopf

from preamar.api import GROUP
from preamar.protocol.labels import FINALIZER, OURS
from preamar.shell.watching.mirror import Watched


class NothingKept(kopf.DiffBaseStorage):
    """What an object was like when it was last handled, which only handlers of changes ask for.
    Kopf's own storages copy each object of each event for it: a third of its time."""

    def build(self, **_: Any) -> Any:
        """The same for all, so that there is never a difference."""
        return {}

    def fetch(self, **_: Any) -> Any:
        """Nothing."""

    def store(self, **_: Any) -> None:
        """Nowhere."""


def kopf_settings(watched: list[Watched]) -> kopf.OperatorSettings:
    """Kopf's settings, each with its reason."""
    settings = kopf.OperatorSettings()
    # An operator of somebody else's with Kopf's default names would fight over finalizers with us.
    settings.persistence.finalizer = FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = NothingKept()
    # Our events are written by decisions, on transitions only.
    settings.posting.enabled = False
    # Who leads is decided by a Lease; peering compares wall clocks.
    settings.peering.standalone = True
    # No list or watch of CRDs and namespaces: that would need rights for nothing.
    settings.scanning.disabled = True
    # A limit below the number of indexed objects would lock up the start.
    settings.queueing.worker_limit = None
    # The default of five minutes would hide an API server that accepts and never answers.
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    settings.watching.connect_timeout = 10
    for kind in watched:
        if kind.selector == OURS:
            settings.watching.label_selectors[kopf_selector(kind)] = OURS
    return settings


def kopf_selector(watched: Watched) -> tuple[str, str, str]:
    """Group, version and plural."""
    place: Mapping[str, str] = watched.place
    return place["group"], place["version"], place["plural"]
