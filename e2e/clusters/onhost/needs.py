"""What this machine must have before a cluster can run on it, and how it comes by it.

Checked before anything is changed. What apt can bring is installed; the rest is said in one sentence
with what to do.
"""

import os
import platform
import shutil
from collections.abc import Iterable
from pathlib import Path

from e2e.clusters.onhost.settings import cni_plugins
from e2e.clusters.places import CACHE
from e2e.clusters.run import call
from e2e.clusters.say import TroubleError, step

GIGABYTE = 1_000_000_000
FREE_CACHE = 12 * GIGABYTE  # Go's cache, image layers, one archive at a time
FREE_STATE = 8 * GIGABYTE  # unpacked images and volumes
FREE_AGAIN = 2 * GIGABYTE
COMMANDS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "socat": "socat",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
}


def check(first: bool) -> None:
    """``TroubleError`` with what to do when something is missing that cannot be installed."""
    if platform.system() != "Linux":
        raise TroubleError(
            f"The host cluster needs Linux, this is {platform.system()}. "
            "Use PREAMAR_CLUSTER=kind with Docker or Podman."
        )
    if os.geteuid() != 0:
        raise TroubleError(
            "The host cluster makes namespaces and mounts, which needs root. "
            "Run `sudo make up`, or use PREAMAR_CLUSTER=kind with Docker or Podman."
        )
    if "overlay" not in Path("/proc/filesystems").read_text():
        raise TroubleError("The kernel has no overlayfs: run `modprobe overlay`.")
    enough(CACHE, FREE_CACHE if first else FREE_AGAIN)
    enough(Path("/var/lib"), FREE_STATE if first else FREE_AGAIN)
    install()


def enough(place: Path, needed: int) -> None:
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise TroubleError(
            f"{place} has {free / GIGABYTE:.1f} GB free and {needed / GIGABYTE:.0f} GB are needed. "
            f"Free some; {CACHE} may be deleted, it is made again."
        )


def missing() -> set[str]:
    """The Debian packages to install."""
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    packages = {
        package for command, package in COMMANDS.items() if not shutil.which(command, path=path)
    }
    if cni_plugins() is None:
        packages.add("containernetworking-plugins")
    return packages


def install() -> None:
    wanted = missing()
    if not wanted:
        return
    if not shutil.which("apt-get"):
        raise TroubleError(
            f"These are missing and apt-get is not there to install them: {', '.join(sorted(wanted))}. "
            "Install them with this system's package manager."
        )
    with step(f"installing with apt: {' '.join(sorted(wanted))}"):
        apt("update")
        apt("install", "--yes", "--no-install-recommends", *sorted(wanted))
    if left := missing():
        raise TroubleError(f"apt installed no {', '.join(sorted(left))}: install it by hand.")


def apt(*arguments: str) -> None:
    # Packages start their daemons on install; this cluster runs its own and wants none of them.
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists() and "install" in arguments
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        call(
            ["apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=300", *arguments],
            timeout=1200,
            log=CACHE / "logs/apt.log",
            env={"DEBIAN_FRONTEND": "noninteractive"},
        )
    finally:
        if ours:
            policy.unlink(missing_ok=True)


def with_sbin(path: str) -> str:
    """PATH with the places where Debian keeps what root uses."""
    parts: Iterable[str] = (*path.split(":"), "/usr/local/sbin", "/usr/sbin", "/sbin")
    return ":".join(dict.fromkeys(part for part in parts if part))
