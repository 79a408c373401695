"""The release tests itself: `helm test`, by the real Helm, asks the gateway from inside the cluster."""

from pathlib import Path

from e2e.cluster import Cluster
from e2e.clusters import helm
from e2e.journeys.audit import SYSTEM
from e2e.kube import Kube


def test_helm_test_finds_the_gateway_up_and_asking_for_a_key(here: Cluster, kube: Kube) -> None:
    said = helm.tested(Path(here.kubeconfig))
    assert "the gateway is up" in said
    assert "it asks for a key" in said
    left = kube.list("v1", "Pod", SYSTEM, "app.kubernetes.io/component=test")
    assert not left, "a test that passed leaves its pod behind"
