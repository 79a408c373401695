"""Which experts does a mixture choose? Counted at each call and told with Triton's own metrics, a layer
and an expert a series. One expert that takes most tokens of a layer shows here.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np

NAME = "preamar_model_expert_tokens_total"
EVERY_SECONDS = 2.0
"""Each series is told by a message of its own to the server, which a token must not wait for."""
MOST_SERIES = 1024
"""Beyond, all layers are counted together: whoever reads all metrics has a bound too."""
ALL = "all"


class Routing:
    """Counts of [layers, experts]; ``tell(layer, expert, more)`` hears of new ones now and then."""

    def __init__(self, layers: int, experts: int, tell: Callable[[str, int, int], None]) -> None:
        self.experts = experts
        self.together = layers * experts > MOST_SERIES
        self.counts = np.zeros((layers, experts), np.int64)
        self.tell = tell
        self.told = time.monotonic()

    def saw(self, choices: Sequence[np.ndarray]) -> None:
        """The experts of each token, for each layer: integers of any shape."""
        for layer, chosen in enumerate(choices):
            self.counts[layer] += np.bincount(chosen.reshape(-1), minlength=self.experts)
        if time.monotonic() - self.told >= EVERY_SECONDS:
            self.flush()

    def flush(self) -> None:
        counts = self.counts.sum(0, keepdims=True) if self.together else self.counts
        for layer, expert in np.argwhere(counts):
            label = ALL if self.together else str(layer)
            self.tell(label, int(expert), int(counts[layer, expert]))
        self.counts[:] = 0
        self.told = time.monotonic()


def family(args: dict[str, str]) -> Callable[[str, int, int], None]:
    """Adds to this model's counters; those of all its instances are the same."""
    import triton_python_backend_utils as utils

    held = utils.MetricFamily(
        name=NAME,
        description="Tokens that each expert of each layer was chosen for.",
        kind=utils.MetricFamily.COUNTER,
    )
    metrics: dict[tuple[str, int], object] = {}

    def tell(layer: str, expert: int, more: int) -> None:
        labels = {"model": args["model_name"], "version": args["model_version"]}
        if (layer, expert) not in metrics:
            labels |= {"layer": layer, "expert": str(expert)}
            metrics[layer, expert] = held.Metric(labels=labels)
        metrics[layer, expert].increment(more)

    return tell
