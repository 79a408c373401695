"""The built-in decoder with experts: Mixtral-shaped (arXiv:2401.04088, section 2.1).

Each token goes through the few experts that its router likes best, none is dropped, and nothing
is drawn by chance, so that a step gives the same however it is split. Modules carry the names of
Hugging Face's Mixtral; the experts' matrices stand in one tensor each, as DeepSpeed's AutoEP
wants them, which puts a layer of its own in the place of `Mixture` when ranks share the experts.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from preamar_train.models.init_weights import Drawn
from preamar_train.models.loss import losses_of
from preamar_train.models.model import Decoder, DecoderBlock, Linear
from preamar_train.models.presets import ModelShape


class Experts(nn.Module):
    def __init__(self, drawn: Drawn, name: str, shape: ModelShape) -> None:
        super().__init__()
        experts, hidden, wide = shape.experts, shape.hidden, shape.intermediate
        self.w1 = drawn.normal(f"{name}.w1", experts, wide, hidden)
        self.w2 = drawn.normal(f"{name}.w2", experts, hidden, wide)
        self.w3 = drawn.normal(f"{name}.w3", experts, wide, hidden)

    def forward(self, x: Tensor, chosen: Tensor, shares: Tensor) -> Tensor:
        """Of tokens [N, hidden] that chose experts [N, active], the sum of what those say."""
        total = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
        for number in range(len(self.w1)):
            rows, places = (chosen == number).nonzero(as_tuple=True)
            y = x[rows]
            y = F.silu(F.linear(y, self.w1[number])) * F.linear(y, self.w3[number])
            y = F.linear(y, self.w2[number]).float() * shares[rows, places][:, None]
            total = total.index_add(0, rows, y)
        return total.to(x.dtype)


class Mixture(nn.Module):
    def __init__(self, drawn: Drawn, name: str, shape: ModelShape) -> None:
        super().__init__()
        self.active = shape.active_experts
        self.gate = Linear(drawn, f"{name}.gate.weight", shape.hidden, shape.experts)
        self.experts = Experts(drawn, f"{name}.experts", shape)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        likely = self.gate(flat).float().softmax(dim=-1)
        shares, chosen = likely.topk(self.active, dim=-1)
        shares = shares / shares.sum(dim=-1, keepdim=True)
        return self.experts(flat, chosen, shares).view(x.shape)


class SparseLayer(DecoderBlock):
    def __init__(self, drawn: Drawn, number: int, shape: ModelShape) -> None:
        super().__init__(drawn, number, shape)
        self.active = shape.active_experts
        name = f"model.layers.{number}.block_sparse_moe"
        self.block_sparse_moe = Mixture(drawn, name, shape)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Also [B, experts]: how often each was chosen by a token, and how likely it was."""
        x = self.attended(x)
        y = self.post_attention_layernorm(x)
        router = getattr(self.block_sparse_moe, "router", self.block_sparse_moe)
        likely = router.gate(y).float().softmax(dim=-1)
        chosen = likely.topk(self.active, dim=-1).indices
        used = F.one_hot(chosen, likely.shape[-1]).float().sum(dim=2)
        return x + self.block_sparse_moe(y), used.mean(dim=1), likely.mean(dim=1)


class SparseDecoder(Decoder):
    """As `Decoder`; with `targets` also what is to become small [B]: the loss of each row and,
    weighted, how unevenly the experts are used.

    The latter is Mixtral's, over the tokens of all layers, but of each row by itself: over a
    whole micro-batch it would depend on how a step is split.
    """

    LAYER = SparseLayer

    def forward(
        self, tokens: Tensor, targets: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        x = self.model.embed_tokens(tokens)
        used, likely = 0.0, 0.0
        for layer in self.model.layers:
            x, now_used, now_likely = layer(x)
            used, likely = used + now_used, likely + now_likely
        logits = self.logits(x)
        if targets is None:
            return logits
        losses = losses_of(logits, targets, self.slices)
        uneven = (used * likely).sum(dim=-1) * self.shape.experts / self.shape.layers**2
        return losses, losses + self.shape.balance * uneven


def decoder_of(shape: ModelShape, drawn: Drawn | None = None) -> Decoder:
    """The model of a shape, with fresh weights."""
    return (SparseDecoder if shape.experts else Decoder)(shape, drawn)
