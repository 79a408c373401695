"""How many weights does the model have, and how large are its layers?

Only what the default trainer builds is known: its presets, with the user's changes. The trainer
has its own copy of this table, because nothing of the operator runs in its pods; a test holds the
two equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from preamar.api.training import TrainingJobSpec


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama-shaped decoder: numbers of layers and heads, widths, tokens of a sample. With
    ``experts`` each layer has so many feed-forward networks, of which a token uses a few."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    intermediate: int
    sequence: int
    vocabulary: int
    experts: int = 0
    active_experts: int = 2

    @property
    def shared(self) -> int:
        """Weights of one layer that every token uses: attention, two norms and, without experts,
        a gated feed-forward network, else the router."""
        narrow = self.kv_heads * (self.hidden // self.heads)
        attention = 2 * self.hidden * (self.hidden + narrow) + 2 * self.hidden
        return attention + (self.experts * self.hidden or self.network)

    @property
    def network(self) -> int:
        """Weights of one gated feed-forward network."""
        return 3 * self.hidden * self.intermediate

    @property
    def layer(self) -> int:
        """Weights of one layer."""
        return self.shared + self.experts * self.network

    @property
    def table(self) -> int:
        """Weights of the embedding, which is also the output's: the presets tie them."""
        return self.vocabulary * self.hidden

    @property
    def weights(self) -> int:
        """All weights."""
        return self.layers * self.layer + self.table + self.hidden

    @property
    def active(self) -> int:
        """Weights that one token is multiplied by: all of them where there are no experts."""
        return self.weights - self.layers * max(0, self.experts - self.routed) * self.network

    @property
    def routed(self) -> int:
        """Experts that a token is sent to in a layer."""
        return self.active_experts if self.experts else 1

    @property
    def expert_weights(self) -> int:
        """The weights of all experts, which ranks may share."""
        return self.layers * self.experts * self.network

    @property
    def largest(self) -> int:
        """Weights of the largest module, as trainers gather it: of its own, not of its parts. The
        experts of a layer are one module."""
        return max(
            self.table, max(1, 3 * self.experts) * self.hidden * self.intermediate, self.hidden**2
        )

    def of_stage(self, stages: int) -> int:
        """Weights of the fullest of so many pipeline stages: its layers, and a table."""
        return -(-self.layers // stages) * self.layer + self.table + self.hidden


PRESETS: Mapping[str, Shape] = {
    "gpt-tiny": Shape(4, 128, 4, 2, 352, 128, 2048),
    "gpt-small": Shape(8, 512, 8, 4, 1408, 512, 8192),
    "gpt-base": Shape(12, 768, 12, 4, 2048, 1024, 32_768),
    "moe-tiny": Shape(4, 128, 4, 2, 176, 128, 2048, experts=8),
    "moe-small": Shape(8, 512, 8, 4, 704, 512, 8192, experts=8),
}
# What the presets' users may also change, and which changes no size.
OTHERS = frozenset(
    {"ropeTheta", "normEpsilon", "learningRate", "weightDecay", "warmupSteps", "seed", "balance"}
)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


NAMES: Mapping[str, str] = {_camel(field.name): field.name for field in fields(Shape)}


def shape_of(spec: TrainingJobSpec) -> Shape | None:
    """The shape of what is trained; None where it is the user's own program or no such model."""
    shape, changes = PRESETS.get(spec.model.preset), dict(spec.model.parameters)
    if shape is None or spec.command or not changes.keys() <= NAMES.keys() | OTHERS:
        return None
    shape = replace(shape, **{NAMES[k]: v for k, v in changes.items() if k in NAMES})
    sizes = (getattr(shape, field.name) for field in fields(Shape) if field.name != "experts")
    possible = min(sizes) > 0 and shape.experts >= 0
    return shape if possible and shape.hidden % shape.heads == 0 else None
