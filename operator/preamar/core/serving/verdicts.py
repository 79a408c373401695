"""Is the service ready, stalled, sized as wanted, and does its model load?

Five conditions from what was observed, the size decided on, and the one trouble that matters most.
A model counts as loaded once a replica of its revision has been ready; at zero replicas it is then
``Asleep``, which is ready, because a request that waits is what wakes it.
"""

from collections.abc import Iterable
from enum import StrEnum

from preamar.api.scaling import ScalingMode
from preamar.core.conditions import Verdict, shortened
from preamar.core.pods import PodView
from preamar.core.serving import metering
from preamar.core.serving.artifact.optimize_words import Optimized, OptimizeFailure, OptimizeState
from preamar.core.serving.blocks import ServingBlock
from preamar.core.serving.canary.canary_analysis import Judgement
from preamar.core.serving.facts import Facts
from preamar.core.serving.groups.gang import INCOMPLETE
from preamar.core.serving.health.faults import BUILDERS, Fault
from preamar.core.serving.step import REFUSED, Step
from preamar.core.trouble import Trouble


class ServingReason(StrEnum):
    SERVING = "Serving"
    ASLEEP = "Asleep"
    LOADING = "Loading"
    ROLLING = "RollingOut"
    NOT_LOADED = "NotLoadedYet"
    LOADED = "Loaded"
    PROGRESSING = "Progressing"
    SIZED = "SizeReached"
    RESIZING = "Resizing"


VOLUMES = frozenset(
    {ServingBlock.VOLUME_MISSING, ServingBlock.VOLUME_LOST, ServingBlock.VOLUME_NOT_SHARED}
)
MODEL_TROUBLES: frozenset[str] = frozenset(
    {*BUILDERS, *VOLUMES, Fault.MEMORY, Fault.PREPARATION, Fault.CRASH}
)
WAKES = {
    ScalingMode.MANAGED: "the first request wakes it",
    ScalingMode.EXTERNAL: "whoever sizes it wakes it, while requests wait",
    ScalingMode.FIXED: "none will until spec.replicas is raised",
}
TOLD = frozenset({"Ready", "Stalled", "Optimized", "RolledOut", metering.TYPE})
BAD: frozenset[str] = frozenset(
    {
        INCOMPLETE,
        *Fault,
        *ServingBlock,
        *OptimizeFailure,
        Judgement.FAILS,
        Judgement.SLOW,
        Judgement.DIFFERS,
        REFUSED,
        *metering.BAD,
    }
)


def verdicts(step: Step, note: str) -> tuple[Verdict, ...]:
    """The conditions, in the order in which people read them. ``note``: what is otherwise than it
    was asked for, and no trouble."""
    facts, served, work, trouble = step.facts, step.served, step.work, step.trouble
    wanted = served.size.replicas if served else facts.service.spec.replicas
    ready = _ready(facts, wanted, trouble)
    if work.stand == OptimizeState.WORKING and trouble is None and served is None:
        ready = Verdict("Ready", "False", work.stand, "The model is optimised before it is served.")
    if note and trouble is None:
        ready = ready._replace(message=f"{ready.message} {note}")
    stalled = trouble is not None and ready.status != "True"
    return (
        ready,
        Verdict("Stalled", "True", trouble.reason, trouble.message)
        if stalled and trouble
        else Verdict("Stalled", "False", ServingReason.PROGRESSING, "Nothing stands in the way."),
        _model(trouble, facts.loaded),
        _optimized(work, facts.current),
        _scaled(step, wanted),
    )


def _optimized(work: Optimized, pods: Iterable[PodView]) -> Verdict:
    if work.stand == OptimizeState.DONE:
        kept = len(work.told.get("layersKept", ()))
        more = f" {kept} layers were kept as they were." if kept else ""
        if why := next(filter(None, map(_without_engine, pods)), ""):
            more = f"{more} A replica serves the graph and no engine: {why}."
        return Verdict(
            "Optimized", "True", work.stand, shortened(f"It is within the tolerance.{more}")
        )
    if work.stand == OptimizeState.REFUSED:
        return Verdict("Optimized", "False", work.reason, work.message)
    if work.stand == OptimizeState.WORKING:
        sentence = work.message or "A Job makes the optimised model."
        return Verdict("Optimized", "Unknown", work.stand, sentence)
    return Verdict("Optimized", "False", work.stand, "No optimisation is asked for.")


def _without_engine(pod: PodView) -> str:
    """Why a pod found no engine that fits it, in its own words; empty where it did."""
    model = pod.container("model")
    words = model.ended.words if model is not None and model.ended is not None else {}
    why = words.get("why") if words.get("engine") == "None" else None
    return why if isinstance(why, str) else ""


def _ready(facts: Facts, wanted: int, trouble: Trouble | None) -> Verdict:
    if trouble is not None and (not facts.ready or trouble.reason in set(ServingBlock)):
        return Verdict("Ready", "False", trouble.reason, trouble.message)
    if wanted == 0:
        mode = facts.service.spec.scaling.mode
        if facts.loaded:
            return Verdict(
                "Ready",
                "True",
                ServingReason.ASLEEP,
                f"No replica runs; the model has loaded once and {WAKES[mode]}.",
            )
        return Verdict(
            "Ready",
            "False",
            ServingReason.NOT_LOADED,
            "No replica has loaded this model yet; set spec.replicas to 1 to try it.",
        )
    if facts.ready:
        # Counts of single pods stay out of the sentence: each would be a write.
        return Verdict("Ready", "True", ServingReason.SERVING, "Requests are answered.")
    if any(p.ready and not p.deleting for p in facts.observed.pods):
        return Verdict(
            "Ready",
            "False",
            ServingReason.ROLLING,
            "Replicas of the earlier revision answer while those of this one load the model.",
        )
    return Verdict("Ready", "False", ServingReason.LOADING, "Replicas start and load the model.")


def _model(trouble: Trouble | None, loaded: bool) -> Verdict:
    if trouble is not None and trouble.reason in MODEL_TROUBLES:
        return Verdict("ModelAvailable", "False", trouble.reason, trouble.message)
    if loaded:
        return Verdict("ModelAvailable", "True", ServingReason.LOADED, "The model has loaded.")
    return Verdict(
        "ModelAvailable",
        "Unknown",
        ServingReason.NOT_LOADED,
        "No replica has loaded this model yet.",
    )


def _scaled(step: Step, wanted: int) -> Verdict:
    facts, trouble = step.facts, step.trouble
    if trouble is not None:
        return Verdict("Scaled", "False", trouble.reason, trouble.message)
    deployment = facts.observed.deployment
    exist = deployment.replicas if deployment else 0
    if exist != wanted or facts.ready != wanted:
        return Verdict(
            "Scaled", "False", ServingReason.RESIZING, f"On the way to {_copies(wanted)}."
        )
    reason = str(step.served.size.reason if step.served else ServingReason.SIZED)
    return Verdict("Scaled", "True", reason, f"{_copies(wanted)}, as wanted.")


def _copies(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"
