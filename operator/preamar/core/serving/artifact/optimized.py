"""Is the model as it was asked to be: optimised, under way, or refused?

Read from the last words of the Jobs' pods, and from status once they have been told there: the Jobs may
go, the artefact stays. Where engines are built, each GPU product has a Job and all must be there. A refusal
is the user's to settle and is tried again when the wish is another.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from preamar.core.conditions import shortened
from preamar.core.plan import Ref
from preamar.core.serving.artifact.optimize_words import (
    Optimized,
    OptimizeFailure,
    OptimizeState,
    engine,
    failed,
    figures,
    refused,
)
from preamar.core.serving.facts import Facts
from preamar.core.serving.model.source import Artefact, OptimizeJob
from preamar.core.serving.pods.memory import REFUSED
from preamar.core.serving.pods.worker import HOURS, TRIES
from preamar.protocol.labels import REVISION, WORK_LABEL

LATE = "DeadlineExceeded"
MISSING = "ArtefactMissing"
OF_JOB = "batch.kubernetes.io/controller-uid"


def optimized(facts: Facts) -> Optimized:
    """How the present wish stands."""
    made = facts.artefact
    if made is None:
        return Optimized(OptimizeState.UNASKED)
    wanted, gone = [job.product for job in made.jobs], _gone(facts)
    parts = [
        (_known(facts, made, job.product) if gone is None else None)
        or _part(facts, made, job, gone)
        for job in made.jobs
    ]
    for product, part in zip(wanted, parts, strict=True):
        if part.stand == OptimizeState.REFUSED:
            said = f"For {product}: {part.message}" if product else part.message
            return Optimized(OptimizeState.REFUSED, part.reason, said)
    missing = tuple(
        p for p, part in zip(wanted, parts, strict=True) if part.stand != OptimizeState.DONE
    )
    if missing:
        stale = tuple(product for part in parts for product in part.stale)
        return Optimized(OptimizeState.WORKING, message=_waits(parts), missing=missing, stale=stale)
    told = dict(parts[0].told)
    if made.compiled:
        told["engines"] = [engine for part in parts for engine in part.told["engines"]]
    return Optimized(OptimizeState.DONE, told=told)


def _known(facts: Facts, made: Artefact, product: str) -> Optimized | None:
    """What status remembers of it."""
    known = facts.service.status.optimization
    if known is None or known.artefact != made.name:
        return None
    told: dict[str, Any] = known.model_dump(by_alias=True, exclude_none=True, mode="json")
    built = told.pop("engines")
    if not made.compiled:
        return Optimized(OptimizeState.DONE, told=told)
    engines = [each for each in built if product in {"", each.get("product")}]
    if not engines:
        return None
    figures = {side: engines[0][side] for side in ("before", "after") if side in engines[0]}
    return Optimized(OptimizeState.DONE, told=told | figures | {"engines": engines})


def _gone(facts: Facts) -> datetime | None:
    """When a replica last found no artefact where it should be: somebody has emptied the volume."""
    observed, revision = facts.observed, facts.revision
    ends = [
        container.last_end
        for pod in (*observed.pods, *observed.canaries)
        if pod.labels.get(REVISION) == revision and not pod.deleting
        for container in (pod.container("model"),)
        if container is not None and container.last_end is not None
    ]
    return max(
        (
            end.finished or observed.now
            for end in ends
            if end.exit_code == REFUSED and end.words.get("reason") == MISSING
        ),
        default=None,
    )


def _part(facts: Facts, made: Artefact, job: OptimizeJob, gone: datetime | None) -> Optimized:
    """What its Job has made of it. What was made before ``gone`` is no more."""
    observed, product = facts.observed, job.product
    namespace = facts.service.metadata.namespace or ""
    child = observed.children.get(Ref("batch/v1", "Job", namespace, job.name))
    pods = [
        pod
        for pod in observed.workers
        if pod.annotations.get(WORK_LABEL) == job.part
        and (child is None or pod.labels.get(OF_JOB, child.uid) == child.uid)
    ]
    ends = [
        (pod, container.ended)
        for pod in pods
        for container in (pod.container("optimize"),)
        if container is not None and container.ended is not None
    ]
    done = next((end for _, end in ends if end.exit_code == 0), None)
    if done is not None and gone is not None and (done.finished is None or done.finished < gone):
        return Optimized(OptimizeState.WORKING, message="What was made is gone.", stale=(product,))
    if done is not None:
        told = figures(done, made.name)
        engines = {"engines": [engine(done, product, told)]} if made.compiled else {}
        return Optimized(OptimizeState.DONE, told=told | engines)
    refusal = next((end for _, end in ends if end.exit_code == REFUSED), None)
    if refusal is not None:
        return refused(refusal)
    # A pod that was evicted is no try.
    tries = [(pod, end) for pod, end in ends if not pod.disrupted]
    if len(tries) > TRIES:
        return failed(*tries[-1])
    if child is not None and child.failed and not ends:
        late = f" within {HOURS} hours, in which it may have waited for a node"
        return Optimized(
            OptimizeState.REFUSED,
            OptimizeFailure.FAILS,
            f"The Job {job.name} did not end{late if child.failed == LATE else ' well and its pods are gone'}. "
            "Delete it to try again.",
        )
    stuck = next((pod.unschedulable for pod in pods if pod.unschedulable), "")
    where = f"for {product} " if product else ""
    return Optimized(
        OptimizeState.WORKING, message=f"The Job {where}waits for a node: {stuck}" if stuck else ""
    )


def _waits(parts: Sequence[Optimized]) -> str:
    """What is under way, as a sentence or two."""
    done = sum(part.stand == OptimizeState.DONE for part in parts)
    count = f"{done} of {len(parts)} engines are built." if len(parts) > 1 else ""
    stuck = next((part.message for part in parts if part.message), "")
    return shortened(" ".join(filter(None, (count, stuck))))
