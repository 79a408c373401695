"""Where does the time of tests go, and does a room of them take more than its budget?

A plugin for pytest (``-p e2e.timing --times FILE``) writes down of each test its room, its seconds and
its CPU seconds, those of the processes that it ended included; ``report`` adds them up over all runs of
one command. Budgets stand in ``pyproject.toml`` under ``tool.preamar.budgets``, in CPU seconds for what
runs on this machine alone and in seconds for what waits for a cluster; a room may exceed its budget by
half. Budgets are of a machine that counts as fast as ``REFERENCE``: a slower one gets more.
"""

import json
import resource
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TIMES = ROOT / "build/times"
SLOWEST = 10
ALLOWED = 1.5
REFERENCE = 0.045
"""CPU seconds that ``counting`` took on the machine whose budgets these are."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One test, or what a run does beside its tests (imports, collection)."""

    name: str
    room: str
    seconds: float
    cpu: float


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    own, ended = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def room_of(nodeid: str) -> str:
    """``tests/gateway``, ``tests/workloads/triton``, ``e2e/journeys`` …"""
    folders = nodeid.partition("::")[0].split("/")[:-1]
    depth = 4 if folders[-1:] == ["image"] else 3 if folders[1:2] == ["workloads"] else 2
    return "/".join(folders[:depth])


class Recorder:
    """Writes down each test of one run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._timed: list[Timed] = []
        self._began = time.monotonic() - time.process_time()  # imports came before

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        began, used = time.monotonic(), cpu_seconds()
        result = yield
        seconds, cpu = time.monotonic() - began, cpu_seconds() - used
        self._timed.append(Timed(item.nodeid, room_of(item.nodeid), seconds, cpu))
        return result

    def pytest_sessionfinish(self) -> None:
        seconds = time.monotonic() - self._began - sum(each.seconds for each in self._timed)
        cpu = cpu_seconds() - sum(each.cpu for each in self._timed)
        beside = Timed("imports and collection", "imports and collection", seconds, cpu)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps([asdict(each) for each in (*self._timed, beside)]))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--times", type=Path, help="where to write how long each test took")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--times")
    if path is not None:
        config.pluginmanager.register(Recorder(path), "preamar-times")


def counting() -> float:
    """CPU seconds for a fixed piece of plain Python: how fast this machine is, less what it waits."""
    began = time.process_time()
    table: dict[int, int] = {}
    for n in range(600_000):
        table[n % 1009] = table.get(n % 997, 0) ^ n
    return time.process_time() - began


def slowness() -> float:
    """How much slower this machine is than that of the budgets; 1 where it is as fast or faster."""
    return max(1.0, min(counting() for _ in range(3)) / REFERENCE)


def written(folder: Path, name: str) -> tuple[str, ...]:
    """The arguments by which a run of pytest writes down its times."""
    file = folder / f"{name.replace('/', '-')}.json"
    return ("-p", "e2e.timing", "--times", str(file))


def read(folder: Path) -> list[Timed]:
    """All that was written down under a folder."""
    return [Timed(**each) for file in sorted(folder.rglob("*.json")) for each in json.loads(file.read_text())]  # fmt: skip


def budgets(project: Path = ROOT / "pyproject.toml") -> Mapping[str, Mapping[str, float]]:
    """``{"cpu": {room: seconds}, "wall": {room: seconds}}``."""
    return tomllib.loads(project.read_text())["tool"]["preamar"]["budgets"]


def over(timed: Iterable[Timed], allowed: Mapping[str, Mapping[str, float]], slow: float) -> list[str]:  # fmt: skip
    """A sentence for each room that took more than its budget and half of it, or that has none."""
    cpu, wall = _sums(timed)
    found = []
    for room in sorted(cpu):
        kind, used, unit = ("wall", wall, "s") if room in allowed["wall"] else ("cpu", cpu, "CPU s")
        budget = allowed[kind].get(room)
        if budget is None:
            found.append(f"{room} has no budget in pyproject.toml")
        elif used[room] > ALLOWED * slow * budget:
            found.append(f"{room} took {used[room]:.0f} {unit}, its budget is {budget * slow:.0f}")
    return found


def report(timed: list[Timed], allowed: Mapping[str, Mapping[str, float]], slow: float) -> int:
    """Print time by room and the slowest tests; 1 if a room is over its budget."""
    cpu, wall = _sums(timed)
    width = max(map(len, cpu), default=4)
    print(f"\n{'room':<{width}}  {'seconds':>8}  {'CPU s':>8}  {'budget':>10}")
    for room in sorted(cpu, key=lambda each: -wall[each]):
        kind = "wall" if room in allowed["wall"] else "cpu"
        budget = allowed[kind].get(room)
        shown = "-" if budget is None else f"{budget:.0f} {'CPU s' if kind == 'cpu' else 's'}"
        print(f"{room:<{width}}  {wall[room]:>8.1f}  {cpu[room]:>8.1f}  {shown:>10}")
    print(f"the {SLOWEST} slowest:")
    tests = [each for each in timed if "::" in each.name]
    for each in sorted(tests, key=lambda one: -one.seconds)[:SLOWEST]:
        print(f"  {each.seconds:>6.1f} s  {each.cpu:>6.1f} CPU s  {each.name}")
    found = over(timed, allowed, slow)
    for sentence in found:
        print(f"too slow: {sentence}")
    return int(bool(found))


def _sums(timed: Iterable[Timed]) -> tuple[dict[str, float], dict[str, float]]:
    """CPU seconds and seconds by room."""
    cpu: dict[str, float] = defaultdict(float)
    wall: dict[str, float] = defaultdict(float)
    for each in timed:
        cpu[each.room] += each.cpu
        wall[each.room] += each.seconds
    return cpu, wall
