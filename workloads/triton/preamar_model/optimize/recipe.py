"""What is done to a graph, all but the layers that are kept? Pruning first, on the float weights,
then the precision.
"""

from collections.abc import Sequence
from pathlib import Path

import onnx

from preamar_model.passes import (
    half,
    integers,
    layers,
    narrow,
    pairs,
    rows,
    single_layer,
    typed,
    zeros,
)
from preamar_model.passes.eighths import LARGEST, EightBits
from preamar_model.passes.integers import Quantizer, Scheme
from preamar_model.passes.optimize_spec import OptimizeSpec, unable
from preamar_model.passes.session import Feed


class Recipe:
    def __init__(
        self, wish: OptimizeSpec, floats: onnx.ModelProto, quantizer: Quantizer | EightBits | None
    ) -> None:
        self.wish = wish
        self.floats = floats
        self.quantizer = quantizer

    @property
    def scheme(self) -> Scheme | None:
        return self.quantizer.scheme if self.quantizer else None

    def layers(self) -> list[str]:
        """The layers that this changes, in the graph's order."""
        wish, found = self.wish, set()
        if wish.sparsity == "Structured":
            found |= {pair.first.name for pair in pairs.find(self.floats)}
        elif wish.sparsity != "None":
            found |= {layer.name for layer in zeros.suited(self.floats, wish.sparsity)}
        if wish.precision in half.KINDS:
            ops = typed.OPS if self._computes_half() else tuple(layers.PLACES)
            found |= {layer.name for layer in layers.find(self.floats) if layer.op in ops}
        if self.scheme is Scheme.SYMMETRIC:
            found |= {
                layer.name for layer in layers.find(self.floats) if layer.op in {"MatMul", "Conv"}
            }
        elif wish.precision == "INT8":
            ops = {"MatMul", "Gather"}
            ops |= set() if self.scheme in {Scheme.DYNAMIC, None} else {"Conv"}
            found |= {layer.name for layer in layers.find(self.floats) if layer.op in ops}
        return [node.name for node in self.floats.graph.node if node.name in found]

    def unsuited(self) -> list[str]:
        """The layers whose shape does not allow the pruning that was asked for."""
        wish = self.wish
        if wish.sparsity != "TwoFour":
            return []
        suited = {layer.name for layer in zeros.suited(self.floats, wish.sparsity)}
        return [
            layer.name
            for layer in zeros.suited(self.floats, "Unstructured")
            if layer.name not in suited
        ]

    def pruned(self, kept: frozenset[str]) -> onnx.ModelProto:
        """A new graph whose weights are floats still."""
        model = onnx.ModelProto()
        model.CopyFrom(self.floats)
        if self.wish.sparsity == "Structured":
            return narrow.narrowed(model, self.wish.ratio, kept)
        if self.wish.sparsity != "None":
            return zeros.pruned(model, self.wish.sparsity, self.wish.ratio, kept)
        return model

    def only(self, changed: onnx.ModelProto, name: str) -> onnx.ModelProto:
        """With that layer changed alone; ``changed`` is this recipe's graph that keeps none."""
        # Where shapes change, a layer's neighbours change with it.
        cut = self.wish.sparsity != "Structured" and single_layer.only(self.floats, changed, name)
        return cut or self(frozenset(self.layers()) - {name})

    def __call__(self, kept: frozenset[str]) -> onnx.ModelProto:
        model = self.pruned(kept)
        if self.wish.precision == "FP16" and self._computes_half():
            return typed.typed(model, "FP16", kept)
        if self.wish.precision in half.KINDS:
            return half.narrowed(model, self.wish.precision, kept)
        if isinstance(self.quantizer, EightBits):
            return self.quantizer(model, kept)
        if self.wish.precision == "INT8":
            model = rows.quantized(model, kept)
            return self.quantizer(model, kept) if self.quantizer else model
        return model

    def compiled(self, kept: frozenset[str]) -> onnx.ModelProto:
        """The graph as TensorRT is given it. ONNX Runtime multiplies no BF16 on a CPU, so there
        layers are chosen by their weights in it; the gate judges the engine itself."""
        if self.wish.precision == "BF16":
            return typed.typed(self.pruned(kept), "BF16", kept)
        return self(kept)

    def _computes_half(self) -> bool:
        """Whether products are made in 16 bits, and not only their weights kept in them."""
        wish = self.wish
        return wish.compiles or (wish.accelerator == "GPU" and wish.precision == "FP16")


def recipes(
    wish: OptimizeSpec, floats: onnx.ModelProto, samples: Sequence[Feed], folder: Path
) -> list[Recipe]:
    """All that are worth a try. Raises `Refusal` when the graph has nothing to change."""
    quantizers: list[Quantizer | EightBits | None] = [None]
    if wish.compiles and wish.precision in LARGEST:
        quantizers = [EightBits(wish.precision, samples)]
    elif wish.precision == "INT8":
        schemes = integers.schemes(floats)
        quantizers = [Quantizer(scheme, samples, folder) for scheme in schemes] or [None]
    found = [Recipe(wish, floats, quantizer) for quantizer in quantizers]
    if wish.sparsity == "Structured" and not pairs.find(floats):
        raise unable(
            "The model has no two layers with only a bias and an activation between them, so no "
            "units can be taken out; attention heads and channels that meet a residual are never. "
            "Choose sparsity.type Unstructured, or prune and fine-tune before you store the model."
        )
    if not any(recipe.layers() for recipe in found):
        wanted = wish.sparsity if wish.precision == "None" else wish.precision
        raise unable(f"The model has no layer with weights to which {wanted} applies.")
    return [recipe for recipe in found if recipe.layers()]
