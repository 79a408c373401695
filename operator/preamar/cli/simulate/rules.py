"""How would other autoscalers size the service? Each by its documented algorithm and defaults.

Rules are relative or absolute, instant or averaged; what they share is that they see the load only
through their own metric, each at its own pace. Sources are named at each rule. Defaults that a
product leaves to its user (the target of an HPA) are the slots of a replica.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType

from preamar.cli.simulate.engine import SizingRule, View, World

Make = Callable[[World, Mapping[str, float]], SizingRule]


@dataclass(frozen=True, slots=True)
class Family:
    """A rule with its published defaults, and the values tried when it is tuned to a trace: of the
    first knob, more means fewer replicas."""

    name: str
    make: Make
    defaults: Mapping[str, float]
    grid: Mapping[str, tuple[float, ...]]


def _up(value: float) -> int:
    return ceil(value - 1e-9)


class _Window:
    """The highest recommendation of the last ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._kept: deque[tuple[float, int]] = deque()

    def highest(self, now: float, value: int) -> int:
        while self._kept and self._kept[-1][1] <= value:
            self._kept.pop()
        self._kept.append((now, value))
        while self._kept[0][0] < now - self.seconds:
            self._kept.popleft()
        return self._kept[0][1]


class _Hpa:
    """The Horizontal Pod Autoscaler's arithmetic: no change within the tolerance, a window of
    stabilisation on the way down, and at most double or four more per 15 s on the way up
    (kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale)."""

    def __init__(self, world: World, stabilization: float, tolerance: float = 0.1) -> None:
        self._down = _Window(stabilization)
        self._tolerance = tolerance
        self._world = world

    def size(self, now: float, current: int, ratio: float, wanted: int) -> int:
        """``ratio``: metric over target; ``wanted``: the size that it asks for."""
        if abs(ratio - 1.0) <= self._tolerance:
            wanted = current
        wanted = min(max(wanted, self._world.min), self._world.max)
        wanted = min(wanted, max(2 * current, current + 4))
        highest = self._down.highest(now, wanted)
        return min(highest, current) if wanted < current else wanted


def hpa_in_flight(world: World, knobs: Mapping[str, float]) -> SizingRule:
    """An HPA on requests in flight, as an average value per replica."""
    hpa = _Hpa(world, knobs["stabilization"])

    def decide(view: View) -> int:
        total, current = float(view.queued + view.running), view.size
        if current == 0:  # HPAScaleToZero: activation by the metric
            return hpa.size(view.now, 1, 2.0, _up(total / knobs["target"])) if total else 0
        ratio = total / (knobs["target"] * current)
        return hpa.size(view.now, current, ratio, _up(total / knobs["target"]))

    return SizingRule(decide, every=15.0)


def hpa_queue_ratio(world: World, knobs: Mapping[str, float]) -> SizingRule:
    """An HPA on NVIDIA's ratio of queue time to compute time per replica
    (docs.nvidia.com/deeplearning/triton-inference-server, Kubernetes autoscaling)."""
    hpa = _Hpa(world, knobs["stabilization"])
    window = int(knobs["window"])

    def decide(view: View) -> int:
        current = view.size
        if current == 0:
            return 1 if view.queued else 0
        busy = sum(view.busy_seconds[-window:])
        waited = sum(view.queued_seconds[-window:])
        if not busy:  # no sample is no metric: an HPA then leaves the size as it is
            idle = not view.running and not view.queued
            return hpa.size(view.now, current, 0.0, 1) if idle else current
        ratio = waited / busy / knobs["target"]
        return hpa.size(view.now, current, ratio, max(1, _up(current * ratio)))

    return SizingRule(decide, every=15.0)


def kpa(_world: World, knobs: Mapping[str, float]) -> SizingRule:
    """Knative's autoscaler: a stable window, and a panic window of a tenth that only grows
    (knative.dev/docs/serving/autoscaling/kpa-specific; config-autoscaler)."""
    target = knobs["target"] * knobs["utilization"]
    stable = int(knobs["stable"])
    short = max(1, int(stable * 0.1))
    panic: list[float] = [-1.0, 0.0]  # since when, and the most pods of this panic
    zero = [-1.0]

    def decide(view: View) -> int:
        seen = view.in_flight
        if not seen:
            return max(view.size, 1 if view.queued else 0)
        slow = sum(seen[-stable:]) / min(stable, len(seen))
        fast = sum(seen[-short:]) / min(short, len(seen))
        ready = max(view.ready, 1)
        up, down = ceil(1000 * ready), int(ready / 2)
        wanted_slow = min(max(_up(slow / target), down), up)
        wanted_fast = min(max(_up(fast / target), down), up)
        if _up(fast / target) / ready >= 2.0:
            panic[0] = view.now
        elif panic[0] >= 0 and view.now - panic[0] > stable:
            panic[:] = [-1.0, 0.0]
        if panic[0] >= 0:
            panic[1] = max(panic[1], wanted_fast, wanted_slow)
            wanted = int(panic[1])
        else:
            wanted = wanted_slow
        if slow > 0 or view.queued or view.running:
            zero[0] = -1.0
            return max(wanted, 1)
        if zero[0] < 0:
            zero[0] = view.now
        return 0 if view.now - zero[0] >= 30.0 else max(wanted, 1)

    return SizingRule(decide, every=2.0, prompt=True)


def keda_queue(world: World, knobs: Mapping[str, float]) -> SizingRule:
    """KEDA on the length of the queue: from zero by KEDA's own poll of 30 s, above by the HPA that
    it makes, to zero after a cooldown (keda.sh/docs, ScaledObject)."""
    hpa = _Hpa(world, knobs["stabilization"])
    active = [0.0]

    def decide(view: View) -> int:
        if view.queued:
            active[0] = view.now
        current = view.size
        if current == 0:
            return 1 if view.queued and view.now % knobs["poll"] < 15.0 else 0
        if not view.queued and view.now - active[0] >= knobs["cooldown"] and not view.running:
            return 0
        ratio = view.queued / (knobs["target"] * current)
        return hpa.size(view.now, current, ratio, max(1, _up(view.queued / knobs["target"])))

    return SizingRule(decide, every=15.0)


def kubeai(_world: World, knobs: Mapping[str, float]) -> SizingRule:
    """KubeAI: the mean of active requests over ten minutes, filled with zeros at first; down after
    so many lower ticks in a row; from zero at once, to one (internal/modelautoscaler)."""
    window = deque([0.0] * int(knobs["window"] / 10.0), maxlen=int(knobs["window"] / 10.0))
    lower, last = [0], [-10.0]
    delay = _up(knobs["delay"] / 10.0)

    def decide(view: View) -> int:
        if view.now - last[0] < 10.0 - 1e-9:
            return max(view.size, 1)  # a first request wakes it between ticks
        last[0] = view.now
        window.append(float(view.queued + view.running))
        wanted = _up(sum(window) / len(window) / knobs["target"])
        if view.queued and not view.size:
            wanted = max(wanted, 1)
        if wanted >= view.size:
            lower[0] = 0
            return wanted
        lower[0] += 1
        return wanted if lower[0] >= delay else view.size

    return SizingRule(decide, every=10.0, prompt=True)


def fixed(_world: World, knobs: Mapping[str, float]) -> SizingRule:
    """A size that never changes."""
    return SizingRule(lambda _view: int(knobs["size"]), every=3600.0)


def families(world: World) -> tuple[Family, ...]:
    """The rules of the field, for replicas like these."""
    slots = float(world.slots)
    targets = tuple(round(slots * 0.3 * 1.06**step, 3) for step in range(36))
    downs = (0.0, 60.0, 150.0, 300.0, 600.0)
    return (
        Family(
            "hpa-in-flight", hpa_in_flight, _knobs(target=slots, stabilization=300.0),
            _grid(target=targets, stabilization=downs),
        ),
        Family(
            "hpa-queue-ratio", hpa_queue_ratio,
            _knobs(target=1.0, stabilization=300.0, window=30.0),
            _grid(target=(0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0),
                   stabilization=downs, window=(30.0, 60.0)),
        ),
        Family(
            "kpa", kpa, _knobs(utilization=0.7, target=slots, stable=60.0),
            _grid(utilization=tuple(round(0.3 * 1.06**step, 3) for step in range(36)),
                   target=(slots,), stable=(20.0, 40.0, 60.0, 120.0, 300.0, 600.0)),
        ),
        Family(
            "keda-queue", keda_queue,
            _knobs(target=5.0, stabilization=300.0, poll=30.0, cooldown=300.0),
            _grid(target=(0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 14.0, 20.0, 30.0),
                   stabilization=downs, poll=(5.0,), cooldown=(60.0, 300.0)),
        ),
        Family(
            "kubeai", kubeai, _knobs(target=slots, window=600.0, delay=30.0),
            _grid(target=targets, window=(20.0, 60.0, 120.0, 300.0, 600.0), delay=(0.0, 30.0, 120.0)),
        ),
    )  # fmt: skip


def _knobs(**values: float) -> Mapping[str, float]:
    return MappingProxyType(values)


def _grid(**values: tuple[float, ...]) -> Mapping[str, tuple[float, ...]]:
    return MappingProxyType(values)
