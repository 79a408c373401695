"""By which way should the ranks of an attempt talk, and what must their libraries be told?

The way follows from what the pods ask for; the ranks check before their first step that it is the
one they got (``preamar_train.ranks.interconnect``), because NCCL falls back to TCP without a word. A
variable that the user sets himself wins.

Sources of the variables: "Environment Variables" of NCCL's user guide
(https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html) and "torch.distributed",
"Choosing the network interface to use" (https://docs.pytorch.org/docs/stable/distributed.html).
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from preamar.api.interconnect import OnMismatch, Path
from preamar.api.shared import AcceleratorType
from preamar.api.training import TrainingJobSpec
from preamar.core.capacity.hardware import device_of
from preamar.core.metadata import restricted_container
from preamar.core.training.backends.speeds import Way
from preamar.core.training.observe import Observed

INTERFACE = "eth0"
"""The pod's own interface: kubelets have every network plugin call it so."""
LOG = "/tmp/preamar-nccl-%p.log"  # noqa: S108  # a rank reads its own, by its process id
RDMA_NAMES = re.compile(
    r"^rdma/"  # k8s-rdma-shared-dev-plugin, README: rdma/hca_shared_devices_a
    r"|rdma|infiniband|/mlnx|/hca"  # sriov-network-device-plugin: names are the administrator's
    r"|^vpc\.amazonaws\.com/efa$"  # aws-efa-k8s-device-plugin, README
)
EFA = "vpc.amazonaws.com/efa"


ORDER = ("NVLink", "Local", "RDMA", "Unknown", "TCP")
"""The fastest first; the trainer has the same list."""


def way(spec: TrainingJobSpec, workers: int) -> Way:
    """The way on which so many workers are expected to talk."""
    chosen = spec.interconnect.path
    if spec.accelerator.type == AcceleratorType.CPU:
        return Way.TCP if workers * spec.workers.ranks_per_worker > 1 else Way.LOCAL
    if chosen != Path.AUTO:
        return Way(chosen.value)
    if workers == 1:
        known = [device_of(product) for product in spec.accelerator.products]
        several = spec.workers.ranks_per_worker > 1
        linked = bool(known) and all(device and device.link for device in known)
        return Way.NVLINK if several and linked else Way.LOCAL
    return Way.RDMA if rdma_devices(spec) else Way.TCP


def fell_back(observed: Observed) -> str:
    """What to say where the ranks that train found a slower way than expected; else empty."""
    live, before = observed.progress, observed.job.status.interconnect
    if live is not None and live.interconnect is not None:
        expected, used, detail = live.interconnect
    elif before is not None:
        expected, used, detail = before.expected, before.used, before.detail
    else:
        return ""
    if not slower(expected, used):
        return ""
    told = f" ({detail})" if detail else ""
    return f"It trains, but its ranks talk over {used} and not over {expected}{told}."


def slower(expected: str, used: str) -> bool:
    """Whether what is used is a slower way than what was expected."""
    if expected == Way.LOCAL.value:  # one machine, whatever it has
        return False
    if used in ORDER and expected in ORDER:
        return ORDER.index(used) > ORDER.index(expected)
    return used != expected


def security(spec: TrainingJobSpec) -> Mapping[str, Any] | None:
    """The container's security context where the user opted in to locking memory; None elsewhere.

    A capability that is added takes no effect for who is not root (Kubernetes gives none beyond an
    exec, kubernetes/enhancements#2763), so the container is. The namespace must allow that."""
    if not spec.interconnect.lock_memory:
        return None
    return {
        **restricted_container(),
        "capabilities": {"drop": ["ALL"], "add": ["IPC_LOCK"]},
        "runAsNonRoot": False,
        "runAsUser": 0,
    }


def rdma_devices(spec: TrainingJobSpec) -> tuple[str, ...]:
    """The RDMA devices that each pod asks for, by the names of their resources."""
    resources = spec.workers.resources
    names = {**resources.requests, **resources.limits}
    return tuple(sorted(name for name in names if RDMA_NAMES.search(name)))


def variables(spec: TrainingJobSpec, workers: int) -> Mapping[str, str]:
    """What the ranks' environment says about their interconnect, for so many workers."""
    expected = way(spec, workers)
    ours = {"PREAMAR_INTERCONNECT": expected.value}
    if expected == Way.LOCAL:
        return MappingProxyType(ours)
    ours["PREAMAR_INTERCONNECT_MISMATCH"] = spec.interconnect.on_mismatch.value
    # Small words go over gloo on GPUs too.
    ours["GLOO_SOCKET_IFNAME"] = INTERFACE
    if spec.accelerator.type == AcceleratorType.CPU:
        return MappingProxyType(ours)
    # "=" names one interface; without it, eth0 also matches eth01.
    ours["NCCL_SOCKET_IFNAME"] = f"={INTERFACE}"
    # INIT names the network, NET its devices, GRAPH the kind of links within a machine.
    ours |= {
        "NCCL_DEBUG": "INFO",
        "NCCL_DEBUG_SUBSYS": "INIT,NET,GRAPH,P2P,SHM",
        "NCCL_DEBUG_FILE": LOG,
    }
    if expected == Way.TCP:
        ours["NCCL_IB_DISABLE"] = "1"  # what is not asked for is not probed
    if expected == Way.RDMA and spec.interconnect.on_mismatch == OnMismatch.FAIL:
        # NCCL then fails by itself where it would have fallen back. EFA's plugin has its own name.
        ours |= {} if EFA in rdma_devices(spec) else {"NCCL_NET": "IB"}
    return MappingProxyType(ours)
