"""Data is prepared once before the first attempt, staged on the node, and found by the next job."""

from e2e.journeys.watching import job, moving, pods, stalled, succeeded
from e2e.journeys.wishes import a_job
from e2e.kube import Kube, condition, until

PREPARE = {"target": "pvc://checkpoints/corpora", "workers": 2, "deduplicate": "MinHash"}


def test_ranks_train_on_data_that_two_pods_prepared_and_the_next_job_finds_it(
    kube: Kube, namespace: str
) -> None:
    wish = {"prepare": PREPARE, "stage": "NodeLocal", "stageSize": "1Gi"}
    kube.apply(a_job("first", data=wish), namespace)

    def preparing() -> bool:
        running = condition(job(kube, namespace, "first"), "Running")
        return running.get("reason") == "Preparing" and "pods run" in running["message"]

    until("the data is being prepared", 120, preparing, progress=moving(kube, namespace))
    assert not [
        pod
        for pod in pods(kube, namespace, "trainingjob", "first")
        if "preamar.dev/attempt" in pod["metadata"]["labels"]
    ]
    first = succeeded(kube, namespace, "first", seconds=600)["status"]
    assert first["data"]["kept"] > 0
    assert first["data"]["uri"].startswith("pvc://checkpoints/corpora/")
    assert first["samples"]["consumed"] == 640
    assert float(first["progress"].get("dataWaitRatio", "0")) < 0.5
    made = kube.get("batch/v1", "Job", "first-prepare", namespace)
    assert made is not None
    assert made["status"]["succeeded"] >= 1

    kube.apply(a_job("second", data=wish), namespace)
    second = succeeded(kube, namespace, "second", seconds=600)["status"]
    assert second["data"]["digest"] == first["data"]["digest"]
    assert second["data"]["uri"] == first["data"]["uri"]


def test_text_that_is_not_there_stalls_the_job_before_any_rank_starts(
    kube: Kube, namespace: str
) -> None:
    wish = {
        "prepare": PREPARE,
        "sources": [{"name": "books", "uri": "pvc://data/nowhere", "weight": "1"}],
    }
    kube.apply(a_job("wrong", data=wish), namespace)
    found = stalled(kube, namespace, "TrainingJob", "wrong", seconds=240)
    assert found["reason"] == "DataError"
    assert "does not exist in its volume" in found["message"]
    assert (job(kube, namespace, "wrong") or {})["status"]["attempt"] == 0
