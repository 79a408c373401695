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
    """A Llama-shaped decoder: numbers of layers and heads, widths, tokens of a sample."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    intermediate: int
    sequence: int
    vocabulary: int

    @property
    def layer(self) -> int:
        """Weights of one layer: attention, a gated feed-forward network and two norms."""
        narrow = self.kv_heads * (self.hidden // self.heads)
        attention = 2 * self.hidden * (self.hidden + narrow)
        return attention + 3 * self.hidden * self.intermediate + 2 * self.hidden

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
        return self.weights

    @property
    def routed(self) -> int:
        """Experts that a token is sent to in a layer."""
        return 1

    @property
    def largest(self) -> int:
        """Weights of the largest module, as DeepSpeed counts it: of its own, not of its parts."""
        return max(self.table, self.hidden * self.intermediate, self.hidden**2)

    def of_stage(self, stages: int) -> int:
        """Weights of the fullest of so many pipeline stages: its layers, and a table."""
        return -(-self.layers // stages) * self.layer + self.table + self.hidden


PRESETS: Mapping[str, Shape] = {
    "gpt-tiny": Shape(4, 128, 4, 2, 352, 128, 2048),
    "gpt-small": Shape(8, 512, 8, 4, 1408, 512, 8192),
    "gpt-base": Shape(12, 768, 12, 4, 2048, 1024, 32_768),
}
# What the presets' users may also change, and which changes no size.
OTHERS = frozenset(
    {"ropeTheta", "normEpsilon", "learningRate", "weightDecay", "warmupSteps", "seed"}
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
    possible = min(getattr(shape, field.name) for field in fields(Shape)) > 0
    return shape if possible and shape.hidden % shape.heads == 0 else None
