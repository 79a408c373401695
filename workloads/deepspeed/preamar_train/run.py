"""What do the parts of one attempt share?"""

from dataclasses import dataclass
from typing import Any

from preamar_train.checkpoint.manifest import Manifest
from preamar_train.checkpoint.store import Store
from preamar_train.pace.phases import Phases
from preamar_train.pace.progress import Progress
from preamar_train.pace.samples import Ledger
from preamar_train.parallel.layout import Layout
from preamar_train.ranks.gang import Gang
from preamar_train.reports.losses import Losses
from preamar_train.request import Request
from preamar_train.start.continuity import Verified
from preamar_train.start.prepare import Ready
from preamar_train.start.resuming import Canary, Silent


@dataclass(slots=True)
class Run:
    """What the parts of one attempt share. `engine` is DeepSpeed's."""

    request: Request
    gang: Gang
    layout: Layout
    store: Store
    ready: Ready
    engine: Any
    progress: Progress
    canary: Canary | Silent
    phases: Phases
    ledger: Ledger
    step: int = 0
    saved: Manifest | None = None
    verified: Verified | None = None
    stepped_at: float = 0.0
    losses: Losses | None = None

    def log(self, sentence: str) -> None:
        if self.gang.rank == 0:
            print(sentence, flush=True)
