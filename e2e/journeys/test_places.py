"""A place is taken from a running job: it trains on with what is left, and grows again when one is
back; no sample is lost or repeated on the way.

Places are counted by an extended resource of this journey's own, on the nodes of the cluster.
"""

from collections.abc import Iterator

import pytest

from e2e.journeys.watching import job, moving, pods, succeeded
from e2e.journeys.wishes import a_job
from e2e.kube import Json, Kube, condition, until

PLACE = "journey.preamar.dev/place"
STEPS = 500


@pytest.fixture
def places(kube: Kube) -> Iterator["Places"]:
    found = Places(kube)
    found.are(2)
    yield found
    found.are(None)


class Places:
    def __init__(self, kube: Kube) -> None:
        self.kube = kube
        self.node = min(n["metadata"]["name"] for n in kube.list("v1", "Node", None))

    def are(self, number: int | None) -> None:
        told = {PLACE: None if number is None else str(number)}
        status = {"status": {"capacity": told, "allocatable": told}}
        self.kube.patch_status("v1", "Node", self.node, None, status)


def test_a_job_shrinks_to_the_places_that_are_left_and_grows_when_they_are_back(
    kube: Kube, namespace: str, places: Places
) -> None:
    workers = {"replicas": 2, "resources": {"limits": {PLACE: "1"}}}
    kube.apply(a_job("tide", steps=STEPS, workers=workers), namespace)

    def status() -> Json:
        return dict((job(kube, namespace, "tide") or {}).get("status") or {})

    def trains_with(workers: int) -> bool:
        told = status()
        step = (told.get("progress") or {}).get("step") or 0
        running = condition(job(kube, namespace, "tide"), "Running")
        return told.get("workers") == workers and running.get("status") == "True" and step > 0

    def saved() -> bool:
        return (status().get("checkpoint") or {}).get("step", 0) >= 20

    until("a checkpoint is written by two", 240, saved, progress=moving(kube, namespace))
    places.are(1)
    taken = pods(kube, namespace, "trainingjob", "tide")[-1]["metadata"]["name"]
    kube.delete("v1", "Pod", taken, namespace)
    until(
        "it trains on with one",
        240,
        lambda: trains_with(1) and _reason(kube, namespace) == "FewerPlaces",
        progress=moving(kube, namespace),
    )
    said = condition(job(kube, namespace, "tide"), "Running")["message"]
    assert "1 of 2 workers" in said
    assert f"Insufficient {PLACE}" in said

    def scouts() -> list[Json]:
        found = pods(kube, namespace, "trainingjob", "tide")
        return [p for p in found if "preamar.dev/scout" in p["metadata"]["labels"]]

    (scout,) = until("a place is looked for", 180, scouts, progress=moving(kube, namespace))
    assert scout["status"]["phase"] == "Pending"  # it holds nothing
    places.are(2)
    until(
        "it trains with two again",
        180,
        lambda: trains_with(2) and not scouts(),
        progress=moving(kube, namespace),
    )

    ended = succeeded(kube, namespace, "tide", 600)["status"]
    samples = ended["samples"]
    assert (samples["consumed"], samples["skipped"], samples["duplicated"]) == (STEPS * 16, 0, 0)
    told = [(r["from"], r["to"], r["reason"], r["outcome"]) for r in ended["resizes"]]
    assert told == [(1, 2, "PlacesFound", "Verified"), (2, 1, "PlacesLost", "Verified")]
    assert ended["restarts"] == 0
    assert not [p for p in scouts() if p["status"]["phase"] in ("Pending", "Running")]


def _reason(kube: Kube, namespace: str) -> str:
    return str(condition(job(kube, namespace, "tide"), "Running").get("reason"))
