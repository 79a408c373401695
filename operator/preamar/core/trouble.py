"""What must a person act on?"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a person must act on."""

    reason: str
    message: str
