"""Which checkpoint would the next attempt take up, and how many ranks wrote it?

The newest that anybody told of: in the last words of the last attempt, by rank 0 while it runs, or
in the status, which may lag behind both.
"""

from collections.abc import Iterable

from preamar.api.training import TrainingJob
from preamar.core.timestamps import moment
from preamar.core.training.observe import JobView
from preamar.core.training.progress import ProgressReport, Saved, TerminationMessage


def newest(
    job: TrainingJob, words: Iterable[TerminationMessage], live: ProgressReport | None
) -> Saved | None:
    """None where nothing was saved that we know of. ``words`` and what rank 0 says, ``live``, are
    the last attempt's."""
    said = [w.checkpoint for w in words if w.checkpoint]
    if said:
        return max(said, key=lambda saved: saved.step)
    if live is not None and live.checkpoint is not None:
        return live.checkpoint
    told = job.status.checkpoint
    if told is None:
        return None
    return Saved(
        told.step,
        told.uri,
        moment(told.at),
        told.bytes,
        told.manifest_hash or "",
        told.world_size,
    )


def world_of(job: TrainingJob, saved: Saved | None, last: JobView | None) -> int | None:
    """The ranks that wrote it; None where there is none."""
    if saved is None:
        return None
    if saved.world_size:
        return saved.world_size
    if last is not None and last.workers:
        return last.workers * job.spec.workers.ranks_per_worker
    return job.status.world_size
