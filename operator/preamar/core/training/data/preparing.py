"""Is the data prepared, and if not, what is missing?

The answer is in the status once the Job's first pod has said it. It counts for the spec that it was
made for: another text, filter or vocabulary is another corpus, while a mere change of workers is
not. A Job that failed stays, with its logs, until an edit asks for something else or it is deleted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from preamar.api.training import TrainingJob
from preamar.core.plan import digest_of
from preamar.core.pods import PodView
from preamar.core.training.attempts.endings import INDEX_LABEL
from preamar.core.training.observe import JobView, Observed
from preamar.core.training.progress import LONGEST_SENTENCE
from preamar.protocol import labels

KEY = labels.DATA


class DataState(StrEnum):
    """How far the data is."""

    READY = "Ready"
    MISSING = "Missing"
    RUNNING = "Running"
    OUTDATED = "Outdated"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class DataReadiness:
    """How far the data is. ``made`` is what the Job says it made, as the status shows it; ``pods``
    are those that make it."""

    stand: DataState
    sentence: str = ""
    kind: str = ""
    made: Mapping[str, Any] | None = None
    pods: tuple[PodView, ...] = ()


READY = DataReadiness(DataState.READY)


def key_of(job: TrainingJob) -> str:
    """What is to be prepared, in ten characters."""
    data, spec = job.spec.data, job.spec
    wanted = data.prepare.model_dump(
        by_alias=True, mode="json", exclude={"workers", "resources"}
    ) if data.prepare else {}  # fmt: skip
    words = {
        "prepare": wanted,
        "sources": sorted((source.name, source.uri) for source in data.sources),
        "model": {"preset": spec.model.preset, "parameters": dict(spec.model.parameters)},
    }
    return digest_of(words)[:10]


def prepared(observed: Observed) -> DataReadiness:
    """How far the data is now."""
    if observed.job.spec.data.prepare is None:
        return READY
    key = key_of(observed.job)
    if observed.job.status.data and observed.job.status.data.key == key:
        return READY
    pods = tuple([pod for pod in observed.pods if pod.labels.get(KEY) == key])
    return replace(_prepared(observed, key, pods), pods=pods)


def _prepared(observed: Observed, key: str, pods: tuple[PodView, ...]) -> DataReadiness:
    job, view = observed.job, observed.preparing
    if view is None:
        return DataReadiness(DataState.MISSING, "The Job that prepares the data is being made.")
    if view.deleting or view.annotations.get(KEY) != key:
        return DataReadiness(
            DataState.OUTDATED, "The data must be prepared anew: its old Job is going."
        )
    if view.complete:
        made = _made(pods, key)
        if made is None:  # the pod is gone with what it said; finding it again is quick
            return DataReadiness(
                DataState.OUTDATED, "What the prepare Job said is lost: it is asked again."
            )
        return DataReadiness(DataState.READY, made=made)
    if view.failed:
        return _failed(view, pods)
    up = sum(1 for pod in pods if pod.phase == "Running")
    workers = job.spec.data.prepare.workers if job.spec.data.prepare else 0
    return DataReadiness(
        DataState.RUNNING,
        f"The data is being prepared: {up} of {workers} pods run (Job {view.name}).{_now(observed)}",
    )


def _now(observed: Observed) -> str:
    told = observed.prepare_state[:100]
    return f" Now: {told}." if told else ""


def _failed(view: JobView, pods: tuple[PodView, ...]) -> DataReadiness:
    told = [words for pod in pods if (words := _words(pod)).get("outcome") == "Failed"]
    users = [words for words in told if words.get("class") in {"DataError", "ConfigError"}]
    last = (users or told or [{}])[-1]
    why = str(last.get("explanation") or view.message or "Its pods failed.")[:LONGEST_SENTENCE]
    return DataReadiness(
        DataState.FAILED,
        f"The data could not be prepared: {why} Edit spec.data, or delete the Job {view.name} to "
        "try again.",
        kind=str(last["class"]) if users else "PrepareFailed",
    )


def _made(pods: tuple[PodView, ...], key: str) -> Mapping[str, Any] | None:
    first = [pod for pod in pods if pod.labels.get(INDEX_LABEL) == "0"]
    for words in map(_words, first):
        if words.get("outcome") == "Prepared" and isinstance(words.get("uri"), str):
            return {
                "key": key,
                "uri": words["uri"][:1000],
                "digest": str(words.get("digest", ""))[:256],
                **{name: _count(words.get(name)) for name in ("documents", "kept", "tokens")},
            }
    return None


def _words(pod: PodView) -> Mapping[str, Any]:
    container = pod.container("prepare")
    return container.ended.words if container is not None and container.ended is not None else {}


def _count(value: object) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value < 2**53 else 0  # type: ignore[operator,return-value]
