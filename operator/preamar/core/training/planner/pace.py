"""How long does a step take?

Computing at a share of the accelerator's peak, the pipeline's bubble, and what must cross between
ranks, one after the other: DeepSpeed overlaps little of it by default. The one constant was fitted
to the ten published runs of arXiv:2104.04473, table 1, which ``step`` then meets within 20 %
(tests/core/training/planner/test_pace.py). Where speeds are not known, nothing is concluded.
"""

from dataclasses import dataclass

from preamar.core.capacity.hardware import GB, Device
from preamar.core.training.planner import work
from preamar.core.training.planner.interconnect import Way
from preamar.core.training.planner.sizing_problem import Terms

EFFICIENCY = 0.53
"""Share of the dense peak at which a rank computes, kernels and all that no term below names."""
ERROR_PERCENT = 40
"""How far off a step may be on an accelerator nobody measured: 20 % on the published runs, which
were tuned by experts for their machine."""
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
class Step:
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


def step(
    terms: Terms, data: int, micro: int, accumulation: int, on: Machine, *, recomputed: bool = False
) -> Step | None:
    """The parts of a step with so many data-parallel ranks; None where the model is not known."""
    shape = terms.shape
    if shape is None:
        return None
    model = terms.tensor * terms.pipeline
    layers = -(-shape.layers // terms.pipeline)
    once = micro * work.flops(shape, recomputed=recomputed) / model / on.flops
    once += layers * on.latency
    # Recomputing repeats the two sums of a layer's forward pass.
    inner = work.within_layers(terms, shape, micro) / on.inside * (1.5 if recomputed else 1)
    inner += work.to_experts(terms, shape, micro) / on.outside
    handed = work.between_stages(terms, shape, micro) / on.outside
    weights = -(-shape.weights // model)
    sent = work.gradients(terms, weights, data, accumulation)
    # Data-parallel ranks of one machine sum among themselves first, and share its way out.
    sharing = max(1, min(data, terms.ranks_per_worker // terms.tensor))
    apart = min(on.inside, on.outside * sharing)
    # Adam reads and writes FP32 weights and two moments, and reads gradients: 28 bytes a weight.
    own = weights // (data if terms.zero_stage else 1)
    return Step(
        compute=accumulation * once,
        bubble=(terms.pipeline - 1) * (once + inner + handed),
        layers=accumulation * inner,
        stages=accumulation * handed,
        gradients=sent / apart if data > 1 else 0.0,
        optimizer=28 * own / on.bandwidth if on.bandwidth else 0.0,
    )
