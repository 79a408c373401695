"""Which token comes next? The likeliest at temperature 0; else one drawn from the smallest set of
likeliest tokens that together reach top_p. The same seed draws the same tokens.
"""

import numpy as np


class Sampler:
    def __init__(self, temperature: float, top_p: float, seed: int | None) -> None:
        self.temperature = temperature
        self.top_p = top_p
        self.random = np.random.default_rng(None if seed is None else seed % 2**64)

    def pick(self, logits: np.ndarray) -> int:
        """`logits` is float [vocabulary]. Raises ValueError when no token is possible."""
        if not np.isfinite(logits.max()):
            raise ValueError("the model gave no usable logits (NaN or infinity)")
        if self.temperature <= 0.0:
            return int(logits.argmax())
        scaled = (logits.astype(np.float64) - float(logits.max())) / self.temperature
        weights = np.exp(scaled)
        weights /= weights.sum()
        if self.top_p >= 1.0:
            return int(self.random.choice(len(weights), p=weights))
        order = np.argsort(-weights, kind="stable")
        sums = np.cumsum(weights[order])
        kept = order[: int(np.searchsorted(sums, self.top_p)) + 1]
        chances = weights[kept] / weights[kept].sum()
        return int(self.random.choice(kept, p=chances))
