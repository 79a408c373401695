"""How fast does a rank compute and send, and where do the seconds of a step go?

By what vendors publish, and by which way the ranks talk. Where speeds are not known, nothing is
concluded.
"""

from dataclasses import dataclass
from enum import StrEnum

from preamar.core.capacity.hardware import GB, Device


class Way(StrEnum):
    """By which ranks talk. ``LOCAL``: one pod, by whatever its machine has."""

    LOCAL = "Local"
    NVLINK = "NVLink"
    RDMA = "RDMA"
    TCP = "TCP"


EFFICIENCY = 0.53
"""Share of the dense peak at which a rank computes, kernels and all that no part of a step names. The
one constant was fitted to the ten published runs of arXiv:2104.04473, table 1."""
BUS = 0.8
"""Share of a link's bandwidth that large sums reach."""
PCIE = 32.0 * GB
"""Bytes per second within a machine without links: PCIe 4.0 x16, one direction."""
NETWORK = {Way.RDMA: 25.0 * GB, Way.TCP: 1.25 * GB}
"""Bytes per second of an accelerator where its fleet row says nothing: 200 and 10 Gbit/s."""


@dataclass(frozen=True, slots=True)
class Machine:
    """How fast a rank computes (FLOP/s that it really reaches) and sends (bytes per second) within
    its machine and beyond it; ``latency`` is lost in each layer of a micro batch, in seconds."""

    flops: float
    inside: float
    outside: float
    bandwidth: float = 0.0
    latency: float = 0.0


@dataclass(frozen=True, slots=True)
class StepTime:
    """Where the seconds of one step go."""

    compute: float
    bubble: float
    layers: float
    """Sums of tensor-parallel ranks, and tokens on their way to experts."""
    stages: float
    gradients: float
    optimizer: float

    @property
    def seconds(self) -> float:
        """The whole step."""
        return (
            self.compute + self.bubble + self.layers + self.stages + self.gradients + self.optimizer
        )


def machine(device: Device, way: Way, *, element: int) -> Machine | None:
    """A rank on this accelerator, as published; None where its speed in this precision is not."""
    peak = device.flops if element == 2 else device.flops32
    if not peak:
        return None
    inside = (device.link / 2 if device.link else PCIE) * BUS
    beyond = device.network or NETWORK.get(way, inside / BUS)
    outside = inside if way in {Way.NVLINK, Way.LOCAL} else beyond * BUS
    return Machine(peak * EFFICIENCY, inside, outside, device.bandwidth)
