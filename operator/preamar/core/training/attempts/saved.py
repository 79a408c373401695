"""Which checkpoint would the next attempt take up, and how many ranks wrote it?

The newest that anybody told of: in the last words of the last attempt, by rank 0 while it runs, or
in the status, which may lag behind both.
"""

from preamar.core.timestamps import moment
from preamar.core.training.attempts.endings import outcomes
from preamar.core.training.observe import JobView, Observed
from preamar.core.training.progress import Saved


def newest(observed: Observed, last: JobView | None) -> Saved | None:
    """None where nothing was saved that we know of."""
    if last is not None:
        words = [w.checkpoint for w in outcomes(last, observed.pods) if w.checkpoint]
        if words:
            return max(words, key=lambda saved: saved.step)
        live = observed.progress
        if live is not None and live.attempt == last.attempt and live.checkpoint is not None:
            return live.checkpoint
    told = observed.job.status.checkpoint
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


def world_of(observed: Observed, last: JobView | None) -> int | None:
    """The ranks that wrote it; None where there is none."""
    saved = newest(observed, last)
    if saved is None:
        return None
    if saved.world_size:
        return saved.world_size
    per = observed.job.spec.workers.ranks_per_worker
    if last is not None and last.workers:
        return last.workers * per
    return observed.job.status.world_size
