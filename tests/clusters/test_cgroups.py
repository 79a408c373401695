"""Groups are made in every hierarchy of version 1, version 2 and both, and removed again.

Holds: e2e/clusters/onhost/cgroups.py
"""

from pathlib import Path

import pytest

from e2e.clusters.onhost import cgroups

HYBRID = """tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
proc /proc proc rw 0 0
"""


def test_hierarchies_are_found_by_their_type() -> None:
    assert cgroups.hierarchies(HYBRID) == [
        Path("/sys/fs/cgroup/cpuset"),
        Path("/sys/fs/cgroup/memory"),
        Path("/sys/fs/cgroup/unified"),
    ]
    only_two = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"
    assert cgroups.hierarchies(only_two) == [Path("/sys/fs/cgroup")]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree that looks like two hierarchies; the kernel's files are plain ones."""
    one, two = tmp_path / "cpuset", tmp_path / "unified"
    for root in (one, two):
        root.mkdir()
    (one / "cpuset.cpus").write_text("0-3")
    (one / "cpuset.mems").write_text("0")
    (one / "cgroup.clone_children").write_text("0")
    (two / "cgroup.controllers").write_text("cpu memory rdma")
    (two / "cgroup.subtree_control").write_text("")
    mounts = tmp_path / "mounts"
    mounts.write_text(f"cgroup {one} cgroup rw 0 0\ncgroup2 {two} cgroup2 rw 0 0\n")
    monkeypatch.setattr(cgroups, "MOUNTS", mounts)
    return tmp_path


def test_a_version_1_cpuset_gets_processors_before_it_gets_processes(machine: Path) -> None:
    joined = cgroups.make("0123abcd")
    assert joined == [
        str(machine / part / "preamar-0123abcd/system") for part in ("cpuset", "unified")
    ]
    top = machine / "cpuset/preamar-0123abcd"
    assert (top / "cpuset.cpus").read_text() == "0-3"
    assert (top / "cpuset.mems").read_text() == "0"


def test_version_2_hands_down_what_the_kubelet_needs(machine: Path) -> None:
    cgroups.make("0123abcd")
    # A plain file keeps the last word written; the kernel would add them up.
    assert (machine / "unified/cgroup.subtree_control").read_text() == "+memory"


def test_removal_takes_what_pods_left_inside(machine: Path) -> None:
    cgroups.make("0123abcd")
    for file in machine.rglob("preamar-*/cpuset.*"):
        file.unlink()  # the kernel's files vanish with their group
    (machine / "unified/preamar-0123abcd/kubepods/pod1").mkdir(parents=True)
    cgroups.remove("0123abcd", 1)
    assert not list(machine.rglob("preamar-*"))


def test_removal_of_what_was_never_made_is_nothing(machine: Path) -> None:
    cgroups.remove("ffffffff", 1)
