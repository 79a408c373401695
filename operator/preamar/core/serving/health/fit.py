"""With which batch does the model fit into memory, and is it worth trying at all?

When a replica runs out of memory, the next ones are made with half the batch, three times at most.
When that has not helped, or the model crashes again and again and has never been ready, it is given
up: its replicas go, so that nothing is held in vain, until a person edits the spec. Pods carry the
batch that they were made with, so that one which is still there from before is not counted against
what came after it.
"""

from collections.abc import Iterable
from dataclasses import replace

from preamar.api.inference import InferenceService
from preamar.core.pods import PodView
from preamar.core.serving.facts import Facts
from preamar.core.serving.health.faults import Fault, Finding, Made, crashing, out_of_memory
from preamar.core.serving.health.fit_kept import KeptFit, known_fit
from preamar.core.serving.observe import batch_of
from preamar.core.serving.pods.memory import REFUSED, exceeded
from preamar.core.trouble import Trouble
from preamar.protocol.engines import ENGINES
from preamar.protocol.labels import REVISION

HALVINGS = 3
RESTARTS = 5
"""Of one pod that is not up; the kubelet has then waited for five minutes in all."""
RELEASED = (
    "Its replicas were removed, so that nothing is held in vain; an edit of the spec tries again."
)


def fit_of(facts: Facts) -> KeptFit:
    """What is so after what the pods show now."""
    known, now = known_fit(facts), facts.observed.now
    if known.given_up is not None or _ordered_away(facts):
        return known
    servers = [c for pod in made_with(facts.here, facts, known) for c in pod.containers]
    exceeding = [c for c in servers if not c.init and exceeded(c, gpu=facts.gpu)]
    if exceeding and _smaller_helps(facts.service, known):
        return replace(known, batch=known.batch // 2, at=now)
    if facts.answering:
        return known  # of whatever revision: who answers is not taken away
    found = _hopeless(facts, known)
    if found is None:
        return known
    trouble = Trouble(found.fault, f"{found.message} {RELEASED}")
    return replace(known, at=now, given_up=trouble)


def made_with(pods: Iterable[PodView], facts: Facts, fit: KeptFit) -> tuple[PodView, ...]:
    """Those that are of the present revision and batch."""
    current = [pod for pod in pods if pod.labels.get(REVISION) == facts.revision]
    batches = [batch_of(pod.labels) or fit.asked for pod in current]
    return tuple(p for p, batch in zip(current, batches, strict=True) if batch == fit.batch)


def _smaller_helps(service: InferenceService, known: KeptFit) -> bool:
    """Whether there is a smaller batch to try. The configuration of a Python model is its own."""
    own = ENGINES[service.spec.model.format].own_code
    return not own and known.batch > 1 and known.halvings < HALVINGS


def _hopeless(facts: Facts, known: KeptFit) -> Finding | None:
    """Why pods that are down will not come up, where that is certain enough to take them away. Of a model
    that was ready before, only a smallest batch that is too large again and again: all else may
    pass."""
    loaded, pods = facts.loaded, made_with(facts.down, facts, known)
    for found in (*out_of_memory(pods, Made(facts.gpu, known.batch)), *crashing(pods)):
        c = found.container
        if c is None or (c.init and c.last_end is not None and c.last_end.exit_code == REFUSED):
            continue  # heals by itself once the right model is on the volume
        again = c.restarts >= RESTARTS and c.running_since is None
        if (again or not loaded) if found.fault == Fault.MEMORY else (again and not loaded):
            return found
    return None


def _ordered_away(facts: Facts) -> bool:
    """Whether no pod should be there: what is left of those that were ended shows nothing new."""
    deployment = facts.observed.deployment
    return deployment is not None and deployment.wanted == 0
