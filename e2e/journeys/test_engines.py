"""Engines are built on nodes of the product that they are for. Nodes without a GPU show how far that goes
here: the Job finds its node, and says what its image lacks.

The accelerator is an extended resource of this journey's own, on a node of the cluster.
"""

from collections.abc import Iterator

import pytest

from e2e.conftest import claim
from e2e.journeys.watching import moving, pods, service, stalled
from e2e.journeys.wishes import a_service
from e2e.kube import OURS, Json, Kube, condition, until

GPU, PRODUCT = "journey.preamar.dev/gpu", "nvidia.com/gpu.product"


@pytest.fixture
def node(kube: Kube) -> Iterator["Node"]:
    found = Node(kube)
    found.has("1")
    yield found
    found.has(None)
    found.is_a(None)


class Node:
    def __init__(self, kube: Kube) -> None:
        self.kube = kube
        self.name = min(n["metadata"]["name"] for n in kube.list("v1", "Node", None))

    def has(self, accelerators: str | None) -> None:
        told = {GPU: accelerators}
        status = {"status": {"capacity": told, "allocatable": told}}
        self.kube.patch_status("v1", "Node", self.name, None, status)

    def is_a(self, product: str | None) -> None:
        body = {"metadata": {"labels": {PRODUCT: product}}}
        self.kube.patch("v1", "Node", self.name, None, body)


def _image(kube: Kube) -> str:
    """That of the installation's model servers for CPUs, which has no TensorRT."""
    operators = kube.list("apps/v1", "Deployment", "preamar-system")
    containers = (c for d in operators for c in d["spec"]["template"]["spec"]["containers"])
    variables = (v for c in containers for v in c.get("env", ()))
    return str(next(v["value"] for v in variables if v["name"] == "PREAMAR_TRITON_IMAGE"))


def test_an_engine_is_built_where_its_product_is_and_refused_by_an_image_without_tensorrt(
    kube: Kube, namespace: str, node: Node
) -> None:
    kube.apply(claim("preamar-models"), namespace)
    gpu = {"type": "GPU", "resourceName": GPU, "products": ["Journey-GPU"]}
    wish = a_service(
        "swift",
        accelerator=gpu,
        optimize={"engine": "TensorRT", "precision": "FP16"},
        runtime={"image": _image(kube)},
    )
    kube.apply(wish, namespace)

    def waits() -> Json | None:
        told = condition(service(kube, namespace, "swift"), "Optimized")
        return told if "waits for a node" in told.get("message", "") else None

    told = until("it says that there is no such node", 120, waits, progress=moving(kube, namespace))
    assert told["message"].startswith("The Job for Journey-GPU waits for a node: 0/")
    made = kube.list("batch/v1", "Job", namespace)
    (job,) = (j for j in made if "-optimize-" in j["metadata"]["name"])
    assert job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"][GPU] == "1"

    node.is_a("Journey-GPU")
    why = stalled(kube, namespace, "InferenceService", "swift", 180)
    assert why["reason"] == "OptimizationUnsupported"
    assert why["message"].startswith("For Journey-GPU: This image has no TensorRT")
    assert pods(kube, namespace, "inferenceservice", "swift") == []
    kube.delete(OURS, "InferenceService", "swift", namespace)
