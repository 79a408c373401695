"""Which of the model's processes live, and did the kernel kill one for memory?"""

from pathlib import Path

STUB = "triton_python_b"
"""The first 15 letters of the stub's name, as /proc shows them."""
COUNTERS = (
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
)
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def stubs(parent: int, proc: Path = Path("/proc")) -> set[int]:
    """The living Python processes of this Triton; a zombie is dead."""
    found = set()
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue
        name, _, rest = text.partition("(")[2].rpartition(")")
        state, ancestor = rest.split()[:2]
        if name == STUB and state != "Z" and int(ancestor) == parent:
            found.add(int(entry.name))
    return found


class OutOfMemory:
    """Compares the cgroup's count of kills with what it was at the start."""

    def __init__(self) -> None:
        self.before = kills()

    def sentence(self) -> str | None:
        if kills() <= self.before:
            return None
        limit = next((v for v in map(_number, LIMITS) if v is not None and v < 2**60), None)
        size = f" of {limit / 2**20:.0f} MiB" if limit else ""
        return (
            f"The model server ran out of memory: it needs more than the container's limit{size}."
        )


def kills() -> int:
    for file in COUNTERS:
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return 0


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
