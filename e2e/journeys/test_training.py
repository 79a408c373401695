"""Training ends well, also when a rank is killed: the gang restarts from its last checkpoint."""

import pytest

from e2e.journeys.watching import job, moving, pods, succeeded
from e2e.journeys.wishes import a_job
from e2e.kube import OURS, Json, Kube, until


def test_a_job_trains_on_two_ranks_to_the_end(kube: Kube, namespace: str) -> None:
    kube.apply(a_job("plain"), namespace)
    done = succeeded(kube, namespace, "plain")["status"]
    assert done["attempt"] == 1
    assert done["worldSize"] == 2
    assert done["progress"]["step"] == 40
    assert done["samples"]["consumed"] == 640
    assert done["checkpoint"]["verified"] is True
    assert float(done["evaluation"]["loss"]) > 0
    row = kube.row(OURS, "TrainingJob", "plain", namespace)
    assert (row["Succeeded"], row["Reason"]) == ("True", "Done")


def test_a_killed_rank_restarts_the_gang_from_the_last_checkpoint(
    kube: Kube, namespace: str
) -> None:
    kube.apply(a_job("killed", steps=80), namespace)

    def past_a_checkpoint() -> Json | None:
        status = (job(kube, namespace, "killed") or {}).get("status") or {}
        return status if (status.get("checkpoint") or {}).get("step", 0) >= 10 else None

    before = until(
        "a checkpoint is written",
        300,
        past_a_checkpoint,
        every=1.0,
        progress=moving(kube, namespace),
    )
    assert before["attempt"] == 1
    victim = next(
        pod["metadata"]["name"]
        for pod in pods(kube, namespace, "trainingjob", "killed")
        if pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "1"
    )
    kube.delete("v1", "Pod", victim, namespace)

    done = succeeded(kube, namespace, "killed")["status"]
    assert done["attempt"] == 2
    assert done["progress"]["step"] == 80
    assert done["samples"]["consumed"] == 1280
    alive = [
        pod
        for pod in pods(kube, namespace, "trainingjob", "killed")
        if pod["status"]["phase"] in ("Pending", "Running")
    ]
    assert not alive


SPLITS = {
    "experts": {"model": {"preset": "moe-tiny"}, "parallelism": {"expert": 2, "zeroStage": 1}},
    "stages": {"parallelism": {"pipeline": 2, "zeroStage": 1}},
    "slices": {"parallelism": {"tensor": 2, "zeroStage": 1}},
}


@pytest.mark.parametrize("name", SPLITS)
def test_a_model_that_is_split_over_two_pods_trains_to_the_end(
    name: str, kube: Kube, namespace: str
) -> None:
    kube.apply(a_job(name, steps=12, **SPLITS[name]), namespace)
    status = succeeded(kube, namespace, name)["status"]
    samples = status["samples"]
    assert (samples["consumed"], samples["skipped"], samples["duplicated"]) == (12 * 16, 0, 0)
    assert status["attempt"] == 1
    assert 0 < float(status["evaluation"]["loss"]) < 8
