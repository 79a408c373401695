"""What journeys wait for, in words."""

from collections import Counter
from collections.abc import Callable

from e2e.kube import OURS, Json, Kube, condition, standing, until


def service(kube: Kube, namespace: str, name: str) -> Json | None:
    return kube.get(OURS, "InferenceService", name, namespace)


def job(kube: Kube, namespace: str, name: str) -> Json | None:
    return kube.get(OURS, "TrainingJob", name, namespace)


def moving(kube: Kube, namespace: str) -> Callable[[], object]:
    """What changes while anything of ours in a namespace comes nearer to what is waited for."""

    def look() -> object:
        ours = [
            (one["metadata"]["name"], standing(one))
            for kind in ("InferenceService", "TrainingJob")
            for one in kube.list(OURS, kind, namespace)
        ]
        running = [
            (
                pod["metadata"]["name"],
                pod["status"].get("phase"),
                [c.get("ready") for c in pod["status"].get("containerStatuses") or []],
                [
                    list(c.get("state") or {})
                    for c in pod["status"].get("initContainerStatuses") or []
                ],
            )
            for pod in kube.list("v1", "Pod", namespace)
        ]
        return ours, running

    return look


def asleep(kube: Kube, namespace: str, name: str, seconds: float = 180) -> None:
    """Wait until a service is Ready at zero, having loaded once."""

    def look() -> bool:
        ready = condition(service(kube, namespace, name), "Ready")
        return (ready.get("status"), ready.get("reason")) == ("True", "Asleep") and not (
            kube.endpoints(name, namespace)
        )

    until(
        f"{name} has loaded once and sleeps",
        seconds,
        look,
        progress=moving(kube, namespace),
    )


def stalled(kube: Kube, namespace: str, kind: str, name: str, seconds: float = 120) -> Json:
    """Wait until a resource says that it cannot go on; the condition which says why."""

    def look() -> Json | None:
        found = condition(kube.get(OURS, kind, name, namespace), "Stalled")
        return found if found.get("status") == "True" else None

    what = f"{kind} {name} is Stalled"
    return until(what, seconds, look, progress=moving(kube, namespace))


def succeeded(kube: Kube, namespace: str, name: str, seconds: float = 420) -> Json:
    """Wait until a training job has succeeded; fail at once when it cannot any more."""

    def look() -> Json | None:
        found = job(kube, namespace, name)
        stuck = condition(found, "Stalled")
        assert stuck.get("status") != "True", f"stalled: {stuck['reason']}: {stuck['message']}"
        return found if condition(found, "Succeeded").get("status") == "True" else None

    return until(
        f"training job {name} has succeeded",
        seconds,
        look,
        every=1.0,
        progress=moving(kube, namespace),
    )


def events(kube: Kube, namespace: str, name: str) -> Counter[str]:
    """Event objects by reason for one resource: a repeat that is counted is one object."""
    found = kube.list("v1", "Event", namespace)
    return Counter(one["reason"] for one in found if one["involvedObject"]["name"] == name)


def pods(kube: Kube, namespace: str, label: str, name: str) -> list[Json]:
    """Pods of an InferenceService (``inferenceservice``) or TrainingJob (``trainingjob``)."""
    return kube.list("v1", "Pod", namespace, f"preamar.dev/{label}={name}")
