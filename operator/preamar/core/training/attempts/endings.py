"""How did an attempt end, and whose fault was it?

The ranks' last words are read from their pods. Peers that only lost somebody are never the cause.
``free`` endings are nobody's fault (a stop on request, a drained or lost node) and do not count
against the limit; ``final`` ones are the user's to repair, so another try would end alike.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

from preamar.core.pods import Ended, PodView
from preamar.core.training.attempts.policy import FINAL
from preamar.core.training.observe import JobView
from preamar.core.training.progress import LONGEST_SENTENCE, TerminationMessage, last_words
from preamar.protocol.labels import ATTEMPT_LABEL, CONVERSION_LABEL, RESIZE, STOP

INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
STOPPED = 75  # exit code after a verified checkpoint on request
BROKEN = "ContinuityBroken"  # what was loaded is not what was saved
UNCONVERTED = "NotConverted"  # a checkpoint of another size, of which we had not heard
ON_REQUEST = "Stopped"
NODE_LOST = "NodeLost"
LOST = frozenset({"Evicted", NODE_LOST, "Shutdown", "NodeShutdown", "Terminated", "Preempting"})
LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Ending:
    """Why an attempt is over. ``kind`` is the failure's class in one word."""

    kind: str
    explanation: str
    rank: int | None = None
    free: bool = False
    final: bool = False
    step: int | None = None
    """The step in which it failed, where the rank could tell."""


class WorkerExit(NamedTuple):
    """A pod whose worker has ended, how, and its last words where they are ours."""

    pod: PodView
    end: Ended
    words: TerminationMessage | None


def exits_of(pods: Iterable[PodView]) -> tuple[WorkerExit, ...]:
    """Of these pods those that have ended, in the same order."""
    ends = [(pod, end) for pod in pods if (end := end_of(pod)) is not None]
    said = last_words([end.message for _, end in ends])
    return tuple([WorkerExit(*each, words) for each, words in zip(ends, said, strict=True)])


def ending(job: JobView, mine: tuple[PodView, ...], exits: tuple[WorkerExit, ...]) -> Ending:
    """How a failed attempt ended, from what is left of its pods."""
    lost = next((p for p in mine if p.disrupted or p.reason in LOST), None)
    failed = sorted(
        (each for each in exits if each.end.exit_code not in {0, STOPPED}),
        key=lambda found: found.end.finished or LATEST,
    )
    short = len(mine) < job.workers
    own = [
        found
        for found in failed
        # The Job ends what is left when a pod was deleted; who is killed then is not the cause.
        if _kind(found) != "PeerLost"
        and not (short and found.pod.deleting and _kind(found) == "Killed")
    ]
    users = next((f for f in own if _kind(f) in FINAL), None)
    if users is not None:
        return _told(users)
    resized = next((f for f in own if _of_a_resize(job, _kind(f))), None)
    if resized is not None:
        return replace(_told(resized), free=True)
    if lost is not None:
        why = lost.disrupted or lost.reason
        told = lost.message if lost.reason == NODE_LOST else ""
        sentence = told or f"Pod {lost.name} was taken away: {why}."
        return Ending("PodLost", sentence, rank(lost), free=True)
    if own:
        # A rank that hangs while it waits for another may be heard before that one.
        return _told(min(own, key=lambda found: found.words is not None and found.words.waits))
    if failed and STOP not in job.annotations:
        # A rank that fails leaves its pod behind. Where all that did only lost a peer, that peer
        # was deleted or cut off; its own pod may be gone with what it said.
        who = rank(failed[0].pod)
        sentence = "A rank lost its peers: one was deleted or cut off from the network."
        return Ending("PeerLost", sentence, who, free=True)
    if failed or any(each.end.exit_code == STOPPED for each in exits):
        return Ending(ON_REQUEST, "The ranks were asked to stop and saved first.", free=True)
    # A pod that fails stays, but one that was deleted ends the Job, which then deletes the others.
    if short and (mine or job.reason == "BackoffLimitExceeded"):
        return Ending("PodLost", "A pod was deleted while it trained.", free=True)
    return Ending("Unknown", job.message[:LONGEST_SENTENCE] or "The attempt's Job failed.")


def pods_of(job: JobView, pods: tuple[PodView, ...]) -> tuple[PodView, ...]:
    """The pods of one attempt."""
    number = str(job.attempt)
    return tuple(p for p in pods if p.labels.get(ATTEMPT_LABEL) == number)


def _of_a_resize(job: JobView, kind: str) -> bool:
    """Whether a size is at fault and not the job: another size mends it."""
    return kind == UNCONVERTED or (kind == BROKEN and RESIZE in job.annotations)


def converters(job: JobView, pods: tuple[PodView, ...]) -> tuple[PodView, ...]:
    """The pods of one conversion, the latest first."""
    mine = [p for p in pods if p.labels.get(CONVERSION_LABEL) == str(job.conversion)]
    return tuple(sorted(mine, key=lambda p: p.created or LATEST, reverse=True))


def end_of(pod: PodView) -> Ended | None:
    """How its trainer, or its converter, ended."""
    named = {c.name: c for c in reversed(pod.containers)}
    worker = named.get("trainer") or named.get("converter")
    return worker.ended if worker else None


def rank(pod: PodView) -> int | None:
    """The pod's index in its attempt."""
    text = pod.labels.get(INDEX_LABEL, "")
    return int(text) if text.isdecimal() else None


def outcomes(exits: Iterable[WorkerExit]) -> tuple[TerminationMessage, ...]:
    """The last words of an attempt's ranks, rank 0's first."""
    told = sorted(exits, key=lambda each: rank(each.pod) or 0)
    return tuple([each.words for each in told if each.words is not None])


def _kind(found: WorkerExit) -> str:
    # The kernel kills without leaving last words, or with those of a moment before.
    if found.end.reason == "OOMKilled":
        return "OutOfMemory"
    if found.words is not None and found.words.failure:
        return found.words.failure
    return "Killed" if found.end.exit_code in {137, 143} else "Unknown"


def _told(found: WorkerExit) -> Ending:
    kind, outcome = _kind(found), found.words
    sentence = outcome.explanation if outcome else ""
    if not sentence and kind == "OutOfMemory":
        sentence = "It needs more memory than it may use: raise workers.resources.limits.memory."
    if not sentence:
        sentence = f"Pod {found.pod.name} ended with exit code {found.end.exit_code}."
    who = rank(found.pod)
    if outcome is not None and outcome.rank is not None:
        who = outcome.rank
    step = outcome.failed_step if outcome else None
    return Ending(kind, sentence, who, final=kind in FINAL, step=step)
