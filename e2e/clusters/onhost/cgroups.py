"""The control groups of one instance, in every hierarchy that the machine has.

Version 1, version 2 and both at once: each mounted hierarchy gets a group named after the instance with
one child for the cluster's own processes. The kubelet makes the pods' groups beside that child, so two
kubelets on one machine never see each other's pods.
"""

import contextlib
import os
import time
from pathlib import Path

from e2e.clusters.say import TroubleError

MOUNTS = Path("/proc/self/mounts")
WANTED = ("cpuset", "cpu", "io", "memory", "pids", "hugetlb")


def hierarchies(mounts: str) -> list[Path]:
    """Where cgroup file systems are mounted, from the text of /proc/self/mounts."""
    lines = (line.split() for line in mounts.splitlines())
    found = (Path(part[1]) for part in lines if len(part) > 2 and part[2] in {"cgroup", "cgroup2"})
    return sorted(set(found))


def name(instance: str) -> str:
    return f"preamar-{instance}"


def make(instance: str) -> list[str]:
    """Make the groups; returns those that the cluster's own processes join."""
    joined = []
    for root in hierarchies(MOUNTS.read_text()):
        top = root / name(instance)
        own = top / "system"
        enable_below(root)
        top.mkdir(exist_ok=True)
        copy_cpuset(root, top)
        enable_below(top)
        own.mkdir(exist_ok=True)
        copy_cpuset(top, own)
        joined.append(str(own))
    if not joined:
        raise TroubleError(
            "No cgroup file system is mounted: mount one on /sys/fs/cgroup (mount -t cgroup2 none /sys/fs/cgroup)."
        )
    return joined


def copy_cpuset(parent: Path, child: Path) -> None:
    """Version 1 starts a cpuset without processors, and refuses processes until it has some."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        if (parent / file).exists() and (parent / "cgroup.clone_children").exists():
            (child / file).write_text((parent / file).read_text())


def enable_below(group: Path) -> None:
    """Version 2 passes on only the controllers that a group hands to its children."""
    control = group / "cgroup.subtree_control"
    if not control.exists():
        return
    there = (group / "cgroup.controllers").read_text().split()
    for controller in WANTED:
        if controller in there:
            with contextlib.suppress(OSError):  # one that cannot be had is no reason to stop
                control.write_text(f"+{controller}")


def remove(instance: str, seconds: float = 20.0) -> None:
    """Remove the groups, innermost first; the kernel needs a moment after the last process."""
    deadline = time.monotonic() + seconds
    for root in hierarchies(MOUNTS.read_text()):
        top = root / name(instance)
        while top.exists():
            for path, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(path).rmdir()
            if top.exists() and time.monotonic() > deadline:
                raise TroubleError(f"{top} still has processes: look at its cgroup.procs files.")
            time.sleep(0.05)
