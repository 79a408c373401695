"""What do we tell users of a training job?

Progress as rank 0 reports it, the last words of ranks that ended, and conditions from the step
that was decided. What is not known now keeps what was known before: progress outlives a restart.
"""

from collections.abc import Mapping
from typing import Any

from preamar.api.training_status import TrainingJobStatus
from preamar.core.conditions import Verdict, merge
from preamar.core.timestamps import stamp
from preamar.core.training.account import current
from preamar.core.training.attempts.goodput import Ledger, told
from preamar.core.training.facts import Facts
from preamar.core.training.planner.quote import measured, quote
from preamar.core.training.planner.quote import told as quoted
from preamar.core.training.planner.sizes import world_sizes
from preamar.core.training.progress import ProgressReport, Saved
from preamar.core.training.resizes import resizes, samples
from preamar.core.training.step import Do, Step
from preamar.protocol.labels import FEWER, JOB_LABEL

KEPT = ("progress", "samples", "data", "checkpoint", "resizes", "goodput", "failure")
ALSO_KEPT = (
    "interconnect",
    "gang",
    "evaluation",
    "exported",
    "startedAt",
    "finishedAt",
    "attempt",
    "restarts",
)
GOODPUT_SECONDS = 60.0
"""While it trains, the ledger is not older than this, if somebody looks at the job at all."""


def status(
    facts: Facts, step: Step, verdicts: tuple[Verdict, ...], spent: Ledger | None
) -> dict[str, Any]:
    """The whole status to write, as JSON. ``spent`` is the ledger of the last attempt."""
    job, last, terms = facts.job, facts.last, facts.terms
    before = _json_of(job.status)
    generation, per = job.metadata.generation, terms.ranks_per_worker
    now_true: dict[str, Any] = {key: before[key] for key in (*KEPT, *ALSO_KEPT) if key in before}
    now = step.do in {Do.TRAIN, Do.ORDER, Do.STOP, Do.SUCCEED, Do.FAIL}
    size = last.workers if last is not None and now else step.workers
    now_true |= {
        "observedGeneration": generation,
        "selector": f"{JOB_LABEL}={job.metadata.name}",
        "workers": facts.running,
        "validWorldSizes": list(world_sizes(terms, size, started=facts.saved is not None)),
        "attempt": step.attempt,
        "restarts": step.restarts,
        "resized": facts.resized,
        "conditions": merge(job.status.conditions, verdicts, generation, facts.now),
    }
    world = step.workers * per if step.do == Do.START else last.workers * per if last else None
    if world or before.get("worldSize"):
        now_true["worldSize"] = world or before["worldSize"]
    if facts.data.made is not None:
        now_true["data"] = dict(facts.data.made)
    said = _quoted(facts, size)
    if said:
        now_true["quote"] = said
    _add_start(now_true, facts, step)
    if step.do == Do.START:  # the new attempt has said nothing yet, but what it takes up counts
        _add_checkpoint(now_true, facts.saved)
    elif last is not None:
        _add_words(now_true, facts)
    now_true |= resizes(facts, step, before.get("resizes", ()))
    _add_end(now_true, facts, step)
    _add_measured(now_true, facts)
    _add_goodput(now_true, facts, before, step, spent)
    return now_true


def same_as_before(facts: Facts, wanted: Mapping[str, Any]) -> bool:
    """Whether this is the status that the job has."""
    return _without_nothing(wanted) == _json_of(facts.job.status)


def _json_of(status: TrainingJobStatus) -> dict[str, Any]:
    return _without_nothing(status.model_dump(by_alias=True, exclude_none=True, mode="json"))


def _without_nothing(told: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is absent: null and an empty list say no more than nothing."""
    there = {key: value for key, value in told.items() if value is not None and value != []}
    for key, value in there.items():
        if isinstance(value, Mapping):
            there[key] = _without_nothing(value)
        elif isinstance(value, list):
            there[key] = [_without_nothing(v) if isinstance(v, Mapping) else v for v in value]
    return there


def _add_end(now_true: dict[str, Any], facts: Facts, step: Step) -> None:
    """When the job began and ended, and why the last attempt failed."""
    last, told = facts.last, step.ending
    if told is not None and not told.free:
        now_true["failure"] = _without_none(
            {
                "class": told.kind,
                "rank": told.rank,
                "explanation": told.explanation,
                "step": told.step,
                "times": step.streak.times,
            }
        )
    if step.do == Do.SUCCEED:
        now_true.pop("failure", None)
    starts = [view.started for view in facts.observed.jobs if view.started]
    if starts and "startedAt" not in now_true:
        now_true["startedAt"] = stamp(min(starts))
    if step.do in {Do.SUCCEED, Do.FAIL}:
        ended = last.ended_at if last and last.ended_at else facts.now
        now_true.setdefault("finishedAt", stamp(ended))
    else:
        now_true.pop("finishedAt", None)


def _add_measured(now_true: dict[str, Any], facts: Facts) -> None:
    """What saving costs, and how often it is done; the last known where nobody speaks."""
    if "checkpoint" not in now_true or facts.last is None:
        return
    live, kept = facts.observed.progress, facts.job.status.checkpoint
    words = [w.save_seconds for w in facts.words if w.save_seconds]
    save = live.save_seconds if live else max(words, default=None)
    measured = {
        "saveSeconds": _decimal(save) or (kept.save_seconds if kept else None),
        "everySeconds": (live and _decimal(live.every_seconds))
        or (kept.every_seconds if kept else None),
    }
    now_true["checkpoint"] |= _without_none(measured)


def _add_goodput(
    now_true: dict[str, Any],
    facts: Facts,
    before: Mapping[str, Any],
    step: Step,
    spent: Ledger | None,
) -> None:
    """The ledger, where there is other news or it has become old: time passes without any."""
    ledger = current(facts, step, spent)
    if ledger is None:
        return
    old = facts.ledger.until if facts.ledger else None
    if old is not None and _without_nothing(now_true | {"goodput": before["goodput"]}) == before:
        age = (facts.now - old).total_seconds()
        if step.do != Do.TRAIN or age < GOODPUT_SECONDS:
            return
    now_true["goodput"] = told(ledger)


def _quoted(facts: Facts, size: int) -> dict[str, Any]:
    live, last, status = facts.live, facts.last, facts.job.status
    ranks = last.workers * facts.terms.ranks_per_worker if last else None
    speed = measured(status, live.samples_per_second if live else None, ranks)
    fleet = facts.observed.settings.fleet
    return dict(quoted(quote(facts.job.spec, size, fleet, speed, facts.terms), speed))


def _add_start(now_true: dict[str, Any], facts: Facts, step: Step) -> None:
    """How far the latest attempt came before its first step."""
    fewer = facts.last is not None and FEWER in facts.last.annotations
    if step.gang is not None:
        now_true["gang"] = dict(step.gang)
    elif (facts.complete and not fewer) or step.do in {Do.SUCCEED, Do.FAIL}:
        now_true.pop("gang", None)
    if step.do == Do.START:  # the new one has not looked yet
        now_true.pop("interconnect", None)


def _add_words(now_true: dict[str, Any], facts: Facts) -> None:
    """What rank 0 says while it trains, then what the ranks said last."""
    if facts.live is not None:
        _add_progress(now_true, facts, facts.live)
    words = facts.words
    saved = [w.checkpoint for w in words if w.checkpoint]
    if saved:
        _add_checkpoint(now_true, max(saved, key=lambda s: s.step))
    consumed = [w.consumed for w in words if w.consumed is not None]
    if consumed and words[0].outcome in {"Done", "Stopped"}:
        most = max(words, key=lambda w: w.consumed or 0)
        now_true["samples"] = samples(facts.notes.resize, most.consumed or 0, most)
    for word in words:
        if word.outcome in {"Done", "Stopped"} and word.step is not None:
            done = {"step": word.step, "steps": facts.job.spec.steps}
            now_true["progress"] = {**now_true.get("progress", {}), **done}
            now_true["progress"].pop("etaSeconds", None)
        if word.exported:
            now_true["exported"] = word.exported
        if word.evaluation:
            now_true["evaluation"] = {"loss": word.evaluation[0], "unigram": word.evaluation[1]}


def _add_progress(now_true: dict[str, Any], facts: Facts, live: ProgressReport) -> None:
    steps = live.steps or facts.job.spec.steps
    if live.step is not None:
        speed, left = live.samples_per_second, max(0, steps - live.step)
        batch = facts.terms.total
        now_true["progress"] = _without_none(
            {
                "step": live.step,
                "steps": steps,
                "loss": _decimal(live.loss),
                "samplesPerSecond": _decimal(speed),
                "dataWaitRatio": _decimal(live.data_wait_ratio),
                "etaSeconds": round(left * batch / speed) if speed and speed > 1e-9 else None,
            }
        )
    if live.interconnect is not None:
        expected, used, detail = live.interconnect
        now_true["interconnect"] = {"expected": expected, "used": used, "detail": detail}
    if live.consumed is not None:
        now_true["samples"] = samples(facts.notes.resize, live.consumed, live)
    if live.checkpoint is not None:
        _add_checkpoint(now_true, live.checkpoint)


def _add_checkpoint(now_true: dict[str, Any], saved: Saved | None) -> None:
    if saved is None:
        return
    now_true["checkpoint"] = _without_none(
        {
            "step": saved.step,
            "uri": saved.uri,
            "at": stamp(saved.at) if saved.at else None,
            "bytes": saved.bytes,
            "verified": True,  # ranks name a checkpoint only after they have read it back
            "manifestHash": saved.manifest_hash[:256] or None,
            "worldSize": saved.world_size,
        }
    )


def _decimal(value: float | None) -> str | None:
    # Schemas of status bound the digits; beyond that a loss says only that it diverges.
    return None if value is None or abs(value) >= 1e15 else f"{value:.4f}"


def _without_none(parts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in parts.items() if value is not None}
