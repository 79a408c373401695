"""What will the job need: memory, time, money, energy, and how far off may that be?

Before it runs, from published figures of the accelerators that it names and the trainer's
formulas; once it runs, from its own speed. What is not known is left out: no price, no cost.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from math import ceil
from typing import Any

from preamar.api.shared import AcceleratorType
from preamar.api.training import TrainingJobSpec
from preamar.api.training_status import BIG, TrainingJobStatus
from preamar.core.capacity.hardware import Device, HardwareCatalog
from preamar.core.training.backends import work
from preamar.core.training.backends.chosen import BACKEND
from preamar.core.training.backends.sizing_problem import SizingProblem
from preamar.core.training.backends.speeds import StepTime, machine
from preamar.core.training.planner.interconnect import way
from preamar.core.training.planner.sizes import data_ranks, split

CPU = "CPU"
"""The name of the row that speaks of a rank on CPUs; nobody publishes one, so users may add it."""
MEASURED_PERCENT = 15
"""How far off a time is that follows from the job's own speed."""
RESIZED_PERCENT = 30
"""The same, where the speed is that of another size, taken to scale with the ranks."""


class Basis(StrEnum):
    """What a time follows from."""

    PUBLISHED = "Published"
    MEASURED = "Measured"


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured: samples a second with so many ranks."""

    samples: float
    ranks: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job needs at one size. Times are of all its steps; ``None`` is not known."""

    ranks: int
    memory: int | None = None
    memory_percent: int | None = None
    seconds: float | None = None
    percent: int = 0
    basis: Basis | None = None
    device: str = ""
    cost: Decimal | None = None
    currency: str = ""
    joules: float | None = None
    step: StepTime | None = None
    saving: float | None = None
    """Seconds of all checkpoints, part of ``seconds``; None where the volume's speed is not known."""

    @property
    def least(self) -> Decimal:
        """Of a quantity with this error, the share that is sure to be needed."""
        return Decimal(max(0, 100 - self.percent)) / 100


def quote(
    spec: TrainingJobSpec,
    workers: int,
    fleet: HardwareCatalog,
    speed: Speed | None = None,
    terms: SizingProblem | None = None,
) -> Estimate | None:
    """The quote for so many workers; None where the job cannot run on them. ``terms`` are the
    spec's, for who has them already."""
    terms = terms or SizingProblem.of(spec)
    part = split(terms, workers)
    if part is None:
        return None
    ranks, data = workers * spec.workers.ranks_per_worker, data_ranks(terms, workers)
    need = BACKEND.estimate(terms, data, *part)
    known = devices(spec, fleet)
    step, device = _slowest(terms, spec, known, workers, data, part)
    seconds, percent, basis, saving = None, 0, None, None
    if speed is not None and speed.samples > 0 and speed.ranks > 0:
        scaled = speed.samples * ranks / speed.ranks
        seconds, basis = spec.steps * spec.batch.global_size / scaled, Basis.MEASURED
        percent = MEASURED_PERCENT if ranks == speed.ranks else RESIZED_PERCENT
    elif step is not None:
        saving = _saving(spec, terms, fleet, spec.steps * step.seconds)
        seconds = spec.steps * step.seconds + (saving or 0.0)
        percent, basis = BACKEND.pace_percent, Basis.PUBLISHED
    device = device or (known[0] if known else None)
    held = ranks if terms.on_cpu else workers * spec.accelerator.count
    priced = device is not None and device.price is not None and seconds is not None
    return Estimate(
        ranks=ranks,
        memory=need,
        memory_percent=BACKEND.memory_percent if terms.on_cpu and need is not None else None,
        seconds=seconds,
        percent=percent,
        basis=basis,
        device=device.name if device else "",
        cost=cost(device, held, seconds) if device and priced and seconds else None,
        currency=device.currency if device and priced else "",
        joules=held * device.watts * seconds * fleet.pue if device and seconds else None,
        step=step,
        saving=saving,
    )


def devices(spec: TrainingJobSpec, fleet: HardwareCatalog) -> tuple[Device, ...]:
    """The rows of everything that the job may run on; none if one of them is not known."""
    cpu = spec.accelerator.type == AcceleratorType.CPU
    found = [fleet.of(name) for name in ((CPU,) if cpu else spec.accelerator.products)]
    return tuple(each for each in found if each) if all(found) else ()


def cost(device: Device, held: int, seconds: float) -> Decimal:
    """Money for so many accelerators over a time."""
    return (device.price or Decimal(0)) * held * Decimal(seconds) / 3600


def measured(status: TrainingJobStatus, samples: float | None, ranks: int | None) -> Speed | None:
    """The job's own speed: what rank 0 says now with so many ranks, else what an earlier quote
    was made of."""
    if samples is not None and samples > 0 and ranks:
        return Speed(samples, ranks)
    before = status.quote
    if before is None or before.basis != Basis.MEASURED or not before.samples_per_second:
        return None
    return Speed(float(before.samples_per_second), before.world_size or 1)


def told(found: Estimate | None, speed: Speed | None) -> Mapping[str, Any]:
    """``status.quote``; empty where there is nothing to say."""
    if found is None:
        return {}
    said: dict[str, Any] = {}
    if found.memory is not None and found.memory <= BIG:
        said["memoryBytesPerRank"] = found.memory
        if found.memory_percent is not None:
            said["memoryErrorPercent"] = str(found.memory_percent)
    if found.seconds is not None and found.seconds <= BIG:
        said |= {
            "seconds": ceil(found.seconds),
            "errorPercent": str(found.percent),
            "basis": str(found.basis),
            "worldSize": found.ranks,
        }
        if found.basis == Basis.MEASURED and speed is not None:
            said |= {"samplesPerSecond": f"{speed.samples:.4f}", "worldSize": speed.ranks}
        said |= {"accelerator": found.device} if found.device else {}
        if found.cost is not None and found.cost < 10**15:
            said |= {"cost": f"{found.cost:.2f}", "currency": found.currency}
        if found.joules is not None and found.joules < 10**15:
            said["joules"] = f"{found.joules:.0f}"
    return said


def _slowest(
    terms: SizingProblem,
    spec: TrainingJobSpec,
    known: tuple[Device, ...],
    workers: int,
    data: int,
    part: tuple[int, int],
) -> tuple[StepTime | None, Device | None]:
    """The step on the slowest of the accepted accelerators."""
    found: list[tuple[StepTime, Device]] = []
    for device in known:
        on = machine(device, way(spec, workers), element=terms.element)
        step = on and BACKEND.step(terms, data, *part, on)
        if not step:
            return None, None
        found.append((step, device))
    return max(found, key=lambda pair: pair[0].seconds) if found else (None, None)


def _saving(
    spec: TrainingJobSpec, terms: SizingProblem, fleet: HardwareCatalog, training: float
) -> float | None:
    """Seconds of all checkpoints. One of schedule Auto comes every five minutes until measured."""
    if not fleet.storage or terms.shape is None:
        return None
    every = spec.checkpoint
    if every.every_steps:
        count = spec.steps / every.every_steps
    else:
        count = training / (every.every_seconds or 300)
    return count * work.checkpoint(terms.shape.weights, terms.element) / fleet.storage
