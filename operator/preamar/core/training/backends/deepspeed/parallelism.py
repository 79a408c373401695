"""Which ways to split a model can no number of ranks serve, and which cannot change their size?

DeepSpeed's own rules, told before any pod exists. What the trainer's image cannot do yet is
another question, which admission/limits.py answers.
"""

from collections.abc import Callable
from math import gcd
from typing import NamedTuple

from preamar.api.recipe import Offload
from preamar.core.training.backends.shapes import Shape
from preamar.core.training.backends.sizing_problem import SizingProblem


class Impossible(NamedTuple):
    """A combination, what is wrong with it and what to change."""

    asked: Callable[[SizingProblem], bool]
    sentence: str


IMPOSSIBLE: tuple[Impossible, ...] = (
    Impossible(
        lambda t: t.pipeline > 1 and t.zero_stage > 1,
        "A pipeline needs whole gradients, which ZeRO 2 and 3 divide: set parallelism.zeroStage to "
        "1 or parallelism.pipeline to 1.",
    ),
    Impossible(
        lambda t: t.shape is not None and t.pipeline > t.shape.layers,
        "The pipeline has more stages than the model has layers: set parallelism.pipeline to at "
        "most {layers}.",
    ),
    Impossible(
        lambda t: t.shape is not None and t.expert > 1 and not t.shape.experts,
        "The model has no experts to share: set parallelism.expert to 1.",
    ),
    Impossible(
        lambda t: t.shape is not None and t.expert > 1 and t.shape.experts % t.expert > 0,
        "The model's {experts} experts cannot be shared evenly: set parallelism.expert to a divisor "
        "of {experts}.",
    ),
    Impossible(
        lambda t: t.shape is not None and shareable(t.shape) % t.tensor > 0,
        "Layers can only be cut where all their parts can: set parallelism.tensor to a divisor of "
        "{shareable}.",
    ),
    # DeepSpeed, module_inject/auto_ep_folding.py: what its AutoEP with AutoTP refuses.
    Impossible(
        lambda t: (
            t.tensor > 1
            and t.expert > 1
            and (t.pipeline > 1 or t.zero_stage > 2 or t.offload != Offload.NONE)
        ),
        "Tensor and expert parallelism together exclude a pipeline, ZeRO 3 and offloading: set "
        "parallelism.pipeline to 1, parallelism.zeroStage to at most 2 and parallelism.offload to "
        "None, or one of parallelism.tensor and parallelism.expert to 1.",
    ),
)


def impossible(terms: SizingProblem) -> str:
    """Why no size can serve this parallelism, and what to change; empty if some can."""
    found = next((row.sentence for row in IMPOSSIBLE if row.asked(terms)), "")
    if terms.shape is None:
        return found
    shape = terms.shape
    return found.format(layers=shape.layers, experts=shape.experts, shareable=shareable(shape))


def ungrouped(terms: SizingProblem, ranks: int) -> str:
    """Why experts cannot be shared by so many ranks: their groups lie within a stage, over its tensor
    ranks too (DeepSpeed, utils/groups.py)."""
    inside = ranks // terms.pipeline
    if inside % terms.expert == 0:
        return ""
    stage = f" of the {inside} in a stage" if terms.pipeline > 1 else ""
    count = f"{ranks} rank" if ranks == 1 else f"{ranks} ranks"
    return f"{count}{stage} cannot be divided into groups of parallelism.expert {terms.expert}."


def shareable(shape: Shape) -> int:
    """The most ranks that can share each layer of a preset: whole heads, and equal parts of the
    feed-forward network and the vocabulary."""
    return gcd(shape.heads, shape.kv_heads, shape.intermediate, shape.vocabulary)


def fixed(terms: SizingProblem) -> str:
    """Why the job's size cannot change once it has trained; empty if it can.

    Dense models with ZeRO 1 to 3 resize by universal checkpoints, pipelines with ZeRO 1 and split
    layers up to ZeRO 2, and without ZeRO every rank holds the whole state of its slice. Universal
    checkpoints of experts are not carried yet, and ZeRO 3 loads them without regard to the slices
    of a layer (DeepSpeed, load_hp_checkpoint_state_from_checkpoint_dir_stage3)."""
    if terms.expert > 1:
        return "Checkpoints of expert parallelism cannot be taken to another size."
    if terms.pipeline > 1 and terms.zero_stage != 1:
        return "A pipeline can only be taken to another size with ZeRO 1."
    if terms.tensor > 1 and terms.zero_stage == 3:
        return "Split layers cannot be taken to another size with ZeRO 3."
    return ""
