"""Does the exported graph say what the trained model says?

Compared on random tokens, all at once and token by token through the cache, against torch in
FP32. A graph that differs is never published.
"""

from pathlib import Path

import numpy as np
import onnxruntime
import torch

from preamar_train.failures import Class, TrainerFailure
from preamar_train.models.model import Decoder
from preamar_train.models.presets import ModelShape

TOLERANCE = 1e-3  # of the greatest logit, or of 1
ROWS, TOKENS, PROMPT = 2, 12, 5


def verify(file: Path, model: Decoder, shape: ModelShape) -> float:
    """The worst relative difference of a logit."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    length = min(TOKENS, shape.sequence)
    ids = np.random.default_rng(0).integers(0, shape.vocabulary, (ROWS, length))
    with torch.no_grad():
        expected = model(torch.from_numpy(ids)).numpy()
    whole, _ = _call(session, shape, ids, 0, _empty(shape))
    first, cache = _call(session, shape, ids[:, :PROMPT], 0, _empty(shape))
    pieces = [first]
    for place in range(PROMPT, length):
        piece, cache = _call(session, shape, ids[:, place : place + 1], place, cache)
        pieces.append(piece)
    scale = max(1.0, float(np.abs(expected).max()))
    worst = max(
        float(np.abs(expected - each).max()) / scale
        for each in (whole, np.concatenate(pieces, axis=1))
    )
    if not worst <= TOLERANCE:  # also when it is no number
        raise TrainerFailure(
            Class.UNKNOWN,
            f"The exported ONNX model differs from the trained one by {worst:.2g}; nothing was published.",
        )
    return worst


def _empty(shape: ModelShape) -> list[np.ndarray]:
    dims = (ROWS, shape.kv_heads, 0, shape.head_size)
    return [np.zeros(dims, dtype=np.float32) for _ in range(2 * shape.layers)]


def _call(
    session: onnxruntime.InferenceSession,
    shape: ModelShape,
    ids: np.ndarray,
    first: int,
    cache: list[np.ndarray],
) -> tuple[np.ndarray, list[np.ndarray]]:
    places = np.broadcast_to(np.arange(first, first + ids.shape[1]), ids.shape).astype(np.int64)
    feed = {"input_ids": ids.astype(np.int64), "position_ids": places}
    feed["attention_mask"] = np.ones((len(ids), first + ids.shape[1]), dtype=np.int64)
    names = [(n, part) for n in range(shape.layers) for part in ("key", "value")]
    for (number, part), past in zip(names, cache, strict=True):
        feed[f"past_key_values.{number}.{part}"] = past
    outputs = ["logits", *(f"present.{number}.{part}" for number, part in names)]
    logits, *cache = session.run(outputs, feed)
    return logits, cache
