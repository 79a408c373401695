"""Who sizes a service is the user's choice: a stock HPA, `kubectl scale` or Preamar, zero included.

Size has one truth, ``spec.replicas``: changing the mode moves nothing, and outside mode Managed the
operator never writes it. A request to a service that sleeps waits until whoever sizes it acts.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import pytest

from e2e.cluster import Cluster
from e2e.clusters.choice import provider
from e2e.demo.calls import Count, client, load
from e2e.journeys.audit import account, read
from e2e.journeys.demand_metric import registered
from e2e.journeys.watching import asleep, moving, pods, service
from e2e.journeys.wishes import a_service, an_hpa
from e2e.kube import OURS, Json, Kube, condition, until

EXTERNAL = {"mode": "External"}
HPA = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
OPERATOR = account("operator")
STILL_SECONDS = 10.0


def size(kube: Kube, namespace: str, name: str) -> int:
    found = service(kube, namespace, name)
    assert found is not None
    return int(found["spec"]["replicas"])


def sized_by(here: Cluster, namespace: str, name: str) -> Counter[str]:
    """Who wrote the size of a service, and how often, from the API server's log. (A custom
    resource's managedFields do not say who used /scale.)"""
    return Counter(
        one.user
        for one in read(here)
        if one.resource in {"inferenceservices", "inferenceservices/scale"}
        and (one.user == account("operator") or one.resource.endswith("/scale"))
        and one.verb in {"create", "update", "patch"}
        and one.code == 200
        and (one.namespace, one.name) == (namespace, name)
    )


def scale(here: Cluster, namespace: str, name: str, replicas: int) -> None:
    provider(here.provider).kubectl()(
        "scale", f"infsvc/{name}", f"--replicas={replicas}", f"--namespace={namespace}"
    )


def set_scaling(kube: Kube, namespace: str, name: str, scaling: Json) -> None:
    kube.patch(OURS, "InferenceService", name, namespace, {"spec": {"scaling": scaling}})


def settled(kube: Kube, namespace: str, name: str, replicas: int, seconds: float = 180) -> None:
    def look() -> bool:
        found = service(kube, namespace, name)
        return (
            kube.endpoints(name, namespace) == replicas
            and condition(found, "Scaled").get("status") == "True"
            and found is not None
            and found["status"]["observedGeneration"] == found["metadata"]["generation"]
        )

    until(f"{name} has {replicas} replicas", seconds, look, progress=moving(kube, namespace))


def remains(what: str, seconds: float, true: Callable[[], bool]) -> None:
    """Fails as soon as something is no longer true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert true(), what
        time.sleep(0.5)


def names_of(kube: Kube, namespace: str, name: str) -> set[str]:
    return {pod["metadata"]["name"] for pod in pods(kube, namespace, "inferenceservice", name)}


@pytest.fixture(scope="module", autouse=True)
def log(here: Cluster) -> None:
    if not here.audit_log:
        pytest.skip(
            f"provider {here.provider}: the API server's log, which says who sized, is not readable"
        )


@pytest.fixture(scope="module")
def metric(
    here: Cluster, kube: Kube, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    directory: Path = tmp_path_factory.mktemp("metric")
    with registered(here, kube, namespace, directory):
        yield


class Load:
    """Callers in a thread of their own, until the block ends."""

    def __init__(self, here: Cluster, model: str, callers: int) -> None:
        self._told = (here, model, callers)
        self._enough = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.count = Count()

    def _run(self) -> None:
        here, model, callers = self._told
        self.count = self._loop.run_until_complete(load(here, model, callers, self._enough))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._enough.set)
        self._thread.join(200)
        assert not self._thread.is_alive(), "callers did not end"
        self._loop.close()


def test_a_stock_hpa_follows_the_load_sleeps_and_wakes(
    here: Cluster, kube: Kube, namespace: str, metric: None
) -> None:
    kube.apply(a_service("hpa", scaling=EXTERNAL), namespace)
    settled(kube, namespace, "hpa", 1)
    kube.apply(an_hpa("hpa", "hpa"), namespace)
    with Load(here, "hpa", 12) as busy:
        until(
            "the HPA asks for two",
            120,
            lambda: size(kube, namespace, "hpa") == 2,
            progress=moving(kube, namespace),
        )
        settled(kube, namespace, "hpa", 2)
    assert not busy.count.failed, dict(busy.count.errors)
    assert busy.count.answered > 50

    until(
        "the HPA asks for none",
        180,
        lambda: size(kube, namespace, "hpa") == 0,
        progress=moving(kube, namespace),
    )
    asleep(kube, namespace, "hpa")

    began = time.monotonic()
    answer = client(here).embeddings.create(model="hpa", input="good morning")
    print(f"a request to a sleeping service waited {time.monotonic() - began:.1f} s for the HPA")
    assert answer.data
    assert size(kube, namespace, "hpa") >= 1

    wrote = sized_by(here, namespace, "hpa")
    assert set(wrote) == {HPA}
    # Up to two, to none, up again: on the way up it may stop at two sizes.
    assert 3 <= wrote[HPA] <= 6, wrote
    kube.delete("autoscaling/v2", "HorizontalPodAutoscaler", "hpa", namespace)
    kube.delete(OURS, "InferenceService", "hpa", namespace)


def test_kubectl_scale_is_followed_to_two_and_to_zero_and_nobody_else_wakes_it(
    here: Cluster, kube: Kube, namespace: str
) -> None:
    kube.apply(a_service("byhand", scaling=EXTERNAL), namespace)
    settled(kube, namespace, "byhand", 1)
    scale(here, namespace, "byhand", 2)
    settled(kube, namespace, "byhand", 2)
    scale(here, namespace, "byhand", 0)
    asleep(kube, namespace, "byhand")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client(here).embeddings.create, model="byhand", input="anybody?")
        remains(
            "the operator wakes what others size",
            STILL_SECONDS,
            lambda: size(kube, namespace, "byhand") == 0,
        )
        assert not waiting.done(), waiting.result()
        scale(here, namespace, "byhand", 1)
        assert waiting.result(120).data

    wrote = sized_by(here, namespace, "byhand")
    assert OPERATOR not in wrote, wrote
    assert sum(wrote.values()) == 3
    kube.delete(OURS, "InferenceService", "byhand", namespace)


def test_changing_who_sizes_a_service_moves_nothing(
    here: Cluster, kube: Kube, namespace: str
) -> None:
    kube.apply(a_service("modes", scaling={"mode": "Managed", "min": 2, "max": 3}), namespace)
    settled(kube, namespace, "modes", 2)
    before = names_of(kube, namespace, "modes")

    def same() -> bool:
        return size(kube, namespace, "modes") == 2 and names_of(kube, namespace, "modes") == before

    written = sized_by(here, namespace, "modes")[OPERATOR]
    assert written >= 1  # from the one that a service begins with to two
    for mode in ("External", "Fixed", "External"):
        # Bounds that the size is outside of: they bind mode Managed alone.
        set_scaling(kube, namespace, "modes", {"mode": mode, "min": 0, "max": 1})
        remains(f"a change to {mode} moves a replica", STILL_SECONDS, same)
    assert sized_by(here, namespace, "modes")[OPERATOR] == written

    # Managed goes on from the size it finds: nothing asks for two, so it cools down before it goes.
    set_scaling(kube, namespace, "modes", {"mode": "Managed", "min": 0, "max": 3})
    remains("a change to Managed moves a replica", STILL_SECONDS, same)
    until(
        "Managed then shrinks it",
        120,
        lambda: size(kube, namespace, "modes") < 2,
        progress=moving(kube, namespace),
    )
    assert sized_by(here, namespace, "modes")[OPERATOR] > written
    assert set(sized_by(here, namespace, "modes")) == {OPERATOR}
    kube.delete(OURS, "InferenceService", "modes", namespace)


def test_an_hpa_and_edits_at_once_do_not_make_it_flap(
    here: Cluster, kube: Kube, namespace: str, metric: None
) -> None:
    wish = a_service("edited", scaling=EXTERNAL)
    kube.apply(wish, namespace)
    settled(kube, namespace, "edited", 1)
    # A stock HPA looks at one moment every 15 s; the window evens out what it happens to see.
    kube.apply(an_hpa("edited", "edited", least=1, calm=60), namespace)
    sizes: list[int] = []
    with Load(here, "edited", 12) as busy:
        until(
            "the HPA asks for two",
            120,
            lambda: size(kube, namespace, "edited") == 2,
            progress=moving(kube, namespace),
        )
        for number in range(20):
            match number % 4:
                case 0:  # applied again as it was written, which never names a size
                    kube.apply(wish, namespace)
                case 1:
                    set_scaling(kube, namespace, "edited", {"idleSeconds": 60 + number})
                case 2:
                    set_scaling(kube, namespace, "edited", {"min": number % 3, "max": 3})
                case _:
                    hold = {"spec": {"hold": {"maxRequests": 200 + number}}}
                    kube.patch(OURS, "InferenceService", "edited", namespace, hold)
            sizes.append(size(kube, namespace, "edited"))
            time.sleep(1.0)
    assert set(sizes) == {2}, sizes
    assert not busy.count.failed, dict(busy.count.errors)
    settled(kube, namespace, "edited", 1)
    wrote = sized_by(here, namespace, "edited")
    assert set(wrote) == {HPA}
    assert wrote[HPA] <= 4, wrote
    kube.delete("autoscaling/v2", "HorizontalPodAutoscaler", "edited", namespace)
    kube.delete(OURS, "InferenceService", "edited", namespace)
