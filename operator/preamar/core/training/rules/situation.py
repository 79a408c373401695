"""What may a rule look at, and what does it answer?"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from preamar.core.training.annotations import ResizeRequest
from preamar.core.training.elastic import placeholder_pods, resize
from preamar.core.training.elastic.placeholder_pods import PlaceholderPods
from preamar.core.training.elastic.resize import Wish
from preamar.core.training.facts import Facts
from preamar.core.training.step import Do, Step

LOOK_AGAIN = 5.0


@dataclass(frozen=True, slots=True)
class Situation:
    """``here`` has what every answer has in common; ``left`` are the seconds until the job must have
    ended, ``out_of_time`` says that there are none; ``change`` is the resize with which the next
    attempt would begin. While the last runs, ``patience`` are the seconds for which workers that
    could not start are waited for, ``wish`` is what it should stop for, ``scouts`` look for places."""

    facts: Facts
    here: Step
    left: float | None = None
    out_of_time: bool = False
    change: ResizeRequest | None = None
    patience: float | None = None
    wish: Wish = resize.NONE
    scouts: PlaceholderPods = placeholder_pods.NONE

    def but(self, do: Do, why: str, recheck_in: float | None = None) -> Step:
        """The answer to do this, for this reason."""
        return replace(self.here, do=do, why=why, recheck_in=recheck_in)


Rule = Callable[[Situation], Step | None]
"""None where the rule has nothing to say."""
