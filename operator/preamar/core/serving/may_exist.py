"""How many of the replicas that are asked for may have pods now?

What is asked for stays the user's and the law's word (``sizing.scaling``), and is what is written to
``spec.replicas``. Here named limits may take from it, each with its reason; nothing ever adds.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from preamar.core.serving.groups.gang import INCOMPLETE, GangLimit
from preamar.core.serving.health.fit_kept import KeptFit
from preamar.core.trouble import Trouble


@dataclass(frozen=True, slots=True)
class Existing:
    """How many, and why a person should know of it where a limit holds. The first that holds says
    why."""

    replicas: int
    trouble: Trouble | None = None


Limit = Callable[[KeptFit, GangLimit, Existing], Existing]


def unless_given_up(fit: KeptFit, _gang: GangLimit, asked: Existing) -> Existing:
    """What does not fit or never comes up holds nothing until a person edits the spec."""
    return asked if fit.given_up is None else Existing(0, asked.trouble or fit.given_up)


def within_gang(_fit: KeptFit, gang: GangLimit, asked: Existing) -> Existing:
    """Of replicas that are several pods each, no more than find a place as a whole."""
    if gang.limit is None:
        return asked
    trouble = asked.trouble or Trouble(INCOMPLETE, gang.message)
    return replace(asked, replicas=min(asked.replicas, gang.limit), trouble=trouble)


MAY_EXIST: tuple[Limit, ...] = (unless_given_up, within_gang)


def may_exist(fit: KeptFit, gang: GangLimit, asked: int) -> Existing:
    """How many for now."""
    existing = Existing(asked)
    for limit in MAY_EXIST:
        existing = limit(fit, gang, existing)
    return existing
