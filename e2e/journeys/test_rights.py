"""Nobody is granted what he does not use: the chart's rights against the API server's log.

Runs last (conftest.py), when the journeys have made the operator and the gateway do all they do. What
happens rarely is brought about here: a job's time runs out, a model's place is given up, an event is
said a second time by another process, and watches fall behind.
"""

from collections.abc import Iterator
from json import dumps
from pathlib import Path

import pytest

from e2e.cluster import Cluster
from e2e.clusters.choice import provider
from e2e.clusters.say import TroubleError
from e2e.conftest import claim
from e2e.journeys.lagging import lagging
from e2e.journeys.rights import PARTS, Right, forbidden, granted, used
from e2e.journeys.test_operator_away import operators
from e2e.journeys.watching import job, moving, pods, service, stalled
from e2e.journeys.wishes import a_job, a_service
from e2e.kube import OURS, Json, Kube, condition, until

RESOURCES = {"InferenceService": "inferenceservices", "TrainingJob": "trainingjobs"}
FINALIZERS = {
    Right("preamar.dev", f"{plural}/finalizers", "update") for plural in RESOURCES.values()
}


@pytest.fixture(scope="module", autouse=True)
def log(here: Cluster) -> None:
    if not here.audit_log:
        pytest.skip(f"provider {here.provider}: the API server's log is not readable")


def test_a_job_is_stopped_at_its_deadline_and_goes_when_its_time_is_over(
    kube: Kube, namespace: str
) -> None:
    wish = a_job("late", steps=100_000, activeDeadlineSeconds=10, ttlSecondsAfterFinished=5)
    kube.apply(wish, namespace)
    until(
        "the job is gone",
        180,
        lambda: job(kube, namespace, "late") is None,
        progress=moving(kube, namespace),
    )
    until("so are its pods", 60, lambda: not pods(kube, namespace, "trainingjob", "late"))


def moved_to(kube: Kube, namespace: str, name: str, uri: str) -> None:
    kube.patch(OURS, "InferenceService", name, namespace, {"spec": {"model": {"uri": uri}}})


@pytest.fixture
def alone(kube: Kube, namespace: str) -> Iterator[str]:
    """A namespace with nothing in it for another operator to touch."""
    name = f"{namespace}-alone"
    kube.namespace(name)
    yield name
    kube.delete("v1", "Namespace", name)


def test_what_a_watch_does_not_show_is_asked_for_and_an_event_is_counted_on(
    here: Cluster, kube: Kube, alone: str, tmp_path: Path
) -> None:
    namespace = alone
    at_zero = {"replicas": 0, "scaling": {"mode": "External"}}
    kube.apply(a_service("behind", model={"uri": "pvc://later/minilm"}, **at_zero), namespace)
    sources = [{"name": "books", "uri": "pvc://never/books", "weight": "1"}]
    kube.apply(a_job("behind", data={"sources": sources}), namespace)
    for kind in RESOURCES:
        stalled(kube, namespace, kind, "behind")

    operators(kube, 0)
    try:
        kube.apply(claim("later"), namespace)
        with lagging(here, namespace, tmp_path) as proxy:
            deployment = ("apps/v1", "Deployment", "behind-serve", namespace)
            until("its place is made", 60, lambda: kube.get(*deployment))
            moved_to(kube, namespace, "behind", "pvc://never/minilm")
            until("its place is given up", 60, lambda: kube.get(*deployment) is None)
            moved_to(kube, namespace, "behind", "pvc://later/minilm")
            until("its place is made again", 60, lambda: kube.get(*deployment))

            # The operator of the installation has said before that this volume is missing.
            kube.delete("v1", "PersistentVolumeClaim", "later", namespace)
            until("the volume is gone", 60, lambda: not there(kube, namespace, "later"))
            proxy.armed = True
            touched = {"metadata": {"labels": {"touched": "yes"}}}
            for kind in RESOURCES:
                kube.patch(OURS, kind, "behind", namespace, touched)
            moved = [{"name": "books", "uri": "pvc://nowhere/books", "weight": "1"}]
            data: Json = {"spec": {"data": {"sources": moved}}}
            kube.patch(OURS, "TrainingJob", "behind", namespace, data)
            until(
                "the operator asks for what its watches do not show",
                90,
                lambda: proxy.asked >= set(RESOURCES.values()),
            )
    finally:
        operators(kube, 1)
    why = condition(service(kube, namespace, "behind"), "Stalled")
    assert (why["status"], why["reason"]) == ("True", "VolumeMissing")


def there(kube: Kube, namespace: str, name: str) -> bool:
    return kube.get("v1", "PersistentVolumeClaim", name, namespace) is not None


def test_to_make_what_holds_its_owner_up_one_must_be_allowed_to(
    here: Cluster, kube: Kube, namespace: str
) -> None:
    """The server checks this right itself, so its log never names it."""
    kube.apply(a_service("owner", replicas=0, scaling={"mode": "External"}), namespace)
    owner = service(kube, namespace, "owner")
    assert owner is not None
    kubectl = provider(here.provider).kubectl()
    somebody = f"system:serviceaccount:{namespace}:somebody"
    role = f"--namespace={namespace}"
    kubectl("create", "role", "makes", "--verb=create", "--resource=configmaps", role)
    kubectl("create", "rolebinding", "makes", "--role=makes", f"--user={somebody}", role)

    def child(blocks: bool) -> str:
        reference = {
            "apiVersion": OURS,
            "kind": "InferenceService",
            "name": "owner",
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": blocks,
        }
        metadata = {"name": "child", "namespace": namespace, "ownerReferences": [reference]}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        return kubectl(
            "create", "--dry-run=server", f"--as={somebody}", "--filename=-", stdin=dumps(body)
        )

    assert "created" in child(blocks=False)
    with pytest.raises(TroubleError, match="blockOwnerDeletion"):
        child(blocks=True)
    deployment = until(
        "the operator makes a child which holds its owner up",
        60,
        lambda: kube.get("apps/v1", "Deployment", "owner-serve", namespace),
    )
    (reference,) = deployment["metadata"]["ownerReferences"]
    assert reference["blockOwnerDeletion"] is True
    kube.delete(OURS, "InferenceService", "owner", namespace)


@pytest.mark.parametrize("part", PARTS)
def test_each_right_that_is_granted_is_used_and_no_other_is_asked_for(
    here: Cluster, kube: Kube, part: str
) -> None:
    rights = granted(kube, part)
    assert len(rights) >= 4
    unused = rights - used(here, part) - (FINALIZERS if part == "operator" else set())
    print(f"{part}: {len(rights)} rights granted, {len(unused)} unused")
    assert not unused, "granted and never used: " + ", ".join(sorted(map(str, unused)))
    in_vain = forbidden(here, part)
    assert not in_vain, "asked for and not granted: " + ", ".join(sorted(map(str, in_vain)))
