"""How does an attempt take up the newest checkpoint, at the size it was written with or another?

A checkpoint of another number of ranks is loaded from its conversion. Either way the loaded state
is held against the checkpoint's proof before the first step.
"""

from typing import Any

from preamar_train.checkpoint import proof as proofs
from preamar_train.checkpoint import save as checkpoints
from preamar_train.checkpoint.proof import CANARY_SAMPLES, Broken
from preamar_train.checkpoint.prove import prove
from preamar_train.checkpoint.universal import loadable, universal_of
from preamar_train.data.corpus import Corpus
from preamar_train.failures import Class, TrainerFailure, classify
from preamar_train.pace.phases import Phases
from preamar_train.parallel.layout import Layout
from preamar_train.ranks.gang import RankGroup
from preamar_train.request import TrainRequest
from preamar_train.start import evaluate
from preamar_train.start.continuity import Verified, verify
from preamar_train.start.prepare import Ready


class LossCanary:
    """The loss on a few held-out samples, the same ones at any size."""

    def __init__(self, model: Any, gang: RankGroup, corpus: Corpus) -> None:
        self._model, self._gang = model, gang
        self._rows = corpus.held_out(CANARY_SAMPLES)

    def loss(self) -> float:
        """Mean per token, in nats. Collective; one sample at a time, so that sums have one order."""
        return evaluate.held_out_loss(self._model, self._gang, self._rows, 1)


class Silent:
    """In its place where nobody but a user's own script knows how to compute a loss."""

    def loss(self) -> float:
        return 0.0


def config(ready: Ready, gang: RankGroup) -> dict[str, Any]:
    """What DeepSpeed must be told to load this checkpoint. Rank 0 looks at the volume."""
    if ready.resume is None or ready.folder is None:
        return {}
    told: Any = None
    if gang.rank == 0:
        try:
            told = loadable(ready.folder, ready.resume, gang.size)
        except Exception as error:  # noqa: BLE001 - the others must hear of any
            told = classify(error)
    told = gang.tell(told)
    if isinstance(told, TrainerFailure):
        raise told
    return {"checkpoint": {"load_universal": True}} if told != ready.folder else {}


def load(
    engine: Any,
    gang: RankGroup,
    layout: Layout,
    ready: Ready,
    request: TrainRequest,
    canary: LossCanary | Silent,
    phases: Phases,
) -> Verified:
    """Loads and verifies; raises `CheckpointError` or `ContinuityBroken`."""
    assert ready.folder is not None
    assert ready.resume is not None
    folder = ready.folder
    if engine.load_universal_checkpoint():
        folder = universal_of(folder)
    checkpoints.load(engine, folder, ready.resume)
    phases.mark("read")
    try:
        saved = proofs.read(ready.folder)
    except Broken as broken:
        raise TrainerFailure(Class.CONTINUITY_BROKEN, f"{broken}.") from broken
    now = prove(engine, gang, layout, canary.loss(), saved.stepped_at)
    seen = verify(ready.resume, saved, now, request.global_batch, request.precision)
    phases.mark("gate")
    return seen
