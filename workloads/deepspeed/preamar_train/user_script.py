"""What a script of one's own is given before its first step."""

import os
from pathlib import Path

import numpy as np

from preamar_train.checkpoint.store import Store
from preamar_train.models.presets import shape_of
from preamar_train.pace.phases import Phases
from preamar_train.pace.progress import RankProgress
from preamar_train.pace.samples import SampleLedger
from preamar_train.parallel.layout import Layout
from preamar_train.ranks.gang import join
from preamar_train.request import OWN, TrainRequest
from preamar_train.run import Run
from preamar_train.start.prepare import prepare
from preamar_train.start.resuming import Silent


class Numbers:
    """Stands for data that the script reads itself: a sample is its number [1]."""

    sequence = 0

    def __init__(self, samples: int) -> None:
        self.digest, self._samples = f"own:{samples}", samples

    def sizes(self) -> dict[str, int]:
        return {OWN: self._samples}

    def sample(self, _: str, index: int) -> np.ndarray:
        return np.array([index], dtype=np.int64)


def begin(request: TrainRequest, told: Path, samples: int | None) -> Run:
    """Meets the other ranks, finds the newest checkpoint and the data."""
    phases = Phases()
    phases.mark("imports")
    gpu = os.environ.get("DS_ACCELERATOR", "cpu") != "cpu"
    progress = RankProgress(told, request.attempt, request.steps)
    progress.say(state="Starting")
    gang = join(gpu=gpu)
    layout = Layout.of(request, gang.rank, gang.size)
    store = Store(Path(request.checkpoint.path), request.uid, request.attempt)
    shape = shape_of(request.preset, request.parameters)
    own = None if samples is None else Numbers(samples)
    ready = prepare(request, shape, store, gang, lambda: progress.say(state="Starting"), own=own)
    phases.mark("data")
    canary, ledger = Silent(), SampleLedger(request.global_batch)
    return Run(request, gang, layout, store, ready, None, progress, canary, phases, ledger)
