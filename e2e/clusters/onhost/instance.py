"""Whether an instance lives, and how it begins and ends.

Its life is that of process 1 of its pid namespace. The machine remembers that process by number and
start time, so a number that was given out again is never taken for ours.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

from e2e.clusters.onhost import cgroups, network
from e2e.clusters.onhost.network import FORWARDING, Network
from e2e.clusters.places import Places
from e2e.clusters.run import tail
from e2e.clusters.say import TroubleError

INIT = Path(__file__).with_name("init.py")
ALL = Path("/var/lib/preamar")


def started(pid: int) -> str:
    """When a process began, in ticks since boot; empty when it is gone or only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return ""
    return "" if stat[0] in "ZX" else stat[19]


def living(places: Places) -> int | None:
    """Process 1 of the instance, as the machine numbers it."""
    try:
        record = json.loads((places.run / "init.json").read_text())
    except (OSError, ValueError):
        return None
    return record["pid"] if started(record["pid"]) == record["started"] != "" else None


def remembered(places: Places) -> Network | None:
    """The addresses that the instance was given."""
    try:
        record = json.loads((places.state / "instance.json").read_text())
    except (OSError, ValueError):
        return None
    return Network(places.id, IPv4Network(record["block"]))


def claims(but: str) -> Iterator[IPv4Network]:
    """The blocks of all other instances on this machine, also of those that are down."""
    for record in ALL.glob("*/instance.json"):
        if record.parent.name != but and (other := remembered(Places.of(record.parent.name))):
            yield other.block


def addresses(places: Places) -> Network:
    """The instance's own block while it is still free, else the next of its row; written down."""
    before = remembered(places)
    if before:
        network.disconnect(before)  # its own remains are no reason to pass it over
    taken = [*claims(places.id), *network.routed()]
    if before and not any(before.block.overlaps(other) for other in taken):
        return before
    chosen = network.choose(places.id, taken)
    (places.state / "instance.json").write_text(json.dumps({"block": str(chosen.block)}))
    return chosen


def begin(places: Places, net: Network) -> None:
    """Make the namespaces, with process 1 waiting for services, and join their network to ours."""
    places.services.mkdir(parents=True, exist_ok=True)
    for name in ("kubelet", "varlog", "stage"):
        (places.state / name).mkdir(exist_ok=True)
    plan = {
        "state": str(places.state),
        "run": str(places.run),
        "services": str(places.services),
        "resolv": str(places.etc / "resolv.conf"),
        "cgroups": cgroups.make(places.id),
        "kept": [],
    }
    (places.run / "plan.json").write_text(json.dumps(plan))
    log = places.logs / "init.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"),
                *(sys.executable, "-I", str(INIT), str(places.run / "plan.json")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd="/",
            start_new_session=True,
        )
    pid = child(process, log)
    (places.run / "init.json").write_text(json.dumps({"pid": pid, "started": started(pid)}))
    forward()
    network.connect(net, pid)


def child(process: "subprocess.Popen[bytes]", log: Path) -> int:
    """The one process that unshare forked."""
    deadline = time.monotonic() + 10
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while time.monotonic() < deadline and process.poll() is None:
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.02)
    raise TroubleError(f"The cluster's namespaces could not be made. {tail(log)}")


def forward() -> None:
    """Let the machine forward packets, and remember when it did not."""
    if FORWARDING.read_text().strip() == "0":
        (ALL / "forwarding-was-off").touch()
        FORWARDING.write_text("1")


def add_service(
    places: Places, name: str, argv: list[str], env: dict[str, str] | None = None
) -> None:
    """Hand process 1 one more program to keep running; it is renamed into place, so read whole."""
    wanted = {"argv": argv, "log": str(places.logs / f"{name}.log"), "env": env or {}}
    making = places.run / f"{name}.making"
    making.write_text(json.dumps(wanted))
    making.rename(places.services / f"{name}.json")


def end(places: Places, seconds: float = 30.0) -> None:
    """End every process of the instance, and with them its mounts and links."""
    pid = living(places)
    if pid is not None:
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
        deadline = time.monotonic() + seconds
        # Process 1 is reaped only after all the others of its namespace.
        while started(pid):
            if time.monotonic() > deadline:
                raise TroubleError(
                    f"Process {pid} does not end: see what it waits for in /proc/{pid}/stack."
                )
            time.sleep(0.05)


def erase(places: Places) -> None:
    """Remove what the end of the namespaces leaves: rules, groups, files."""
    if net := remembered(places):
        network.disconnect(net)
    cgroups.remove(places.id)
    for directory in (places.run, places.state):
        shutil.rmtree(directory, ignore_errors=True)
        if directory.exists():
            raise TroubleError(
                f"{directory} could not be removed: is something of it still mounted?"
            )
        with contextlib.suppress(OSError):
            if directory.parent == ALL and not any(ALL.glob("*/instance.json")):
                restore_forwarding()
            directory.parent.rmdir()  # only when no other instance is there


def restore_forwarding() -> None:
    was_off = ALL / "forwarding-was-off"
    if was_off.exists():
        FORWARDING.write_text("0")
        was_off.unlink()


def link_binary(places: Places, binary: Path) -> Path:
    """The instance's own name for a cached program, so that the cache may be emptied while it runs."""
    target = places.bin / binary.name
    if target.exists() and target.stat().st_size == binary.stat().st_size:
        return target
    places.bin.mkdir(parents=True, exist_ok=True)
    making = target.with_suffix(".making")
    making.unlink(missing_ok=True)
    try:
        making.hardlink_to(binary)
    except OSError:
        shutil.copy2(binary, making)  # the cache is on another file system
    making.rename(target)
    return target
