"""How much is to be computed, and how much must cross between ranks, for one sample or step?

Counts alone: FLOPs and bytes, no speeds. One multiplication with its addition is two FLOPs, and the
backward pass takes twice the forward one.

Sources: Narayanan et al., Efficient Large-Scale Language Model Training on GPU Clusters
(arXiv:2104.04473), appendix, whose 72·B·s·l·h²·(1 + s/6h + V/12lh) is ``flops`` of a model of their
shape; Rajbhandari et al., ZeRO (arXiv:1910.02054), section 7, for ``gradients``; Shoeybi et al.,
Megatron-LM (arXiv:1909.08053), section 3, for ``within_layers``; Lepikhin et al., GShard
(arXiv:2006.16668), section 3, for ``to_experts``.
"""

from preamar.core.training.backends.shapes import Shape
from preamar.core.training.backends.sizing_problem import SizingProblem

MATMUL = 6
"""FLOPs of a weight that is multiplied, for a token: two forwards, four backwards."""


def flops(shape: Shape, *, recomputed: bool = False) -> float:
    """FLOPs of training on one sample: 6 for each weight that a token meets, and 12·s·h a layer for
    the scores of attention, both halves of them as kernels without a causal mask compute. With all
    activations ``recomputed`` there is a second forward pass."""
    token = MATMUL * shape.active + 12 * shape.layers * shape.hidden * shape.sequence
    return shape.sequence * token * (4 / 3 if recomputed else 1)


def gradients(terms: SizingProblem, weights: int, data: int, accumulation: int) -> float:
    """Bytes that a rank sends in one step so that its copies of ``weights`` stay equal.

    A sum over n ranks, or a reduce-scatter and an all-gather, sends 2 (n - 1) / n of it. ZeRO 2
    reduces after every micro batch, because it keeps no whole gradients; ZeRO 3 gathers the weights
    twice for each as well."""
    part = weights * terms.element * (data - 1) / data
    if terms.zero_stage <= 1:
        return 2 * part
    return part * (accumulation + 1) if terms.zero_stage == 2 else part * 3 * accumulation


def within_layers(terms: SizingProblem, shape: Shape, micro: int) -> float:
    """Bytes that a tensor-parallel rank sends for one micro batch: four sums of all activations in
    each of its layers, two forwards and two backwards."""
    layers = -(-shape.layers // terms.pipeline)
    sums = 4 * 2 * (terms.tensor - 1) / terms.tensor
    return layers * sums * _activations(terms, shape, micro)


def between_stages(terms: SizingProblem, shape: Shape, micro: int) -> float:
    """Bytes that a pipeline stage sends for one micro batch: activations on, gradients back."""
    return 2 * _activations(terms, shape, micro) if terms.pipeline > 1 else 0.0


def to_experts(terms: SizingProblem, shape: Shape, micro: int) -> float:
    """Bytes that a rank sends to experts elsewhere for one micro batch: each token to as many as it
    is routed to and back, in both passes of each of its layers."""
    if terms.expert == 1:
        return 0.0
    layers = -(-shape.layers // terms.pipeline)
    away = (terms.expert - 1) / terms.expert
    return layers * 4 * shape.routed * away * _activations(terms, shape, micro)


def checkpoint(weights: int, element: int) -> int:
    """Bytes of a checkpoint: the weights, and Adam's copy and moments in FP32."""
    return weights * (element + 12)


def _activations(terms: SizingProblem, shape: Shape, micro: int) -> float:
    return float(micro * shape.sequence * shape.hidden * terms.element)
