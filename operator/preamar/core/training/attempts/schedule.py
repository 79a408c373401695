"""How often do faults come? The trainer turns that into the time between checkpoints.

Schedule ``Auto`` saves every sqrt(2 x save seconds x mean time between faults) seconds (Young,
CACM 17 (9), 1974; Daly, FGCS 22 (3), 2006), as the trainer measures its saves. The faults of this job are
counted; before it has had a day of its own, a prior speaks: Meta's 419 unexpected interruptions in
54 days on 16,384 GPUs (arXiv:2407.21783, table 5) are one in 50,000 hours of an accelerator. That a
spot worker is taken once in 30 days is an assumption.
"""

from preamar.api.shared import Capacity
from preamar.api.training import TrainingJob
from preamar.core.training.attempts.goodput import Ledger

ACCELERATOR_HOURS = 50_000.0
SPOT_HOURS = 720.0
PRIOR_SECONDS = 86_400.0
"""The prior weighs as much as so long a time of training."""
LEAST, MOST = 60.0, 1e9


def mean_time_between_faults(job: TrainingJob, workers: int, before: Ledger) -> int:
    """In seconds, in two digits: the mean of a Gamma prior updated by the faults that were seen."""
    ranks = workers * job.spec.workers.ranks_per_worker
    hourly = ranks / ACCELERATOR_HOURS
    if job.spec.placement.capacity != Capacity.ON_DEMAND:
        hourly += workers / SPOT_HOURS
    expected = hourly / 3600 * PRIOR_SECONDS
    mean = (PRIOR_SECONDS + before.up) / (expected + before.faults)
    return int(float(f"{min(MOST, max(LEAST, mean)):.2g}"))
