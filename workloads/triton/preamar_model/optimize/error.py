"""How far is an optimised model from the one it was made of? A number per task, of which 0 means
the same and the worst sample counts.

| task | error of a sample |
|---|---|
| Embed | 1 - cosine of the two embeddings |
| Infer | the worst of all outputs: |a - b| / |a| in the Euclidean norm; of integers, the share that differs |
| Generate | by how much the cross-entropy rises on text that the unoptimised model writes, relative to it: KL(a, b) / H(a), with H at least 0.1 nats a token |

The last is never negative and needs no labels; a difference of the cross-entropies of some given
text would be near 0 for a broken model too, where the model knows nothing of that text.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from preamar_model.passes.session import Feed, Session

LEAST_NATS = 0.1
Answers = Mapping[str, np.ndarray]


class Judge:
    """Compares with the answers of the unoptimised model to the same samples."""

    def __init__(self, task: str, reference: Session, samples: Sequence[Feed]) -> None:
        self.task = task
        self.samples = samples
        self.outputs = {"Embed": reference.names[:1], "Generate": ["logits"]}.get(
            task, reference.names
        )
        self.wanted = [reference(feed, self.outputs) for feed in samples]

    def __call__(self, session: Session) -> float:
        return worst(
            error(self.task, wanted, session(feed, self.outputs))
            for feed, wanted in zip(self.samples, self.wanted, strict=True)
        )


def worst(errors: Iterable[float]) -> float:
    """The largest; infinity where any is no number, which compares as smaller than nothing."""
    return max(e if np.isfinite(e) else np.inf for e in errors)


def error(task: str, wanted: Answers, got: Answers) -> float:
    """Of one sample, by the table above; NaN where an answer holds NaN or infinity."""
    pairs = [(np.asarray(value), np.asarray(got[name])) for name, value in wanted.items()]
    if task == "Embed":
        return _angle(*pairs[0])
    if task == "Generate":
        return _surprise(*pairs[0])
    return worst(_relative(a, b) for a, b in pairs)


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    length = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(np.max(1 - (a * b).sum(-1) / np.maximum(length, 1e-30)).clip(min=0))


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        return np.inf
    if a.dtype.kind != "f":
        return float(np.mean(a != b)) if a.size else 0.0
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-30))


def _surprise(a: np.ndarray, b: np.ndarray) -> float:
    p, q = _log_shares(a), _log_shares(b)
    shares = np.exp(p)
    entropy = -(shares * p).sum()
    tokens = p[..., 0].size
    return float((shares * (p - q)).sum().clip(min=0) / max(entropy, LEAST_NATS * tokens))


def _log_shares(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))
