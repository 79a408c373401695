"""The models that all clients call, up for as long as clients call them."""

from collections.abc import Iterator

import pytest

from e2e.clients.models import STORY, WORDS, fill, services
from e2e.cluster import Cluster
from e2e.journeys.watching import moving
from e2e.kube import OURS, Kube, until


@pytest.fixture(scope="session")
def models(
    here: Cluster, kube: Kube, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    fill(kube, here.provider, namespace, tmp_path_factory.mktemp("story"))
    for service in services():
        kube.apply(service, namespace)
    for name in (STORY, WORDS):
        until(
            f"{name} is up",
            180,
            lambda name=name: kube.endpoints(name, namespace) == 1,
            progress=moving(kube, namespace),
        )
    yield
    for name in (STORY, WORDS):
        kube.delete(OURS, "InferenceService", name, namespace)
