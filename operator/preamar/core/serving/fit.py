"""With which batch does the model fit into memory, and is it worth trying at all?

When a replica runs out of memory, the next ones are made with half the batch, three times at most.
When that has not helped, or the model crashes again and again and has never been ready, it is given
up: its replicas go, so that nothing is held in vain, until a person edits the spec. Both belong to
one revision and are kept in status; pods carry the batch that they were made with, so that one which
is still there from before is not counted against what came after it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from preamar.api.inference import InferenceService
from preamar.api.inference_status import Fit as Told
from preamar.api.models import Format
from preamar.core.moments import moment, stamp
from preamar.core.placement import on_gpu
from preamar.core.plan import Event
from preamar.core.pods import PodView
from preamar.core.serving.desired import REVISION, edition_of, revision_of, with_batch
from preamar.core.serving.faults import (
    Fault,
    Finding,
    Made,
    crashing,
    is_ready,
    out_of_memory,
)
from preamar.core.serving.memory import REFUSED, exceeded
from preamar.core.serving.observe import Observed, batch_of
from preamar.core.serving.verdicts import Trouble, current_pods, loaded_once

HALVINGS = 3
RESTARTS = 5
"""Of one pod that is not up; the kubelet has then waited for five minutes in all."""
RELEASED = (
    "Its replicas were removed, so that nothing is held in vain; an edit of the spec tries again."
)


class Step(StrEnum):
    HALVED = "BatchHalved"
    RELEASED = "ReplicasReleased"


@dataclass(frozen=True, slots=True)
class Fit:
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


def fit_of(observed: Observed) -> Fit:
    """What is so after what the pods show now."""
    known = known_fit(observed)
    if known.given_up is not None or _ordered_away(observed):
        return known
    pods = tuple(p for p in made_with(observed, known) if not p.deleting and not p.over)
    gpu = on_gpu(observed.service.spec.accelerator)
    servers = [c for pod in pods for c in pod.containers if not c.init]
    if _smaller_helps(observed.service, known) and any(exceeded(c, gpu=gpu) for c in servers):
        return replace(known, batch=known.batch // 2, at=observed.now)
    if any(is_ready(pod, observed.now) for pod in observed.pods):
        return known  # of whatever revision: who answers is not taken away
    found = _hopeless(pods, observed, Made(gpu, known.batch))
    if found is None:
        return known
    trouble = Trouble(found.fault, f"{found.message} {RELEASED}")
    return replace(known, at=observed.now, given_up=trouble)


def known_fit(observed: Observed) -> Fit:
    """What was found before, of the present revision."""
    service, deployment = observed.service, observed.deployment
    asked = service.spec.runtime.batching.max_batch_size
    revision, told = revision_of(service), service.status.fit
    fit = Fit(asked, asked)
    if told is not None and told.revision == revision:
        if told.given_up and told.edition != edition_of(service):
            return fit
        # Another version may have had other words; a condition needs one.
        reason = Fault(told.reason) if told.reason in set(Fault) else Fault.CRASH
        why = Trouble(reason, told.message) if told.given_up else None
        fit = Fit(asked, _within(told.max_batch_size, asked), moment(told.at), why)
    if deployment is not None and deployment.revision == revision and deployment.batch is not None:
        # Smaller than what is told: an operator died before it could tell.
        batch = _within(deployment.batch, asked)
        if batch < fit.batch:
            return replace(fit, batch=batch, at=observed.now)
    return fit


def made_with(observed: Observed, fit: Fit) -> tuple[PodView, ...]:
    """The pods of the present revision and batch."""
    current = current_pods(observed)
    return tuple(p for p in current if (batch_of(p.labels) or fit.asked) == fit.batch)


def as_made(service: InferenceService) -> InferenceService:
    """The service with the batch that its pods were last made with, as its status says."""
    told, asked = service.status.fit, service.spec.runtime.batching.max_batch_size
    if told is None or told.revision != revision_of(service):
        return service
    return with_batch(service, _within(told.max_batch_size, asked))


def told_fit(observed: Observed, fit: Fit) -> dict[str, Any]:
    """``status.fit`` as it should be, as JSON; empty where all is as asked."""
    service, before = observed.service, observed.service.status.fit
    revision = revision_of(service)
    if fit.batch < fit.asked or fit.given_up is not None:
        why = fit.given_up or Trouble(Fault.MEMORY, fit.sentence)
        return {
            "revision": revision,
            "edition": edition_of(service),
            "asked": fit.asked,
            "maxBatchSize": fit.batch,
            "attempts": fit.halvings,
            "givenUp": fit.given_up is not None,
            "reason": str(why.reason),
            "message": why.message,
            "at": stamp(fit.at or observed.now),
        }
    if before is not None and not before.given_up and _lives(observed, before):
        # Of an earlier revision: gateways send no larger batches than this while replicas take no larger ones.
        kept: dict[str, Any] = before.model_dump(by_alias=True, exclude_none=True, mode="json")
        return kept
    return {}


def steps(observed: Observed, fit: Fit) -> tuple[Event, ...]:
    """What is told of a change, once."""
    told = _told(observed)
    found = []
    if fit.batch < (told.max_batch_size if told else fit.asked):
        found.append(Event(Step.HALVED, fit.sentence, "Warning"))
    if fit.given_up is not None and not (told and told.given_up):
        found.append(Event(Step.RELEASED, fit.given_up.message, "Warning"))
    return tuple(found)


def _told(observed: Observed) -> Told | None:
    """What status says of the present revision and edition."""
    service, told = observed.service, observed.service.status.fit
    if told is None or told.revision != revision_of(service):
        return None
    return None if told.given_up and told.edition != edition_of(service) else told


def _smaller_helps(service: InferenceService, known: Fit) -> bool:
    """Whether there is a smaller batch to try. The configuration of a Python model is its own."""
    own = service.spec.model.format == Format.PYTHON
    return not own and known.batch > 1 and known.halvings < HALVINGS


def _hopeless(pods: Iterable[PodView], observed: Observed, made: Made) -> Finding | None:
    """Why these pods will not come up, where that is certain enough to take them away. Of a model
    that was ready before, only a smallest batch that is too large again and again: all else may
    pass."""
    loaded = loaded_once(observed)
    for judge in (out_of_memory(made), crashing):
        for pod in pods:
            found = judge(pod, observed.now)
            if found is None or found.container is None or is_ready(pod, observed.now):
                continue
            c = found.container
            if c.init and c.last_end is not None and c.last_end.exit_code == REFUSED:
                continue  # heals by itself once the right model is on the volume
            again = c.restarts >= RESTARTS and c.running_since is None
            if (again or not loaded) if found.fault == Fault.MEMORY else (again and not loaded):
                return found
    return None


def _ordered_away(observed: Observed) -> bool:
    """Whether no pod should be there: what is left of those that were ended shows nothing new."""
    return observed.deployment is not None and observed.deployment.wanted == 0


def _lives(observed: Observed, told: Told) -> bool:
    """Whether another revision than the present one has pods that this was told of."""
    if told.revision == revision_of(observed.service):
        return False
    return any(p.labels.get(REVISION) == told.revision and not p.over for p in observed.pods)


def _within(batch: int, asked: int) -> int:
    return max(1, min(batch, asked))
