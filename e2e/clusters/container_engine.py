"""Which container engine answers on this machine?"""

import shutil

from e2e.clusters.run import succeeds


def engine() -> str | None:
    """The first container engine that is not only installed but answers."""
    for command in ("docker", "podman"):
        if shutil.which(command) and succeeds([command, "info"], timeout=20):
            return command
    return None
