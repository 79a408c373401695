"""On which inputs is an optimised model judged? Three sets that share none: ranges are taken from
`calibration`, layers are chosen by `selection`, and the gate judges by `held_out`, once.

They are the owner's (.npz by input name, or lines of .txt for tasks that take text), else drawn
with a seed, which the result then says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preamar_model.files.source import Source
from preamar_model.files.tensors import Signature
from preamar_model.optimize import samples_drawn as drawn
from preamar_model.optimize import sentences, texts
from preamar_model.optimize.samples_given import arrays, lines
from preamar_model.passes.optimize_spec import OptimizeSpec
from preamar_model.passes.session import Feed
from preamar_model.refusal import Refusal, RefusalReason

LEAST = 6
MOST = 300
TEXTS = 96
IMAGES = 48
SEED = 20


@dataclass(frozen=True, slots=True)
class SampleSets:
    calibration: Sequence[Feed]
    selection: Sequence[Feed]
    held_out: Sequence[Feed]
    drawn: bool
    one: Feed
    """What one call is timed with."""
    many: tuple[Feed, int] | None
    """The same for several rows at once, and how many; None if the model takes no batches."""


def collect(wish: OptimizeSpec, source: Source, signature: Signature, folder: Path) -> SampleSets:
    """``folder`` holds the unoptimised model as it would be served. Raises `Refusal`."""
    many = None
    if wish.task == "Infer":
        feeds = arrays(wish.calibration, signature) if wish.calibration else None
        feeds = feeds or drawn.feeds(folder, signature, IMAGES, SEED)
        if signature.batched:
            many = drawn.together(feeds)
        one = feeds[-1]
    else:
        own = lines(wish.calibration) if wish.calibration else None
        reader = texts.TextReader(source, signature, folder)
        spoken = own or sentences.draw(TEXTS, SEED)
        spoken = list(dict.fromkeys(spoken))[:MOST]
        feeds = [reader.feed([text]) for text in spoken]
        one = sorted(feeds, key=lambda feed: feed["input_ids"].size)[len(feeds) // 2]
        if wish.task == "Embed":
            many = (reader.feed(spoken[:8]), len(spoken[:8]))
        else:
            one = reader.step(one)
    if len(feeds) < LEAST:
        raise Refusal(
            RefusalReason.CALIBRATION_INVALID,
            f"{len(feeds)} samples are too few to calibrate, choose and judge by: give {LEAST} or more, better 100.",
        )
    parts = [feeds[:MOST][at::3] for at in range(3)]
    return SampleSets(*parts, drawn=wish.calibration is None, one=one, many=many)
