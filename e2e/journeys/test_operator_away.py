"""The operator may be away: nothing is blocked, and what happened meanwhile is caught up with."""

from e2e.cluster import Cluster
from e2e.demo.calls import client
from e2e.journeys.watching import moving, pods, service
from e2e.journeys.wishes import a_service
from e2e.kube import OURS, Kube, condition, until

SYSTEM = "preamar-system"


def operators(kube: Kube, count: int) -> None:
    kube.patch("apps/v1", "Deployment", "preamar-operator", SYSTEM, {"spec": {"replicas": count}})
    selector = "app.kubernetes.io/component=operator"

    def settled() -> bool:
        running = [
            pod
            for pod in kube.list("v1", "Pod", SYSTEM, selector)
            if condition(pod, "Ready").get("status") == "True" or count == 0
        ]
        return len(running) == count

    until(f"{count} operators run", 90, settled)


def test_edit_and_delete_while_the_operator_is_down(
    here: Cluster, kube: Kube, namespace: str
) -> None:
    awake = {"min": 1, "max": 2}
    for name in ("kept", "gone"):
        kube.apply(a_service(name, scaling=awake), namespace)
    for name in ("kept", "gone"):
        until(
            f"{name} has a replica",
            180,
            lambda name=name: kube.endpoints(name, namespace) == 1,
            progress=moving(kube, namespace),
        )

    operators(kube, 0)
    try:
        answer = client(here).embeddings.create(model="kept", input="still here")
        assert answer.data
        kube.patch(
            OURS,
            "InferenceService",
            "kept",
            namespace,
            {"spec": {"runtime": {"env": [{"name": "COLOUR", "value": "blue"}]}}},
        )
        kube.delete(OURS, "InferenceService", "gone", namespace)
        until("the deleted one is gone", 60, lambda: service(kube, namespace, "gone") is None)
        until(
            "its pods are gone too",
            90,
            lambda: not pods(kube, namespace, "inferenceservice", "gone"),
        )
    finally:
        operators(kube, 1)

    def rolled_out() -> bool:
        found = service(kube, namespace, "kept")
        running = pods(kube, namespace, "inferenceservice", "kept")
        coloured = [
            pod
            for pod in running
            if {"name": "COLOUR", "value": "blue"} in pod["spec"]["containers"][0].get("env", [])
        ]
        return (
            len(coloured) == len(running) == 1
            and condition(found, "Ready").get("status") == "True"
            and found["status"]["observedGeneration"] == found["metadata"]["generation"]
        )

    until("the edit is rolled out", 180, rolled_out, progress=moving(kube, namespace))
    assert service(kube, namespace, "gone") is None
    assert kube.get("apps/v1", "Deployment", "gone-serve", namespace) is None
    kube.delete(OURS, "InferenceService", "kept", namespace)
