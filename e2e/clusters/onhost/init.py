"""Process 1 of a cluster's own pid namespace: its mounts, its services, its orphans.

Called as a script with a JSON file; the standard library is all it has. It hides /run and /var/lib of
the machine behind empty ones that show this instance's directories alone, keeps every service running
that has a file in the services directory, and reaps. When it dies the kernel ends all that it started:
the namespace is the only thing to remove.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

LOG_BYTES = 20_000_000
LOOK_SECONDS = 0.2
SLOWEST_RESTART = 10.0
# The kubelet writes these for the whole machine unless it finds them as it wants them. It finds
# files of our own there.
TUNABLES = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


@dataclass
class Service:
    argv: list[str]
    log: Path
    pid: int = 0
    began: float = 0.0
    wait: float = 0.5
    due: float = 0.0
    env: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self.log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        every = signal.valid_signals()
        self.pid = os.posix_spawn(
            self.argv[0],
            self.argv,
            {**os.environ, **self.env},
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=every - {signal.SIGKILL, signal.SIGSTOP},
        )
        self.began = time.monotonic()

    def ended(self) -> None:
        lasted = time.monotonic() - self.began
        self.wait = 0.5 if lasted > 30 else min(self.wait * 2, SLOWEST_RESTART)
        self.pid, self.due = 0, time.monotonic() + self.wait


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def cover(place: Path, shown: dict[Path, Path], stage: Path) -> None:
    """Put an empty file system over ``place`` in which only ``shown`` (path → source) is seen."""
    stage.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", stage)
    for path, source in shown.items():
        target = stage / path.relative_to(place)
        target.mkdir(parents=True, exist_ok=True)
        mount("--rbind", source, target)
    mount("--rbind", stage, place)


def arrange(plan: dict) -> None:
    """Give this mount namespace its own view of the machine."""
    state, run = Path(plan["state"]), Path(plan["run"])
    mount("--make-rprivate", "/")
    mount("-t", "proc", "proc", "/proc")
    tunables = state / "tunables"
    for name, value in TUNABLES.items():
        if Path("/proc/sys", name).exists():
            file = tunables / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(value + "\n")
            mount("--bind", file, Path("/proc/sys", name))
    kept = {Path(path): Path(path) for path in plan["kept"]}
    var_lib = {state: state, Path("/var/lib/kubelet"): state / "kubelet"}
    for place, shown in ((Path("/var/lib"), var_lib), (Path("/run"), {run: run})):
        more = {path: source for path, source in kept.items() if place in path.parents}
        cover(place, {**shown, **more}, state / "stage" / place.name)
    mount("--bind", state / "varlog", "/var/log")
    if Path(plan["resolv"]).exists():
        mount("--bind", plan["resolv"], Path("/etc/resolv.conf").resolve())
    # Pods may ask for mounts to propagate; they then do within this namespace.
    mount("--make-rshared", "/")


def join_cgroups(groups: list[str]) -> None:
    for group in groups:
        Path(group, "cgroup.procs").write_text("0")


def read_services(directory: Path, running: dict[str, Service]) -> None:
    """Take on what is new; a service's file never changes and stays as long as the cluster."""
    for file in sorted(directory.glob("*.json")):
        if file.stem not in running:
            wanted = json.loads(file.read_text())
            running[file.stem] = Service(wanted["argv"], Path(wanted["log"]), env=wanted["env"])


def reap(running: dict[str, Service]) -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        for service in running.values():
            if service.pid == pid:
                service.ended()


def trim(running: dict[str, Service]) -> None:
    """Empty a log that grew too long: its writer appends, so it goes on from the start."""
    for service in running.values():
        if service.log.exists() and service.log.stat().st_size > LOG_BYTES:
            os.truncate(service.log, 0)


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    join_cgroups(plan["cgroups"])
    arrange(plan)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    running: dict[str, Service] = {}
    directory, looks = Path(plan["services"]), 0
    while True:
        reap(running)
        read_services(directory, running)
        for service in running.values():
            if not service.pid and time.monotonic() >= service.due:
                service.start()
        looks += 1
        if looks % 150 == 0:
            trim(running)
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    main()
