"""How long does a step of DeepSpeed's take?

Computing, the pipeline's bubble, and what must cross between ranks, one after the other: DeepSpeed
overlaps little of it by default. The ten published runs of arXiv:2104.04473, table 1, are met within
20 % (tests/core/training/planner/test_pace.py).
"""

from preamar.core.training.backends import work
from preamar.core.training.backends.sizing_problem import SizingProblem
from preamar.core.training.backends.speeds import Machine, StepTime

ERROR_PERCENT = 40
"""How far off a step may be on an accelerator nobody measured: 20 % on the published runs, which
were tuned by experts for their machine."""


def step(
    terms: SizingProblem,
    data: int,
    micro: int,
    accumulation: int,
    on: Machine,
    *,
    recomputed: bool = False,
) -> StepTime | None:
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
    return StepTime(
        compute=accumulation * once,
        bubble=(terms.pipeline - 1) * (once + inner + handed),
        layers=accumulation * inner,
        stages=accumulation * handed,
        gradients=sent / apart if data > 1 else 0.0,
        optimizer=28 * own / on.bandwidth if on.bandwidth else 0.0,
    )
