"""Can the job end in time, for the money that its user set?

Judged before an attempt starts, by the lower end of the quote: what is refused could not have kept
its bound. A bound that cannot be judged is refused too, because keeping silent would promise it.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from preamar.api.training import TrainingJob
from preamar.core.timestamps import moment, stamp
from preamar.core.training.planner.quote import Estimate


class Beyond(StrEnum):
    """Which bound cannot be kept, or not be judged."""

    BUDGET = "BudgetTooSmall"
    FINISH = "FinishByTooEarly"
    UNKNOWN = "QuoteUnknown"


class Unaffordable(NamedTuple):
    reason: Beyond
    sentence: str


def refused(job: TrainingJob, found: Estimate | None, now: datetime) -> Unaffordable | None:
    """The bound that is in the way of a start; None if none is."""
    spec = job.spec
    if spec.budget is not None:
        answer = _budget(spec.budget.currency, Decimal(spec.budget.limit), found)
        if answer is not None:
            return answer
    by = moment(spec.finish_by)
    if by is None:
        return None
    if found is None or found.seconds is None:
        return Unaffordable(Beyond.UNKNOWN, f"spec.finishBy cannot be judged: {_UNKNOWN_TIME}")
    done = job.status.progress.step if job.status.progress else 0
    left = max(0.0, 1 - done / spec.steps)
    least = found.seconds * left * float(found.least)
    if now.timestamp() + least <= by.timestamp():
        return None
    return Unaffordable(
        Beyond.FINISH,
        f"With {found.ranks} ranks the job needs at least {in_time(least)} more and cannot end by "
        f"{stamp(by)}. Set spec.finishBy later, or add workers.",
    )


_UNKNOWN_TIME = (
    "how long the job takes is not known for its accelerator. Name a product of the fleet table in "
    "accelerator.products, or leave the bound out."
)


def _budget(currency: str, limit: Decimal, found: Estimate | None) -> Unaffordable | None:
    if found is None or found.seconds is None:
        return Unaffordable(Beyond.UNKNOWN, f"spec.budget cannot be judged: {_UNKNOWN_TIME}")
    if found.cost is None or found.currency != currency:
        return Unaffordable(
            Beyond.UNKNOWN,
            f"spec.budget cannot be judged: the fleet table has no price of {found.device} in "
            f"{currency}. Add pricePerHour there, or leave the budget out.",
        )
    least = found.cost * found.least
    if least <= limit:
        return None
    return Unaffordable(
        Beyond.BUDGET,
        f"The job costs at least {least:.2f} {currency} on {found.ranks} ranks, and "
        f"spec.budget.limit is {limit}. Raise it, or train fewer steps.",
    )


def in_time(seconds: float) -> str:
    """A time as people write it: 3.4 days."""
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"
