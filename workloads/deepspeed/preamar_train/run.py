"""What do the parts of one attempt share?"""

from dataclasses import dataclass
from typing import Any

from preamar_train.checkpoint.manifest import Manifest
from preamar_train.checkpoint.store import Store
from preamar_train.pace.phases import Phases
from preamar_train.pace.progress import RankProgress
from preamar_train.pace.samples import SampleLedger
from preamar_train.parallel.layout import Layout
from preamar_train.ranks.gang import RankGroup
from preamar_train.reports.losses import Losses
from preamar_train.request import TrainRequest
from preamar_train.start.continuity import Verified
from preamar_train.start.prepare import Ready
from preamar_train.start.resuming import LossCanary, Silent


@dataclass(slots=True)
class Run:
    """What the parts of one attempt share. `engine` is DeepSpeed's."""

    request: TrainRequest
    gang: RankGroup
    layout: Layout
    store: Store
    ready: Ready
    engine: Any
    progress: RankProgress
    canary: LossCanary | Silent
    phases: Phases
    ledger: SampleLedger
    step: int = 0
    saved: Manifest | None = None
    verified: Verified | None = None
    stepped_at: float = 0.0
    losses: Losses | None = None

    def log(self, sentence: str) -> None:
        if self.gang.rank == 0:
            print(sentence, flush=True)
