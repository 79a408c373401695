"""What do we tell users of an inference service?

Conditions in the contract's words, sizes as the Deployment reports them, and the last decision.
``Ready`` is set from the first write on and ``Stalled`` is true only where a person must act, so
that kstatus understands both.
"""

from typing import Any

from preamar.api.inference import InferenceService
from preamar.api.models import Format
from preamar.core.conditions import Verdict, merge
from preamar.core.serving.artifact.optimize_words import OptimizeState
from preamar.core.serving.artifact.rollout import verdict
from preamar.core.serving.facts import Facts
from preamar.core.serving.groups.gang import GangLimit
from preamar.core.serving.health.fit_kept import told_fit
from preamar.core.serving.health.learned import learned
from preamar.core.serving.metering import metering
from preamar.core.serving.sizing.scaling import ScalingDecision
from preamar.core.serving.sizing.size import signal
from preamar.core.serving.step import Step
from preamar.core.serving.verdicts import verdicts
from preamar.core.timestamps import stamp
from preamar.protocol.labels import SERVICE_LABEL

KEPT_DECISIONS = 20


def status(step: Step) -> tuple[dict[str, Any], tuple[Verdict, ...]]:
    """The whole status to write, as JSON, and the verdicts in it. What is not judged at present, as
    size and fit where nothing is served, stays as it was told last."""
    facts, work, rollout, served = step.facts, step.work, step.rollout, step.served
    observed, service, before = facts.observed, facts.service, facts.service.status
    deployment, fit = observed.deployment, served.fit if served else None
    told = (
        *verdicts(step, fit.sentence if fit else ""),
        *verdict(facts, rollout),
        *metering(service, observed.drift),
    )
    now_true: dict[str, Any] = {
        "observedGeneration": service.metadata.generation,
        "url": f"{observed.settings.gateway_url}/v1",
        "selector": f"{SERVICE_LABEL}={service.metadata.name}",
        "replicas": deployment.replicas if deployment else 0,
        "readyReplicas": deployment.ready if deployment else 0,
        "conditions": merge(before.conditions, told, service.metadata.generation, observed.now),
    }
    if facts.loaded:
        now_true["revision"] = facts.revision
        now_true["model"] = _model(service)
    elif before.revision:  # what did load once; the present revision has not
        now_true["revision"] = before.revision
    if rollout is not None:
        now_true["rollout"] = rollout.told(service)
    if work.told:
        now_true["optimization"] = dict(work.told)
    elif (
        before.optimization and work.stand != OptimizeState.UNASKED
    ):  # replicas may start from it yet
        now_true["optimization"] = _dumped(before.optimization)
    now_true |= _decisions(facts, served.size if served else None)
    now_true |= _groups(service, served.gang if served else None)
    if measured := learned(facts):
        now_true["learned"] = measured
    if fit is not None and (made := told_fit(facts, fit)):
        now_true["fit"] = made
    elif fit is None and before.fit is not None:
        now_true["fit"] = _dumped(before.fit)
    return now_true, told


def _groups(service: InferenceService, gang: GangLimit | None) -> dict[str, Any]:
    before = service.status.groups
    told = gang.told if gang is not None else _dumped(before) if before is not None else None
    return {"groups": told} if told else {}


def _model(service: InferenceService) -> dict[str, Any]:
    model = service.spec.model
    known: dict[str, Any] = {}
    if model.digest:
        known["digest"] = model.digest
    if model.format != Format.AUTO:
        known["format"] = model.format.value
    return known


def _decisions(facts: Facts, decision: ScalingDecision | None) -> dict[str, Any]:
    service, before, observed = facts.service, facts.service.status, facts.observed
    history = [_dumped(d) for d in before.decisions]
    last = _dumped(before.decision) if before.decision else None
    if decision is not None:
        same = (decision.replicas, str(decision.reason), decision.wanted)
        if last is None or (last["replicas"], last["reason"], last.get("wanted")) != same:
            size_before = last["replicas"] if last else None
            last = {
                "replicas": decision.replicas,
                "reason": str(decision.reason),
                "wanted": decision.wanted,
                "signal": signal(service, observed.demand),
                "at": stamp(decision.at),
            }
            if decision.replicas != size_before:
                changed = last | {"at": stamp(observed.now)}
                history = [changed, *history][:KEPT_DECISIONS]
    found: dict[str, Any] = {"decisions": history} if history else {}
    return found | ({"decision": last} if last else {})


def _dumped(word: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = word.model_dump(by_alias=True, exclude_none=True, mode="json")
    return dumped
