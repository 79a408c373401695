"""What is one point of a loss curve?"""

from typing import NamedTuple


class LossPoint(NamedTuple):
    """One step."""

    step: int
    loss: float
    ranks: int
    attempt: int
