"""Where and when a training job saves its progress."""

from enum import StrEnum

from pydantic import Field

from preamar.api.fields.scalars import Whole
from preamar.api.fields.uri import Target
from preamar.api.meta import SpecModel
from preamar.api.rules import Rule


class Schedule(StrEnum):
    """What decides when a checkpoint is taken."""

    AUTO = "Auto"
    STEPS = "Steps"
    SECONDS = "Seconds"


class Checkpoint(SpecModel):
    """Where and when progress is saved."""

    uri: Target = Field(description="The place to write to, such as pvc://ckpt/run1.")
    schedule: Schedule = Field(
        default=Schedule.AUTO,
        description="Auto (from the measured cost and failure rate), Steps or Seconds.",
    )
    every_steps: Whole | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="Steps between checkpoints for schedule Steps, such as 50.",
    )
    every_seconds: Whole | None = Field(
        default=None,
        ge=1,
        le=31_536_000,
        description="Seconds between checkpoints for schedule Seconds, such as 600.",
    )
    keep: Whole = Field(
        default=3, ge=1, le=1000, description="Verified checkpoints to keep, such as 3."
    )
    rules = (
        Rule(
            "has(self.everySteps) == (self.schedule == 'Steps')",
            lambda c: (c.every_steps is not None) == (c.schedule == Schedule.STEPS),
            "must be set when checkpoint.schedule is Steps, and only then",
            ".everySteps",
        ),
        Rule(
            "has(self.everySeconds) == (self.schedule == 'Seconds')",
            lambda c: (c.every_seconds is not None) == (c.schedule == Schedule.SECONDS),
            "must be set when checkpoint.schedule is Seconds, and only then",
            ".everySeconds",
        ),
    )
