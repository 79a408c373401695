"""A job changes its size while it trains and goes on from exactly where it was, or not at all."""

from typing import Any

from e2e.cluster import Cluster
from e2e.clusters.choice import provider
from e2e.clusters.images import reference
from e2e.journeys.watching import job, moving, pods, succeeded
from e2e.journeys.wishes import a_job
from e2e.kube import Json, Kube, condition, until

WORKERS = {"replicas": 2, "min": 1, "max": 4}
STEPS = 200


def kubectl(here: Cluster, namespace: str, *words: str) -> None:
    provider(here.provider).kubectl()(*words, f"--namespace={namespace}")


def scale(here: Cluster, namespace: str, name: str, replicas: int) -> None:
    kubectl(here, namespace, "scale", f"tjob/{name}", f"--replicas={replicas}")


def trains(kube: Kube, namespace: str, name: str, workers: int, beyond: int = 0) -> Json:
    """Wait until so many workers have saved a checkpoint of their own beyond a step."""

    def look() -> Json | None:
        status = (job(kube, namespace, name) or {}).get("status") or {}
        saved = status.get("checkpoint") or {}
        mine = saved.get("worldSize") == workers and saved.get("step", 0) > beyond
        return status if mine and status.get("workers") == workers else None

    return until(
        f"{name} trains with {workers}", 180, look, every=0.5, progress=moving(kube, namespace)
    )


def test_a_job_resized_by_kubectl_with_a_rank_killed_between_takes_every_sample_once(
    kube: Kube, here: Cluster, namespace: str
) -> None:
    kube.apply(a_job("resized", steps=STEPS, workers=WORKERS), namespace)
    trains(kube, namespace, "resized", 2)
    scale(here, namespace, "resized", 1)
    one = trains(kube, namespace, "resized", 1)
    scale(here, namespace, "resized", 2)
    two = trains(kube, namespace, "resized", 2, beyond=one["checkpoint"]["step"])
    victim = next(
        pod["metadata"]["name"]
        for pod in pods(kube, namespace, "trainingjob", "resized")
        if pod["status"]["phase"] == "Running"
        and pod["metadata"]["labels"].get("batch.kubernetes.io/job-completion-index") == "1"
    )
    kubectl(here, namespace, "delete", "pod", victim, "--grace-period=0", "--force")
    trains(kube, namespace, "resized", 2, beyond=two["checkpoint"]["step"])
    scale(here, namespace, "resized", 4)

    done = succeeded(kube, namespace, "resized")
    status = done["status"]
    sizes = [(each["from"], each["to"], each["outcome"]) for each in status["resizes"]]
    assert sizes == [(2, 4, "Verified"), (1, 2, "Verified"), (2, 1, "Verified")]
    for each in status["resizes"]:
        assert float(each["pauseSeconds"]) > 0
        assert abs(float(each["lossDelta"])) <= 1e-5
    verified = condition(done, "ContinuityVerified")
    assert (verified["status"], verified["reason"]) == ("True", "Verified")
    assert status["samples"] == {"consumed": STEPS * 16, "skipped": 0, "duplicated": 0}
    assert status["attempt"] == 5  # at 2, at 1, at 2, again after the kill, at 4
    assert status["restarts"] == 0  # neither a resize counts, nor a pod that was deleted
    made = kube.get("batch/v1", "Job", "resized-5-convert", namespace)
    assert made is not None
    assert made["status"]["succeeded"] == 1


def a_meddler(name: str) -> Json:
    """A pod that spoils the first conversion beside a job's checkpoints, as soon as there is one."""
    spoil = (
        f"while true; do for f in /mnt/{name}/step-*.universal/zero/*/fp32.pt; do "
        'if [ -f "$f" ]; then printf spoilt | dd of="$f" bs=1 seek=900 conv=notrunc; exit; fi; '
        "done; sleep 0.05; done"
    )
    container: dict[str, Any] = {
        "name": "meddler",
        "image": reference("demo-text"),
        "command": ["sh", "-c", spoil],
        "volumeMounts": [{"name": "c", "mountPath": "/mnt"}, {"name": "t", "mountPath": "/tmp"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"meddler-{name}"},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": 1000, "runAsNonRoot": True},
            "containers": [container],
            "volumes": [
                {"name": "c", "persistentVolumeClaim": {"claimName": "checkpoints"}},
                {"name": "t", "emptyDir": {}},
            ],
        },
    }


def test_a_conversion_that_was_damaged_is_found_and_the_job_goes_on_at_the_size_before(
    kube: Kube, here: Cluster, namespace: str
) -> None:
    kube.apply(a_job("spoilt", steps=STEPS, workers=WORKERS), namespace)
    kube.apply(a_meddler("spoilt"), namespace)
    before = trains(kube, namespace, "spoilt", 2)
    scale(here, namespace, "spoilt", 1)

    def rolled_back() -> Json | None:
        found = condition(job(kube, namespace, "spoilt"), "ContinuityVerified")
        return found if found.get("status") == "False" else None

    told = until("the resize is rolled back", 120, rolled_back, progress=moving(kube, namespace))
    assert told["reason"] == "ContinuityBroken"
    assert "is damaged" in told["message"]
    trains(kube, namespace, "spoilt", 2, beyond=before["checkpoint"]["step"])
    found = job(kube, namespace, "spoilt")
    assert found is not None
    running = condition(found, "Running")
    assert (running["status"], running["reason"]) == ("True", "KeepsItsSize")
    (entry,) = found["status"]["resizes"]
    assert (entry["from"], entry["to"], entry["outcome"]) == (2, 1, "RolledBack")
    assert (found["status"]["attempt"], found["status"]["restarts"]) == (3, 0)

    done = succeeded(kube, namespace, "spoilt")["status"]
    assert done["attempt"] == 3
    assert done["samples"] == {"consumed": STEPS * 16, "skipped": 0, "duplicated": 0}
