"""How much memory does a rank need?

Two answers, for two ends. ``estimate`` is what we expect: on GPUs it follows DeepSpeed's
documentation, on CPUs what its engines were measured to hold. It is shown to users and chooses the
micro batch. ``at_least`` is what ZeRO cannot do without by its
own paper: only what exceeds that is refused, so that nothing that could run is. Neither counts
Python and its libraries. As documented, more ZeRO never needs more; of small models ZeRO 3 gathers
so much that it does (tests/core/training/planner/test_memory.py).

Sources: "Memory Requirements" of DeepSpeed's documentation
(https://deepspeed.readthedocs.io/en/latest/memory.html) for ``states`` and ``host_states``;
Rajbhandari et al., ZeRO (arXiv:1910.02054), section 5 for ``at_least``; Korthikanti et al.,
Reducing Activation Recomputation (arXiv:2205.05198), section 4 for ``activations``.
All assume Adam; weights and gradients have ``element`` bytes (2 in 16 bits, 4 in FP32).
"""

from preamar.api.recipe import Offload
from preamar.core.training.backends.shapes import Shape
from preamar.core.training.backends.sizing_problem import SizingProblem

ERROR_PERCENT = 25
"""How far off ``estimate`` may be on a CPU. On one and two ranks of the default image gpt-small took,
beyond its libraries, from 5 % less to 3 % more at every ZeRO stage, and gpt-tiny, with some dozens
of MB in all, from 16 % less to 15 % more (``make bench NAMES=quote``)."""
UNMEASURED_PERCENT = 100
"""The same on GPUs, which were not measured, for the choice of a micro batch alone."""
LIBRARIES = 430_000_000
"""Bytes of Python and its libraries in that rank, measured: 295 MB once they are imported, 115 MB
when DeepSpeed's engine is made, and about 20 MB of kernels in the first step."""
OPTIMIZER = 16
"""Bytes a weight in FP32 while the optimizer works: its copy, its gradient and two moments."""


def states(
    weights: int,
    largest: int,
    stage: int,
    data: int,
    *,
    offloaded: bool = False,
    kept: bool = True,
    element: int = 2,
) -> int:
    """Bytes of weights, gradients and optimizer on a rank's device, as DeepSpeed documents them.

    ``weights`` are those of the rank before ZeRO divides them among ``data`` ranks, ``largest``
    those of the largest module, which ZeRO 3 gathers. ``offloaded`` moves the optimizer's state
    away; not ``kept``, with ZeRO 3, the weights too.
    """
    both = 2 * element * weights
    if offloaded:
        less = both if stage <= 1 else element * weights
    else:
        less = both + OPTIMIZER * weights // (data if stage else 1)
    if stage < 3:
        return less
    divided = (element if kept else 0) + (0 if offloaded else OPTIMIZER)
    gathered = 2 * element * largest + divided * weights // data
    # Among few ranks there is little to divide, and the formula counts what is gathered on top.
    return min(less, gathered)


BUCKET, LIVE = 500_000_000, 1_000_000_000
"""Weights that DeepSpeed reduces at once (reduce_bucket_size), and that ZeRO 3 keeps gathered
(stage3_max_live_parameters), unless its user says otherwise."""
LLAMA = 1.15
"""Activations of a Llama-shaped layer over the paper's: gated network, rotated and repeated heads."""


def held(weights: int, stage: int, data: int, *, element: int, accumulation: int) -> int:
    """Bytes of weights, gradients and optimizer that DeepSpeed's engines were measured to hold on
    a CPU, where nothing is fused and flat buffers are memory like any other.

    ZeRO 1 and 2: weights, whole gradients, and a bucket as large as those into which they are
    flattened; the optimizer's share, in 16 bits with gradients beside their FP32 copy, and one more
    gradient where several micro batches are summed. ZeRO 3 keeps what it has gathered: twice, with
    what is fetched ahead."""
    bucket = 2 * element * min(weights, BUCKET)
    if stage == 0:
        return weights * (2 * element + (8 if element == 4 else OPTIMIZER))
    summed = 4 if accumulation > 1 else 0
    if stage < 3:
        share = OPTIMIZER + (0 if element == 4 else 4) + summed
        return element * weights + bucket + share * weights // data
    return (
        3 * element * min(weights, LIVE) + bucket + (OPTIMIZER + element + summed) * weights // data
    )


BUFFER = 1.5
"""DeepSpeed's additional_buffer_factor of memory on the host."""


def host_states(
    weights: int, largest: int, stage: int, here: int, data: int, *, offloaded: bool, kept: bool
) -> int:
    """Bytes on a host with ``here`` of ``data`` ranks, as DeepSpeed documents them. Without
    offloading that is only while the model is made, in FP32."""
    if stage < 3:
        return int(weights * (max(4 * here, 16) if offloaded else 4 * here) * BUFFER)
    if not offloaded:
        return int(largest * 4 * here * BUFFER)
    return int(weights * (16 if kept else 18) * (here / data) * BUFFER)


def at_least(
    weights: int, stage: int, data: int, *, element: int = 2, optimizer: bool = True
) -> int:
    """Bytes of weights, gradients and optimizer that ZeRO cannot do without. The optimizer's are
    12 a weight, with its FP32 copy, or 8 where the weights are FP32 themselves."""
    k = (12 if element == 2 else 8) if optimizer else 0
    parts = ((element, 3), (element, 2), (k, 1))  # weights, gradients, optimizer: divided from …
    return sum(each * weights // (data if stage >= since else 1) for each, since in parts)


def activations(
    shape: Shape,
    micro: int,
    accumulation: int,
    *,
    tensor: int,
    pipeline: int,
    element: int = 2,
    scores: bool = False,
) -> int:
    """Bytes kept for the backward pass, at the pipeline's fullest stage.

    A layer keeps sbh (10 + 24 / tensor), and with ``scores`` those of attention, once: the paper
    counts them two and a half times because of dropout, which the presets lack. The first stage
    holds a micro batch for each stage. The last holds the logits, which the paper counts once;
    the trainer's loss has them, their logarithms and the gradients of both, in FP32."""
    tokens, hidden = shape.sequence * micro, shape.hidden
    layer = tokens * hidden * (10 * tensor + 24) * element // (2 * tensor)
    if shape.experts:  # 19 of the 34 are the network's, and a token goes through several
        layer += (shape.active_experts - 1) * tokens * hidden * 19 * element // 2
    if scores:
        layer += tokens * shape.sequence * -(-shape.heads // tensor) * element
    stage = -(-shape.layers // pipeline) * layer
    output = tokens * (2 * element * hidden + 4 * 4 * -(-shape.vocabulary // tensor))
    return max(min(pipeline, accumulation) * stage, stage + output)


def estimate(terms: SizingProblem, data: int, micro: int, accumulation: int) -> int | None:
    """Bytes we expect a rank to need; None where the model is not known."""
    if terms.shape is None or not terms.adam:
        return None
    (weights, experts), offloaded = _share(terms, terms.shape), terms.offload != Offload.NONE
    largest = -(-terms.shape.largest // terms.tensor)
    stage, measured = terms.zero_stage, terms.on_cpu and not offloaded

    def of(part: int, over: int) -> int:
        """The bytes of some weights, of which so many ranks hold a copy."""
        if measured:
            return held(part, stage, over, element=terms.element, accumulation=accumulation)
        return states(part, largest, stage, over, offloaded=offloaded, element=terms.element)

    need = of(weights, data)
    if experts:  # the ranks that hold the same ones are fewer
        need += of(experts, max(1, data // terms.expert))
    if terms.on_cpu and terms.offload == Offload.CPU:  # device and host are one memory
        here = min(terms.ranks_per_worker, data)
        host = host_states(weights + experts, largest, stage, here, data, offloaded=True, kept=True)
        need += host // terms.ranks_per_worker
    kept = activations(
        terms.shape,
        micro,
        accumulation,
        tensor=terms.tensor,
        pipeline=terms.pipeline,
        element=terms.element,
        scores=terms.on_cpu,  # the kernels that never store them are the GPU's
    )
    return need + int(kept * (LLAMA if measured else 1))


def comfortable(terms: SizingProblem, data: int, micro: int, accumulation: int) -> bool:
    """Whether a rank's limit leaves room for this micro batch, if the estimate is as wrong as it
    was ever measured to be. True where limit or need is not known."""
    need = estimate(terms, data, micro, accumulation)
    if need is None or terms.limit is None:
        return True
    wrong = ERROR_PERCENT if terms.on_cpu else UNMEASURED_PERCENT
    return need * (100 + wrong) // 100 + LIBRARIES <= terms.limit


def lacking(terms: SizingProblem, data: int) -> int | None:
    """The bytes a rank cannot do without, if that is more than it may use; else None."""
    if terms.shape is None or terms.limit is None or not terms.adam:
        return None
    # However the layers are dealt out, one rank has no less than the mean.
    stages, optimizer = terms.tensor * terms.pipeline, terms.offload != Offload.NVME
    experts = terms.shape.expert_weights if terms.expert > 1 else 0
    each = ((terms.shape.weights - experts) // stages, data)
    shared = (experts // (stages * terms.expert), max(1, data // terms.expert))
    need = sum(
        at_least(weights, terms.zero_stage, over, element=terms.element, optimizer=optimizer)
        for weights, over in (each, shared)
    )
    return need if need > terms.limit else None


def _share(terms: SizingProblem, shape: Shape) -> tuple[int, int]:
    """A rank's weights before ZeRO divides them among copies, and those of experts that ranks
    share, which have fewer copies."""
    stage = shape.weights if terms.pipeline == 1 else shape.of_stage(terms.pipeline)
    experts = 0
    if terms.expert > 1:
        experts = -(-shape.layers // terms.pipeline) * shape.experts * shape.network
    return -(-(stage - experts) // terms.tensor), experts // (terms.tensor * terms.expert)
