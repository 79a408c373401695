"""Does training wait for data, so much that a person should know?

A job that waits for a fifth of its time pays for accelerators that do nothing. The sentence names
no figure but the nearest tenth, because each new sentence is a new condition.
"""

from preamar.core.training.progress import ProgressReport

NOTABLE = 0.2


def starved(told: ProgressReport | None) -> str:
    """A sentence, or nothing where data comes in time or nothing is known."""
    if told is None or told.data_wait_ratio is None or told.data_wait_ratio < NOTABLE:
        return ""
    return (
        f" It waits for data about {round(told.data_wait_ratio * 10) * 10} % of the time: prepare "
        "the data in advance (data.prepare) or stage it on local disks (data.stage: NodeLocal)."
    )
