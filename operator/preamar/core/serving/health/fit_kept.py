"""What was found before of how a model fits, and what is told of it?

Status is the memory: the batch that replicas are made with where it is smaller than was asked for,
and why a model was given up. Both belong to one revision; what was given up, to one edition of the
whole spec but its size, so that any edit of a person's tries again.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from preamar.api.inference import InferenceService
from preamar.api.inference_status import Fit as Told
from preamar.core.plan import Event
from preamar.core.serving.facts import Facts
from preamar.core.serving.health.faults import Fault
from preamar.core.serving.pods.desired import revision_of, with_batch
from preamar.core.timestamps import moment, stamp
from preamar.core.trouble import Trouble
from preamar.protocol.labels import REVISION


class FitStep(StrEnum):
    HALVED = "BatchHalved"
    RELEASED = "ReplicasReleased"


@dataclass(frozen=True, slots=True)
class KeptFit:
    """``asked`` and ``batch``: requests in one batch at most, as asked for and as made. ``at``: when
    that changed last. ``given_up``: why no replica runs."""

    asked: int
    batch: int
    at: datetime | None = None
    given_up: Trouble | None = None

    @property
    def halvings(self) -> int:
        """How often the batch was halved."""
        return next(n for n in range(64) if max(1, self.asked >> n) <= max(1, self.batch))

    @property
    def sentence(self) -> str:
        """What became of the batch; empty where it is as asked."""
        if self.batch >= self.asked:
            return ""
        before = self.asked >> (self.halvings - 1)
        return (
            f"Batches of {self.batch} instead of {self.asked}: "
            f"with {before} a replica ran out of memory."
        )


def known_fit(facts: Facts) -> KeptFit:
    """What was found before, of the present revision."""
    service, deployment = facts.service, facts.observed.deployment
    asked = service.spec.runtime.batching.max_batch_size
    revision, told = facts.revision, service.status.fit
    fit = KeptFit(asked, asked)
    if told is not None and told.revision == revision:
        if told.given_up and told.edition != facts.edition:
            return fit
        # Another version may have had other words; a condition needs one.
        reason = Fault(told.reason) if told.reason in set(Fault) else Fault.CRASH
        why = Trouble(reason, told.message) if told.given_up else None
        fit = KeptFit(asked, _within(told.max_batch_size, asked), moment(told.at), why)
    if deployment is not None and deployment.revision == revision and deployment.batch is not None:
        # Smaller than what is told: an operator died before it could tell.
        batch = _within(deployment.batch, asked)
        if batch < fit.batch:
            return replace(fit, batch=batch, at=facts.observed.now)
    return fit


def as_made(service: InferenceService) -> InferenceService:
    """The service with the batch that its pods were last made with, as its status says."""
    told, asked = service.status.fit, service.spec.runtime.batching.max_batch_size
    if told is None or told.revision != revision_of(service):
        return service
    return with_batch(service, _within(told.max_batch_size, asked))


def told_fit(facts: Facts, fit: KeptFit) -> dict[str, Any]:
    """``status.fit`` as it should be, as JSON; empty where all is as asked."""
    before = facts.service.status.fit
    if fit.batch < fit.asked or fit.given_up is not None:
        why = fit.given_up or Trouble(Fault.MEMORY, fit.sentence)
        return {
            "revision": facts.revision,
            "edition": facts.edition,
            "asked": fit.asked,
            "maxBatchSize": fit.batch,
            "attempts": fit.halvings,
            "givenUp": fit.given_up is not None,
            "reason": str(why.reason),
            "message": why.message,
            "at": stamp(fit.at or facts.observed.now),
        }
    if before is not None and not before.given_up and _lives(facts, before):
        # Of an earlier revision: gateways send no more at once while its replicas take no more.
        kept: dict[str, Any] = before.model_dump(by_alias=True, exclude_none=True, mode="json")
        return kept
    return {}


def steps(facts: Facts, fit: KeptFit) -> tuple[Event, ...]:
    """What is told of a change, once."""
    told = _told(facts)
    found = []
    if fit.batch < (told.max_batch_size if told else fit.asked):
        found.append(Event(FitStep.HALVED, fit.sentence, "Warning"))
    if fit.given_up is not None and not (told and told.given_up):
        found.append(Event(FitStep.RELEASED, fit.given_up.message, "Warning"))
    return tuple(found)


def _told(facts: Facts) -> Told | None:
    """What status says of the present revision and edition."""
    told = facts.service.status.fit
    if told is None or told.revision != facts.revision:
        return None
    return None if told.given_up and told.edition != facts.edition else told


def _lives(facts: Facts, told: Told) -> bool:
    """Whether another revision than the present one has pods that this was told of."""
    if told.revision == facts.revision:
        return False
    told_of = [p for p in facts.observed.pods if p.labels.get(REVISION) == told.revision]
    return bool([p for p in told_of if not p.over])


def _within(batch: int, asked: int) -> int:
    return max(1, min(batch, asked))
