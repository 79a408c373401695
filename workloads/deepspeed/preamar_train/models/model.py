"""The built-in decoder: Llama-shaped (RMSNorm, RoPE, SwiGLU, grouped-query attention).

Modules and weights carry the names of Hugging Face's Llama, so an export only copies them.
Every weight is drawn inside its own module's constructor: ZeRO 3 takes it apart right there.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from preamar_train.models.init_weights import Drawn
from preamar_train.models.loss import losses_of
from preamar_train.models.presets import ModelShape

EMBEDDING, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"


class Linear(nn.Module):
    """x W^T. Cut along 0, each slice has some of the outputs; along 1, some of the inputs, and
    the slices' products are summed."""

    def __init__(
        self, drawn: Drawn, name: str, inputs: int, outputs: int, cut: int | None = None
    ) -> None:
        super().__init__()
        self.slices, self.cut = drawn.slices, cut
        self.weight = drawn.normal(name, outputs, inputs, cut=cut)

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight)
        return self.slices.sum(y) if self.cut == 1 else y


class Embedding(nn.Module):
    """A row for each token; the slices share the vocabulary."""

    def __init__(self, drawn: Drawn, vocabulary: int, hidden: int) -> None:
        super().__init__()
        self.slices = drawn.slices
        self.weight = drawn.normal(EMBEDDING, vocabulary, hidden, cut=0)

    def forward(self, tokens: Tensor) -> Tensor:
        if self.slices.count == 1:
            return F.embedding(tokens, self.weight)
        rows = len(self.weight)
        places = tokens - self.slices.index * rows
        here = (places >= 0) & (places < rows)
        x = F.embedding(places.where(here, 0), self.weight) * here[..., None]
        return self.slices.sum(x)


class RMSNorm(nn.Module):
    def __init__(self, drawn: Drawn, name: str, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = drawn.ones(name, size)
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return (wide * scale).to(x.dtype) * self.weight


@lru_cache(maxsize=4)
def rotation(shape: ModelShape, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines [length, head_size], both halves alike."""
    exponents = torch.arange(0, shape.head_size, 2, device=device).float() / shape.head_size
    frequencies = shape.rope_theta**-exponents
    angles = torch.outer(torch.arange(length, device=device).float(), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turns each pair (i, i + half) of a head [B, heads, T, head_size] by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return (x * cosines + turned * sines).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, drawn: Drawn, name: str, shape: ModelShape) -> None:
        super().__init__()
        self.shape, self.slices = shape, drawn.slices
        hidden, narrow = shape.hidden, shape.kv_heads * shape.head_size
        self.q_proj = Linear(drawn, f"{name}.q_proj.weight", hidden, hidden, cut=0)
        self.k_proj = Linear(drawn, f"{name}.k_proj.weight", hidden, narrow, cut=0)
        self.v_proj = Linear(drawn, f"{name}.v_proj.weight", hidden, narrow, cut=0)
        self.o_proj = Linear(drawn, f"{name}.o_proj.weight", hidden, hidden, cut=1)

    def forward(self, x: Tensor) -> Tensor:
        size, (batch, length, _) = self.shape.head_size, x.shape
        x = self.slices.enter(x)

        def heads(y: Tensor) -> Tensor:
            return y.view(batch, length, -1, size).transpose(1, 2)

        cosines, sines = rotation(self.shape, length, x.device)
        query = rotate(heads(self.q_proj(x)), cosines, sines)
        key = rotate(heads(self.k_proj(x)), cosines, sines)
        group = self.shape.heads // self.shape.kv_heads
        key, value = (y.repeat_interleave(group, dim=1) for y in (key, heads(self.v_proj(x))))
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))


class FeedForward(nn.Module):
    def __init__(self, drawn: Drawn, name: str, shape: ModelShape) -> None:
        super().__init__()
        self.slices, hidden, wide = drawn.slices, shape.hidden, shape.intermediate
        self.gate_proj = Linear(drawn, f"{name}.gate_proj.weight", hidden, wide, cut=0)
        self.up_proj = Linear(drawn, f"{name}.up_proj.weight", hidden, wide, cut=0)
        self.down_proj = Linear(drawn, f"{name}.down_proj.weight", wide, hidden, cut=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.slices.enter(x)
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderBlock(nn.Module):
    """What all kinds of layers have: attention, and a norm before each half."""

    def __init__(self, drawn: Drawn, number: int, shape: ModelShape) -> None:
        super().__init__()
        name = f"model.layers.{number}"
        self.self_attn = Attention(drawn, f"{name}.self_attn", shape)
        before, between = f"{name}.input_layernorm", f"{name}.post_attention_layernorm"
        self.input_layernorm = RMSNorm(drawn, f"{before}.weight", shape.hidden, shape.norm_epsilon)
        self.post_attention_layernorm = RMSNorm(
            drawn, f"{between}.weight", shape.hidden, shape.norm_epsilon
        )

    def attended(self, x: Tensor) -> Tensor:
        return x + self.self_attn(self.input_layernorm(x))


class Layer(DecoderBlock):
    def __init__(self, drawn: Drawn, number: int, shape: ModelShape) -> None:
        super().__init__(drawn, number, shape)
        self.mlp = FeedForward(drawn, f"model.layers.{number}.mlp", shape)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attended(x)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, drawn: Drawn, shape: ModelShape, layer: type[DecoderBlock]) -> None:
        super().__init__()
        self.embed_tokens = Embedding(drawn, shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(layer(drawn, n, shape) for n in range(shape.layers))
        self.norm = RMSNorm(drawn, NORM, shape.hidden, shape.norm_epsilon)


class Decoder(nn.Module):
    """`forward` gives logits [B, T, V / slices], or with `targets` [B, T] the losses of each row
    [B]."""

    LAYER: type[DecoderBlock] = Layer

    def __init__(self, shape: ModelShape, drawn: Drawn | None = None) -> None:
        super().__init__()
        drawn = drawn or Drawn(shape.seed)
        self.shape, self.slices = shape, drawn.slices
        self.model = Body(drawn, shape, self.LAYER)
        if not shape.tie_embeddings:
            self.lm_head = Linear(drawn, HEAD, shape.hidden, shape.vocabulary, cut=0)

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        x = self.model.embed_tokens(tokens)
        for layer in self.model.layers:
            x = layer(x)
        logits = self.logits(x)
        return logits if targets is None else losses_of(logits, targets, self.slices)

    def logits(self, x: Tensor) -> Tensor:
        x = self.slices.enter(self.model.norm(x))
        if self.shape.tie_embeddings:
            return F.linear(x, self.model.embed_tokens.weight)
        return self.lm_head(x)
