"""How the cluster is asked: by kubectl, whichever credentials its kubeconfig names."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.clusters.run import call
from e2e.clusters.say import TroubleError

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kubectl:
    """One cluster. ``program`` is how kubectl is called on this machine."""

    program: tuple[str, ...]
    kubeconfig: Path

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = 60.0) -> str:
        argv = [*self.program, f"--kubeconfig={self.kubeconfig}", *arguments]
        return call(argv, timeout=timeout, stdin=stdin)

    def get(self, *arguments: str) -> Json | None:
        """One object or list; None when it is not there."""
        printed = self("get", *arguments, "--output=json", "--ignore-not-found")
        return json.loads(printed) if printed.strip() else None

    def apply(self, manifests: Sequence[Json]) -> None:
        """Server-side apply; a second time changes nothing."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self("apply", "--server-side", "--force-conflicts", "--field-manager=preamar/cluster",
             "--filename=-", stdin=json.dumps(listed))  # fmt: skip


def until(
    what: str, seconds: float, look: Callable[[], bool], explain: Callable[[], str] = str
) -> None:
    """Ask twice a second; ``TroubleError`` with ``explain()`` when it is not so in time."""
    deadline = time.monotonic() + seconds
    last = ""
    while True:
        try:
            if look():
                return
        except (TroubleError, OSError, ValueError) as error:
            last = str(error)
        if time.monotonic() > deadline:
            raise TroubleError(f"Not within {seconds:.0f} s: {what}. {explain()} {last}".strip())
        time.sleep(0.5)
