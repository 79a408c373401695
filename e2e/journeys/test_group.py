"""A model that two pods compute together answers as one; when a worker dies its group begins anew, and
nobody who asks meanwhile is failed.
"""

import threading
import time

from e2e.cluster import Cluster
from e2e.demo.calls import client
from e2e.journeys.test_wake import cosine
from e2e.journeys.watching import asleep, moving, pods
from e2e.journeys.wishes import a_service
from e2e.kube import OURS, Json, Kube, until

SERVICE, WORKER = "inferenceservice", "works-for"


def grouped(replicas: int) -> Json:
    made = a_service("pair")
    made["spec"] |= {
        "replicas": replicas,
        "parallelism": {"nodes": 2, "pipeline": 2},
        "scaling": {"mode": "External"},
    }
    return made


def whole(kube: Kube, namespace: str, replicas: int) -> bool:
    leaders, workers = (pods(kube, namespace, label, "pair") for label in (SERVICE, WORKER))
    ready = kube.endpoints("pair", namespace) == replicas
    return ready and len(leaders) == len(workers) == replicas and all(map(is_ready, workers))


def is_ready(pod: Json) -> bool:
    told = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in told)


def restarts(kube: Kube, namespace: str) -> dict[str, int]:
    return {
        pod["metadata"]["name"]: sum(
            c["restartCount"] for c in pod["status"].get("containerStatuses") or ()
        )
        for pod in pods(kube, namespace, SERVICE, "pair")
    }


class Callers:
    """Ask all the time, from two threads."""

    def __init__(self, here: Cluster) -> None:
        self.good, self.failed, self.enough = 0, list[str](), threading.Event()
        self._here = here
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with client(self._here) as caller:
            while not self.enough.is_set():
                try:
                    caller.embeddings.create(model="pair", input=["a boat at sea"])
                    self.good += 1
                except Exception as error:  # noqa: BLE001 - each is a failed request
                    self.failed.append(repr(error))
                time.sleep(0.02)

    def stop(self) -> None:
        self.enough.set()
        for thread in self._threads:
            thread.join(60)


def test_groups_answer_restart_together_and_sleep(
    here: Cluster, kube: Kube, namespace: str
) -> None:
    kube.apply(grouped(2), namespace)
    until(
        "both groups are whole",
        240,
        lambda: whole(kube, namespace, 2),
        progress=moving(kube, namespace),
    )
    answer = client(here).embeddings.create(
        model="pair", input=["a boat at sea", "a ship on the ocean", "quarterly tax returns"]
    )
    boat, ship, tax = (one.embedding for one in answer.data)
    assert cosine(boat, ship) > cosine(boat, tax) + 0.2

    before = restarts(kube, namespace)
    callers = Callers(here)
    time.sleep(2)
    victim = pods(kube, namespace, WORKER, "pair")[0]
    kube.delete("v1", "Pod", victim["metadata"]["name"], namespace, grace=0)
    until(
        "one leader began anew",
        60,
        lambda: sum(restarts(kube, namespace).values()) == sum(before.values()) + 1,
    )
    until(
        "both groups are whole again",
        120,
        lambda: whole(kube, namespace, 2),
        progress=moving(kube, namespace),
    )
    time.sleep(2)
    callers.stop()
    assert callers.failed == []
    assert callers.good > 50
    print(f"{callers.good} answers while a worker died, none failed")

    kube.apply(grouped(0), namespace)
    asleep(kube, namespace, "pair")
    until("no worker is left", 60, lambda: not pods(kube, namespace, WORKER, "pair"))
    kube.patch(OURS, "InferenceService", "pair", namespace, {"spec": {"replicas": 1}})
    until(
        "one group is whole",
        180,
        lambda: whole(kube, namespace, 1),
        progress=moving(kube, namespace),
    )
    again = client(here).embeddings.create(model="pair", input=["a boat at sea"])
    assert cosine(again.data[0].embedding, boat) > 0.9999
