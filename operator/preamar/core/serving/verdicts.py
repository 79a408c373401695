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
from preamar.core.serving.artifact.optimize_words import Optimized, Stand, Why
from preamar.core.serving.blocks import Block
from preamar.core.serving.canary.canary_analysis import Judgement
from preamar.core.serving.groups.gang import INCOMPLETE
from preamar.core.serving.health.current import current_pods, ready_pods
from preamar.core.serving.health.faults import BUILDERS, Fault
from preamar.core.serving.observe import Observed
from preamar.core.serving.sizing.scaling import Decision
from preamar.core.trouble import Trouble


class Reason(StrEnum):
    SERVING = "Serving"
    ASLEEP = "Asleep"
    LOADING = "Loading"
    ROLLING = "RollingOut"
    NOT_LOADED = "NotLoadedYet"
    LOADED = "Loaded"
    PROGRESSING = "Progressing"
    REFUSED = "Refused"
    SIZED = "SizeReached"
    RESIZING = "Resizing"


VOLUMES = frozenset({Block.VOLUME_MISSING, Block.VOLUME_LOST, Block.VOLUME_NOT_SHARED})
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
        *Block,
        *Why,
        Judgement.FAILS,
        Judgement.SLOW,
        Judgement.DIFFERS,
        Reason.REFUSED,
        *metering.BAD,
    }
)


def verdicts(
    observed: Observed,
    decision: Decision | None,
    trouble: Trouble | None,
    loaded: bool,
    work: Optimized,
    note: str,
) -> tuple[Verdict, ...]:
    """The conditions, in the order in which people read them. ``note``: what is otherwise than it
    was asked for, and no trouble."""
    wanted = decision.replicas if decision else observed.service.spec.replicas
    ready = _ready(observed, wanted, trouble, loaded)
    if work.stand == Stand.WORKING and trouble is None and decision is None:
        ready = Verdict("Ready", "False", work.stand, "The model is optimised before it is served.")
    if note and trouble is None:
        ready = ready._replace(message=f"{ready.message} {note}")
    stalled = trouble is not None and ready.status != "True"
    return (
        ready,
        Verdict("Stalled", "True", trouble.reason, trouble.message)
        if stalled and trouble
        else Verdict("Stalled", "False", Reason.PROGRESSING, "Nothing stands in the way."),
        _model(trouble, loaded),
        _optimized(work, current_pods(observed)),
        _scaled(observed, wanted, decision, trouble),
    )


def _optimized(work: Optimized, pods: Iterable[PodView]) -> Verdict:
    if work.stand == Stand.DONE:
        kept = len(work.told.get("layersKept", ()))
        more = f" {kept} layers were kept as they were." if kept else ""
        if why := next(filter(None, map(_without_engine, pods)), ""):
            more = f"{more} A replica serves the graph and no engine: {why}."
        return Verdict(
            "Optimized", "True", work.stand, shortened(f"It is within the tolerance.{more}")
        )
    if work.stand == Stand.REFUSED:
        return Verdict("Optimized", "False", work.reason, work.message)
    if work.stand == Stand.WORKING:
        sentence = work.message or "A Job makes the optimised model."
        return Verdict("Optimized", "Unknown", work.stand, sentence)
    return Verdict("Optimized", "False", work.stand, "No optimisation is asked for.")


def _without_engine(pod: PodView) -> str:
    """Why a pod found no engine that fits it, in its own words; empty where it did."""
    model = pod.container("model")
    words = model.ended.words if model is not None and model.ended is not None else {}
    why = words.get("why") if words.get("engine") == "None" else None
    return why if isinstance(why, str) else ""


def _ready(observed: Observed, wanted: int, trouble: Trouble | None, loaded: bool) -> Verdict:
    answering = len(ready_pods(observed))
    if trouble is not None and (not answering or trouble.reason in set(Block)):
        return Verdict("Ready", "False", trouble.reason, trouble.message)
    if wanted == 0:
        mode = observed.service.spec.scaling.mode
        if loaded:
            return Verdict(
                "Ready",
                "True",
                Reason.ASLEEP,
                f"No replica runs; the model has loaded once and {WAKES[mode]}.",
            )
        return Verdict(
            "Ready",
            "False",
            Reason.NOT_LOADED,
            "No replica has loaded this model yet; set spec.replicas to 1 to try it.",
        )
    if answering:
        # Counts of single pods stay out of the sentence: each would be a write.
        return Verdict("Ready", "True", Reason.SERVING, "Requests are answered.")
    if any(p.ready and not p.deleting for p in observed.pods):
        return Verdict(
            "Ready",
            "False",
            Reason.ROLLING,
            "Replicas of the earlier revision answer while those of this one load the model.",
        )
    return Verdict("Ready", "False", Reason.LOADING, "Replicas start and load the model.")


def _model(trouble: Trouble | None, loaded: bool) -> Verdict:
    if trouble is not None and trouble.reason in MODEL_TROUBLES:
        return Verdict("ModelAvailable", "False", trouble.reason, trouble.message)
    if loaded:
        return Verdict("ModelAvailable", "True", Reason.LOADED, "The model has loaded.")
    return Verdict(
        "ModelAvailable", "Unknown", Reason.NOT_LOADED, "No replica has loaded this model yet."
    )


def _scaled(
    observed: Observed, wanted: int, decision: Decision | None, trouble: Trouble | None
) -> Verdict:
    if trouble is not None:
        return Verdict("Scaled", "False", trouble.reason, trouble.message)
    deployment = observed.deployment
    exist = deployment.replicas if deployment else 0
    ready = len(ready_pods(observed))
    if exist != wanted or ready != wanted:
        return Verdict("Scaled", "False", Reason.RESIZING, f"On the way to {_copies(wanted)}.")
    reason = str(decision.reason) if decision else str(Reason.SIZED)
    return Verdict("Scaled", "True", reason, f"{_copies(wanted)}, as wanted.")


def _copies(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"
