"""When is the next checkpoint due by the clock?

Schedule Auto: sqrt(2 x save seconds x mean seconds between faults), Young's optimum (CACM 17 (9),
1974) of time lost to saving and to repeating; the operator counts the faults, the saves are measured
here. Saving may never take more than 5 % of the time; else there is at most an hour between saves.
"""

from math import sqrt

from preamar_train.request import CheckpointSpec

FIRST_SECONDS = 60.0  # until a save was timed
MOST_SECONDS = 3600.0
MOST_SHARE = 0.05


def interval(checkpoint: CheckpointSpec, save_seconds: float | None) -> float | None:
    """Seconds between checkpoints; None where only steps decide."""
    mean = checkpoint.mean_seconds
    if mean is None:
        return checkpoint.every_seconds
    if save_seconds is None:
        return FIRST_SECONDS
    least = save_seconds / MOST_SHARE
    return max(least, min(MOST_SECONDS, sqrt(2 * save_seconds * mean)))
