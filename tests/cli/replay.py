"""A timeline replayed by hand: it knows the CSV, the trace, and nothing of the simulator.

Capacity is ready replicas times slots; first come, first served; each request takes its time.
"""

import csv
from pathlib import Path
from typing import NamedTuple


class Figures(NamedTuple):
    """What the summary should say."""

    within_goal: float
    replica_seconds: float
    p50_seconds: float
    p99_seconds: float


class Row(NamedTuple):
    at: float
    ready: int
    starting: int
    queue: int


def rows(path: Path) -> list[Row]:
    with path.open() as file:
        reader = csv.reader(file)
        assert next(reader) == ["seconds", "replicas_ready", "replicas_starting", "queue"]
        return [Row(float(at), int(ready), int(starting), int(queue)) for at, ready, starting, queue in reader]  # fmt: skip


def replay(timeline: list[Row], arrivals: list[float], service: list[float], slots: int, goal: float) -> Figures:  # fmt: skip
    """Every moment at which anything happens, one after the other."""
    running: list[float] = []
    line: list[int] = []
    answered: dict[int, float] = {}
    capacity, came = 0, 0
    moments = sorted({row.at for row in timeline} | set(arrivals))
    changes = {row.at: row for row in timeline}
    while moments:
        now = moments.pop(0)
        running = [end for end in running if end > now]
        if now in changes:
            capacity = changes[now].ready * slots
        while came < len(arrivals) and arrivals[came] <= now:
            line.append(came)
            came += 1
        while line and len(running) < capacity:
            first = line.pop(0)
            answered[first] = now + service[first]
            running.append(answered[first])
            if answered[first] not in moments:
                moments = sorted([*moments, answered[first]])
        if now in changes:
            assert len(line) == changes[now].queue, f"at {now}"
    last = max(answered.values())
    latencies = sorted(answered[i] - arrivals[i] for i in range(len(arrivals)))
    cost = sum(
        (row.ready + row.starting) * (min(following.at, last) - row.at)
        for row, following in zip(timeline, [*timeline[1:], Row(last, 0, 0, 0)], strict=True)
    )
    return Figures(
        sum(latency <= goal + 1e-9 for latency in latencies) / len(latencies),
        cost,
        latencies[-(-len(latencies) // 2) - 1],
        latencies[-(-len(latencies) * 99 // 100) - 1],
    )
