"""What do we tell users of a training job?

Progress as rank 0 reports it, the last words of ranks that ended, and conditions from the step
that was decided. What is not known now keeps what was known before: progress outlives a restart.
"""

from typing import Any

from preamar.api.training_status import TrainingJobStatus
from preamar.core.conditions import Verdict, merge
from preamar.core.timestamps import moment, stamp
from preamar.core.training.account import current
from preamar.core.training.annotations import FEWER
from preamar.core.training.attempts.endings import outcomes
from preamar.core.training.attempts.goodput import told
from preamar.core.training.attempts.saved import newest
from preamar.core.training.data.preparing import prepared
from preamar.core.training.elastic import gang, placeholder_pods
from preamar.core.training.elastic.resize import resized_before
from preamar.core.training.elastic.resizes import resizes, samples
from preamar.core.training.observe import ATTEMPT_LABEL, JOB_LABEL, JobView, Observed, last_attempt
from preamar.core.training.planner.quote import measured, quote
from preamar.core.training.planner.quote import told as quoted
from preamar.core.training.planner.sizes import world_sizes
from preamar.core.training.planner.sizing_problem import Terms
from preamar.core.training.progress import Progress, Saved
from preamar.core.training.step import Do, Step, Why

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


def status(observed: Observed, step: Step, verdicts: tuple[Verdict, ...]) -> dict[str, Any]:
    """The whole status to write, as JSON."""
    job, last = observed.job, last_attempt(observed)
    before = job.status.model_dump(by_alias=True, exclude_none=True, mode="json")
    generation = job.metadata.generation
    now_true: dict[str, Any] = {
        key: before[key] for key in (*KEPT, *ALSO_KEPT) if before.get(key) not in (None, [])
    }
    ranks, terms = job.spec.workers.ranks_per_worker, Terms.of(job.spec)
    started = newest(observed, last) is not None
    now = last is not None and step.do in {Do.TRAIN, Do.ORDER, Do.STOP, Do.SUCCEED, Do.FAIL}
    size = last.workers if last is not None and now else step.workers
    now_true |= {
        "observedGeneration": generation,
        "selector": f"{JOB_LABEL}={job.metadata.name}",
        "workers": running(observed, last),
        "validWorldSizes": list(world_sizes(terms, size, started=started)),
        "attempt": step.attempt,
        "restarts": step.restarts,
        "resized": resized_before(observed, last),
        "conditions": merge(job.status.conditions, verdicts, generation, observed.now),
    }
    world = step.workers * ranks if step.do == Do.START else last.workers * ranks if last else None
    if world or before.get("worldSize"):
        now_true["worldSize"] = world or before["worldSize"]
    made = prepared(observed).made
    if made is not None:
        now_true["data"] = dict(made)
    said = _quoted(observed, last, size)
    if said:
        now_true["quote"] = said
    _add_start(now_true, observed, step, last)
    _add_words(now_true, observed, last, step)
    now_true |= resizes(observed, last, step)
    if step.ending is not None and not step.ending.free:
        now_true["failure"] = _without_none(
            {
                "class": step.ending.kind,
                "rank": step.ending.rank,
                "explanation": step.ending.explanation,
                "step": step.ending.step,
                "times": step.streak.times,
            }
        )
    if step.do == Do.SUCCEED:
        now_true.pop("failure", None)
    _add_measured(now_true, observed, last)
    starts = [j.started for j in observed.jobs if j.started]
    if starts and "startedAt" not in now_true:
        now_true["startedAt"] = stamp(min(starts))
    if step.do in {Do.SUCCEED, Do.FAIL}:
        ended = last.ended_at if last and last.ended_at else observed.now
        now_true.setdefault("finishedAt", stamp(ended))
    else:
        now_true.pop("finishedAt", None)
    _add_goodput(now_true, observed, step)
    return now_true


def _add_measured(now_true: dict[str, Any], observed: Observed, last: JobView | None) -> None:
    """What saving costs, and how often it is done; the last known where nobody speaks."""
    if "checkpoint" not in now_true or last is None:
        return
    live, kept = observed.progress, observed.job.status.checkpoint
    words = [w.save_seconds for w in outcomes(last, observed.pods) if w.save_seconds]
    save = live.save_seconds if live else max(words, default=None)
    measured = {
        "saveSeconds": _decimal(save) or (kept.save_seconds if kept else None),
        "everySeconds": (live and _decimal(live.every_seconds))
        or (kept.every_seconds if kept else None),
    }
    now_true["checkpoint"] |= _without_none(measured)


def _add_goodput(now_true: dict[str, Any], observed: Observed, step: Step) -> None:
    """The ledger, where there is other news or it has become old: time passes without any."""
    ledger, before = current(observed, step), observed.job.status.goodput
    if ledger is None:
        return
    old = moment(before.at) if before else None
    fresh = told(ledger)
    if old is not None and before is not None:
        kept = now_true | {"goodput": before.model_dump(by_alias=True, exclude_none=True)}
        news = TrainingJobStatus.model_validate(kept) != observed.job.status
        age = (observed.now - old).total_seconds()
        if not news and (step.do != Do.TRAIN or age < GOODPUT_SECONDS):
            return
    now_true["goodput"] = fresh


def running(observed: Observed, last: JobView | None) -> int:
    """How many workers of the latest attempt run."""
    if last is None:
        return 0
    number = str(last.attempt)
    return sum(
        1
        for p in observed.pods
        if p.labels.get(ATTEMPT_LABEL) == number and p.phase == "Running" and not p.deleting
    )


def _quoted(observed: Observed, last: JobView | None, size: int) -> dict[str, Any]:
    live, spec = observed.progress, observed.job.spec
    mine = live is not None and last is not None and live.attempt == last.attempt
    ranks = last.workers * spec.workers.ranks_per_worker if last else None
    speed = measured(observed.job.status, live.samples_per_second if live and mine else None, ranks)
    return dict(quoted(quote(spec, size, observed.settings.fleet, speed), speed))


def _add_start(
    now_true: dict[str, Any], observed: Observed, step: Step, last: JobView | None
) -> None:
    """How far the latest attempt came before its first step."""
    if step.why == Why.GANG and step.do == Do.STOP and last is not None:
        now_true["gang"] = gang.given_up(observed, last)
    elif step.do == Do.TRAIN and last is not None and placeholder_pods.useless(observed, last):
        now_true["gang"] = placeholder_pods.given_back(observed)
    elif (gang.complete(observed, last) and not _fewer(last)) or step.do in {Do.SUCCEED, Do.FAIL}:
        now_true.pop("gang", None)
    if step.do == Do.START:  # the new one has not looked yet
        now_true.pop("interconnect", None)


def _fewer(last: JobView | None) -> bool:
    return last is not None and FEWER in last.annotations


def _add_words(
    now_true: dict[str, Any], observed: Observed, last: JobView | None, step: Step
) -> None:
    """What rank 0 says while it trains, then what the ranks said last."""
    if step.do == Do.START:  # the new attempt has said nothing yet, but what it takes up counts
        _add_checkpoint(now_true, newest(observed, last))
    elif last is not None:
        _add_words_of(now_true, observed, last)


def _add_words_of(now_true: dict[str, Any], observed: Observed, last: JobView) -> None:
    live = observed.progress
    if live is not None and live.attempt == last.attempt:
        _add_progress(now_true, observed, last, live)
    words = outcomes(last, observed.pods)
    saved = [w.checkpoint for w in words if w.checkpoint]
    if saved:
        _add_checkpoint(now_true, max(saved, key=lambda s: s.step))
    consumed = [w.consumed for w in words if w.consumed is not None]
    if consumed and words[0].outcome in {"Done", "Stopped"}:
        most = max(words, key=lambda w: w.consumed or 0)
        now_true["samples"] = samples(last, most.consumed or 0, most)
    for word in words:
        if word.outcome in {"Done", "Stopped"} and word.step is not None:
            steps = observed.job.spec.steps
            now_true["progress"] = {
                **now_true.get("progress", {}),
                "step": word.step,
                "steps": steps,
            }
            now_true["progress"].pop("etaSeconds", None)
        if word.exported:
            now_true["exported"] = word.exported
        if word.evaluation:
            now_true["evaluation"] = {"loss": word.evaluation[0], "unigram": word.evaluation[1]}


def _add_progress(
    now_true: dict[str, Any], observed: Observed, last: JobView, live: Progress
) -> None:
    steps = live.steps or observed.job.spec.steps
    if live.step is not None:
        speed, left = live.samples_per_second, max(0, steps - live.step)
        batch = observed.job.spec.batch.global_size
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
        now_true["samples"] = samples(last, live.consumed, live)
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
