"""The decoder as a chain of layers that DeepSpeed deals out to the stages of a pipeline.

Modules keep their number in the whole chain, wherever a stage begins. The embedding is the first
module and, where it is tied, the last one too: both stages hold a copy whose gradients are added.
"""

from functools import partial
from typing import Any

from deepspeed.pipe import LayerSpec, PipelineModule, TiedLayerSpec
from torch import Tensor, nn
from torch.nn import functional as F

from preamar_train.models.init_weights import Drawn
from preamar_train.models.model import HEAD, NORM, Embedding, Layer, Linear, RMSNorm
from preamar_train.models.presets import ModelShape

EMBED = "embed"


class Norm(nn.Module):
    def __init__(self, drawn: Drawn, shape: ModelShape) -> None:
        super().__init__()
        self.norm = RMSNorm(drawn, NORM, shape.hidden, shape.norm_epsilon)
        self.slices = drawn.slices

    def forward(self, x: Tensor) -> Tensor:
        return self.slices.enter(self.norm(x))


def _logits(embedding: Embedding, x: Tensor) -> Tensor:
    return F.linear(x, embedding.weight)


def chain(shape: ModelShape, drawn: Drawn) -> list[LayerSpec]:
    """Embedding, layers, norm and head, none of them made yet."""
    table = (Embedding, drawn, shape.vocabulary, shape.hidden)
    layers = [LayerSpec(Layer, drawn, number, shape) for number in range(shape.layers)]
    norm = LayerSpec(Norm, drawn, shape)
    if shape.tie_embeddings:
        last = TiedLayerSpec(EMBED, *table, forward_fn=_logits)
        return [TiedLayerSpec(EMBED, *table), *layers, norm, last]
    head = LayerSpec(Linear, drawn, HEAD, shape.hidden, shape.vocabulary, 0)
    return [LayerSpec(*table), *layers, norm, head]


def stages(shape: ModelShape, drawn: Drawn, topology: Any, loss: Any) -> PipelineModule:
    """This rank's stage. `loss` takes the last module's output and the targets."""
    made = PipelineModule(
        layers=chain(shape, drawn),
        topology=topology,
        loss_fn=partial(loss),
        partition_method=f"type:{Layer.__name__}",
    )
    for parameter in made.parameters():
        if parameter.ds_pipe_replicated:  # the first stage has it too
            parameter.model_parallel = False
    return made
