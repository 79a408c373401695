"""What must a person act on, and what stands in the way until he has?"""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a person must act on."""

    reason: str
    message: str


class Blocked(NamedTuple):
    """What must be settled before a service can have pods, or a job an attempt."""

    reason: str
    message: str
    recheck_in: float | None
    """Volumes and strangers' objects are not watched; None where an edit is what is missing."""
