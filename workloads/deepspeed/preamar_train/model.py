"""The built-in decoder: Llama-shaped (RMSNorm, RoPE, SwiGLU, grouped-query attention).

Modules and weights carry the names of Hugging Face's Llama, so an export only copies them.
Every weight is drawn inside its own module's constructor: ZeRO 3 takes it apart right there.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from preamar_train.presets import Shape

INIT_STD = 0.02


class Linear(nn.Linear):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=INIT_STD)


class Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=INIT_STD)


class RMSNorm(nn.Module):
    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return (wide * scale).to(x.dtype) * self.weight


def rotation(shape: Shape, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
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
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        narrow = shape.kv_heads * shape.head_size
        self.q_proj = Linear(shape.hidden, shape.hidden)
        self.k_proj = Linear(shape.hidden, narrow)
        self.v_proj = Linear(shape.hidden, narrow)
        self.o_proj = Linear(shape.hidden, shape.hidden)

    def forward(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        shape, (batch, length, _) = self.shape, x.shape

        def heads(y: Tensor, count: int) -> Tensor:
            return y.view(batch, length, count, shape.head_size).transpose(1, 2)

        query = rotate(heads(self.q_proj(x), shape.heads), cosines, sines)
        key = rotate(heads(self.k_proj(x), shape.kv_heads), cosines, sines)
        value = heads(self.v_proj(x), shape.kv_heads)
        group = shape.heads // shape.kv_heads
        key, value = (y.repeat_interleave(group, dim=1) for y in (key, value))
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, shape.hidden))


class FeedForward(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = Linear(shape.hidden, shape.intermediate)
        self.up_proj = Linear(shape.hidden, shape.intermediate)
        self.down_proj = Linear(shape.intermediate, shape.hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = FeedForward(shape)
        self.input_layernorm = RMSNorm(shape.hidden, shape.norm_epsilon)
        self.post_attention_layernorm = RMSNorm(shape.hidden, shape.norm_epsilon)

    def forward(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cosines, sines)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.hidden, shape.norm_epsilon)


class Decoder(nn.Module):
    """`forward` gives logits [B, T, V], or with `targets` [B, T] the losses of each row [B]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Body(shape)
        if not shape.tie_embeddings:
            self.lm_head = Linear(shape.hidden, shape.vocabulary)

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        x = self.model.embed_tokens(tokens)
        cosines, sines = rotation(self.shape, tokens.shape[1], tokens.device)
        for layer in self.model.layers:
            x = layer(x, cosines, sines)
        x = self.model.norm(x)
        if self.shape.tie_embeddings:
            logits = F.linear(x, self.model.embed_tokens.weight)
        else:
            logits = self.lm_head(x)
        if targets is None:
            return logits
        losses = F.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")
        return losses.mean(dim=1)
