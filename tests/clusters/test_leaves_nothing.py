"""`up` and `down` leave the machine as it was: mounts, links, processes, rules, groups, files, settings.

The cluster belongs to a copy of the clone, so a cluster of the clone itself is not touched; and what
others do on the machine meanwhile is told apart by the copy's id.

Holds: e2e/clusters/onhost/instance.py, e2e/clusters/onhost/network.py,
e2e/clusters/onhost/provider.py
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.clusters.onhost import cgroups
from e2e.clusters.places import CACHE, identity

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="a cluster on this machine needs root"),
]
ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward",
            "kernel/keys/root_maxkeys", "net/netfilter/nf_conntrack_max")  # fmt: skip


def printed(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


def processes(clone: Path) -> set[str]:
    """Programs of other pid namespaces than ours, and those that name the clone or its id."""
    own, found = Path("/proc/self/ns/pid").readlink(), set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            foreign = (entry / "ns/pid").readlink() != own
            group = (entry / "cgroup").read_text()
            place = (entry / "cwd").readlink()
        except OSError:
            continue
        mine = f"{words} {group} {place}"
        if foreign or identity(clone) in mine or str(clone) in mine:
            found.add(f"{entry.name} {words}")
    return found


def mounts() -> set[str]:
    """Where something is mounted; what image builds of others mount for a moment does not count."""
    places = {line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()}
    return {place for place in places if not place.startswith(f"{CACHE}/buildah")}


def picture(clone: Path) -> dict[str, set[str]]:
    """Everything of the machine that a cluster could leave something in."""
    rules = printed("iptables-save") + printed("ip", "-4", "route", "show", "table", "all")
    groups = {
        str(path)
        for root in cgroups.hierarchies(cgroups.MOUNTS.read_text())
        for path in root.glob("preamar-*")
    }
    places = ("/var/lib", "/var/lib/preamar", "/run", "/run/preamar", "/run/netns", "/var/lib/cni",
              "/var/log", "/opt", "/etc/cni", "/usr/libexec", "/tmp")  # fmt: skip
    return {
        "mounts": mounts(),
        "links": {one["ifname"] for one in json.loads(printed("ip", "-j", "link"))},
        "rules": {line for line in rules.splitlines() if not line.startswith((":", "#"))},
        "groups": groups,
        "processes": processes(clone),
        "files": {
            str(path) for place in places if Path(place).is_dir() for path in Path(place).iterdir()
        },
        "settings": {
            f"{name}={Path('/proc/sys', name).read_text()}"
            for name in SETTINGS
            if Path("/proc/sys", name).exists()
        },
    }


def ours(seen: dict[str, set[str]], clone: Path) -> dict[str, set[str]]:
    """What carries the copy's id."""
    return {kind: {one for one in found if identity(clone) in one} for kind, found in seen.items()}


def test_down_leaves_the_machine_as_it_was(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "e2e", clone / "e2e", ignore=shutil.ignore_patterns("__pycache__"))
    call = [sys.executable, "-m", "e2e.clusters"]
    env = {**os.environ, "PREAMAR_CLUSTER": "host"}
    before = picture(clone)
    try:
        subprocess.run(
            [*call, "up", "--without-chart"], cwd=clone, env=env, check=True, timeout=1800
        )
        during = ours(picture(clone), clone)
        nodes = printed("/var/lib/preamar/" + identity(clone) + "/bin/kube", "kubectl",
                        f"--kubeconfig=/var/lib/preamar/{identity(clone)}/etc/admin.kubeconfig",
                        "get", "nodes", "--no-headers")  # fmt: skip
        assert " Ready " in nodes
        # The picture would show them: otherwise the comparison below proves nothing.
        assert all(during[kind] for kind in ("links", "rules", "groups", "processes", "files"))
        subprocess.run([*call, "up", "--without-chart"], cwd=clone, env=env, check=True, timeout=60)
    finally:
        subprocess.run([*call, "down"], cwd=clone, env=env, check=True, timeout=180)
    after = picture(clone)
    assert not any(ours(after, clone).values())
    assert after["mounts"] - before["mounts"] == set()
    assert after["settings"] == before["settings"]
    assert before["links"] - after["links"] == set()
    assert before["rules"] - after["rules"] == set()
    assert not (clone / "build/cluster.json").exists()
