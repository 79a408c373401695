"""What is different from cloud to cloud?

One row each: how its spot machines are marked, how long before it takes one it says so, and what the
chart's preset sets there. Placement reads the marks of all rows, because one cluster may carry several
(Karpenter's and its cloud's); ``charts/preamar/values-<name>.yaml`` is made from the rows by
``make crds``.

Sources of the notices: Google, "Spot VMs" (30 s by ACPI signal); AWS, "Spot Instance interruption
notices" (two minutes); Azure, "Scheduled Events" (Preempt: at least 30 s).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Cloud:
    """``spot``: labels of nodes that may be taken at any time. ``spot_taints``: what such nodes may
    be tainted with. ``notice_seconds``: how long before it says so. ``values``: what the preset sets
    beside the notice. ``advice``: lines for whoever reads the preset."""

    name: str
    title: str
    notice_seconds: int
    spot: tuple[tuple[str, str], ...] = ()
    spot_taints: tuple[str, ...] = ()
    values: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    advice: tuple[str, ...] = ()


def _balanced(annotations: Mapping[str, str], storage_class: str) -> Mapping[str, object]:
    """A gateway behind the cloud's own load balancer, inside its network, with a disk of its own."""
    return {
        "gateway": {
            "service": {"type": "LoadBalancer", "annotations": dict(annotations)},
            "persistence": {"storageClass": storage_class},
        }
    }


EKS = Cloud(
    "eks",
    "Amazon EKS",
    notice_seconds=120,
    spot=(("karpenter.sh/capacity-type", "spot"), ("eks.amazonaws.com/capacityType", "SPOT")),
    values=_balanced(
        {
            "service.beta.kubernetes.io/aws-load-balancer-type": "external",
            "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type": "ip",
            "service.beta.kubernetes.io/aws-load-balancer-scheme": "internal",
        },
        "gp3",
    ),
    advice=(
        "GPU pods choose nodes in each resource, for example with Karpenter",
        "  placement: {nodeSelector: {karpenter.k8s.aws/instance-gpu-name: l4}}",
        "Spot: karpenter.sh/capacity-type: spot. Shared volumes: EFS or FSx for Lustre.",
    ),
)
GKE = Cloud(
    "gke",
    "Google Kubernetes Engine",
    notice_seconds=30,
    spot=(("cloud.google.com/gke-spot", "true"),),
    spot_taints=("cloud.google.com/gke-spot",),
    values=_balanced({"networking.gke.io/load-balancer-type": "Internal"}, "premium-rwo"),
    advice=(
        "GPU pods choose nodes in each resource, for example",
        "  placement: {nodeSelector: {cloud.google.com/gke-accelerator: nvidia-l4}}",
        'and are given a toleration by GKE for nvidia.com/gpu. Spot: cloud.google.com/gke-spot: "true".',
        "Shared volumes for models and checkpoints: storage class standard-rwx (Filestore).",
    ),
)
AKS = Cloud(
    "aks",
    "Azure Kubernetes Service",
    notice_seconds=30,
    spot=(("kubernetes.azure.com/scalesetpriority", "spot"),),
    spot_taints=("kubernetes.azure.com/scalesetpriority",),
    values=_balanced(
        {"service.beta.kubernetes.io/azure-load-balancer-internal": "true"}, "managed-csi-premium"
    ),
    advice=(
        "GPU pods choose nodes in each resource, for example",
        "  placement: {nodeSelector: {kubernetes.azure.com/accelerator: nvidia},",
        "              tolerations: [{key: sku, operator: Equal, value: gpu, effect: NoSchedule}]}",
        "Shared volumes for models and checkpoints: storage class azurefile-csi-premium.",
    ),
)
ON_PREMISES = Cloud(
    "onprem",
    "Own machines",
    notice_seconds=30,  # nobody takes machines; who marks some as spot all the same gets the shortest
    values={
        "gateway": {
            "service": {
                "type": "NodePort",
                "nodePorts": {"data": 30080, "admin": 30081, "grpc": 30082},
            }
        },
        "networkPolicy": {"enabled": False},
    },
    advice=(
        "The gateway is reached on every node at 30080 (HTTP) and 30082 (gRPC). GPU pods choose nodes by",
        "the labels of NVIDIA's feature discovery, for example accelerator: {products: [NVIDIA-H100-80GB-HBM3]}.",
    ),
)

CLOUDS: tuple[Cloud, ...] = (EKS, GKE, AKS, ON_PREMISES)
PRODUCT = "nvidia.com/gpu.product"
"""The label by which NVIDIA's feature discovery tells the product, on every cloud alike."""
SHORTEST_NOTICE = min(cloud.notice_seconds for cloud in CLOUDS)
"""Seconds, for installations that do not say where they are."""
SPOT_LABELS = tuple(label for cloud in CLOUDS for label in cloud.spot)
SPOT_TAINTS = tuple(taint for cloud in CLOUDS for taint in cloud.spot_taints)
