"""Did the kernel kill something in this container for want of memory?

cgroup v2 counts kills in memory.events, v1 in memory.oom_control (and, on kernels without that
line, failed charges in memory.failcnt). A count that grew while a rank died answers yes.
"""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_COUNTS = (("memory.events", "oom_kill"), ("memory/memory.oom_control", "oom_kill"))


@dataclass(frozen=True, slots=True)
class Count:
    kills: int | None  # None: this kernel does not count them
    failures: int | None  # v1 only


def count(root: Path = ROOT) -> Count:
    for name, key in _COUNTS:
        for line in _lines(root / name):
            word, _, number = line.partition(" ")
            if word == key and number.strip().isdecimal():
                return Count(int(number), None)
    for line in _lines(root / "memory/memory.failcnt"):
        if line.strip().isdecimal():
            return Count(None, int(line))
    return Count(None, None)


def grew(before: Count, after: Count) -> bool:
    if before.kills is not None and after.kills is not None:
        return after.kills > before.kills
    if before.failures is not None and after.failures is not None:
        return after.failures > before.failures
    return False


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
