"""What every journey and client starts from: the cluster of build/cluster.json and a namespace."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from e2e import cluster
from e2e.cluster import Cluster
from e2e.clusters.images import reference
from e2e.kube import Json, Kube
from e2e.seed import seed

RWX: Json = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What was granted and never used is known when all else has run."""
    items.sort(key=lambda item: item.path.name == "test_rights.py")


@pytest.fixture(scope="session")
def here() -> Cluster:
    return cluster.read()


@pytest.fixture(scope="session")
def kube(here: Cluster) -> Kube:
    return Kube(here.kubeconfig)


def claim(name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": RWX,
    }


@pytest.fixture(scope="session")
def namespace(kube: Kube) -> Iterator[str]:
    """One namespace for all journeys, with a model and a text to train on; removed at the end."""
    name = f"journey-{uuid4().hex[:6]}"
    kube.namespace(name)
    for one in ("models", "data", "checkpoints"):
        kube.apply(claim(one), name)
    seed(
        kube, name, "seed-minilm", reference("demo-models"), ["minilm", "/target/minilm"], "models"
    )
    seed(kube, name, "seed-books", reference("demo-text"), ["/target/books"], "data")
    yield name
    kube.delete("v1", "Namespace", name)
