"""The programs of a host cluster: who each is, and how it is called."""

from pathlib import Path
from typing import Any

from e2e.clusters import controlplane, pki
from e2e.clusters.controlplane import Plane
from e2e.clusters.onhost.basics import PROVISIONER
from e2e.clusters.onhost.network import Network
from e2e.clusters.places import NAMESPACE, Places
from e2e.clusters.run import call

# Lets a HorizontalPodAutoscaler have minReplicas 0; alpha in this version, so off by default.
ZERO = "--feature-gates=HPAScaleToZero=true"


def identities(places: Places, node: str, kube: Path, net: Network) -> None:
    """Certificates once per set of addresses: the server's name them."""
    stamp = places.pki / "for"
    if stamp.exists() and stamp.read_text() == net.node:
        return
    first = str(net.services.network_address + 1)
    pki.order(
        kube,
        places.pki,
        (
            pki.apiserver(net.node, first),
            pki.ADMIN,
            pki.CONTROLLER_MANAGER,
            pki.SCHEDULER,
            ("kubelet", f"system:node:{node}", ("system:nodes",), (node, net.node)),
            ("kubelet-client", "kube-apiserver-kubelet-client", ("system:masters",), ()),
            ("proxy", "system:kube-proxy", (), ()),
            ("provisioner", PROVISIONER, (), ()),
            ("dns", "system:kube-dns", (), ()),
        ),
    )
    server = f"https://{net.node}:6443"
    for user in (
        "admin",
        "controller-manager",
        "scheduler",
        "kubelet",
        "proxy",
        "provisioner",
        "dns",
    ):
        pki.kubeconfig(places.etc / f"{user}.kubeconfig", server, places.pki, user)
    stamp.write_text(net.node)


def audit_policy() -> dict[str, Any]:
    """What is written down: all that Preamar asks for, and what anybody changes."""
    quiet = [
        {"group": "coordination.k8s.io", "resources": ["leases"]},
        {"group": "", "resources": ["events"]},
    ]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Metadata", "userGroups": [f"system:serviceaccounts:{NAMESPACE}"]},
            {"level": "None", "verbs": ["get", "list", "watch"]},
            {"level": "None", "resources": quiet},
            {"level": "Metadata"},
        ],
    }


def services(places: Places, node: str, kube: Path, net: Network) -> dict[str, list[str]]:
    """The command line of each, in the order they are started."""
    etc = places.etc
    plane = Plane(
        kube, places.pki, places.state / "etcd", net.node, 6443, 2379, 2380, str(net.services)
    )
    server = (
        f"--kubelet-client-certificate={places.pki}/kubelet-client.crt",
        f"--kubelet-client-key={places.pki}/kubelet-client.key",
        f"--kubelet-certificate-authority={places.pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        # The second is on in OpenShift: who makes an object that blocks its owner's deletion must
        # be allowed to hold that owner up.
        "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement",
        ZERO,
        f"--audit-policy-file={etc}/audit.json",
        f"--audit-log-path={places.audit_log}",
        "--audit-log-maxsize=100",
        "--audit-log-maxbackup=3",
    )
    manager = controlplane.controller_manager(
        plane,
        etc / "controller-manager.kubeconfig",
        f"--flex-volume-plugin-dir={places.state}/volume-plugins",
        ZERO,
    )
    program = str(kube)
    return {
        "etcd": controlplane.etcd(plane),
        "apiserver": controlplane.apiserver(plane, *server),
        "controller-manager": manager,
        "scheduler": [
            *(program, "kube-scheduler", f"--kubeconfig={etc}/scheduler.kubeconfig"),
            f"--authentication-kubeconfig={etc}/scheduler.kubeconfig",
            f"--authorization-kubeconfig={etc}/scheduler.kubeconfig",
            *("--bind-address=127.0.0.1", "--leader-elect=false"),
            f"--tls-cert-file={places.pki}/scheduler.crt",
            f"--tls-private-key-file={places.pki}/scheduler.key",
        ],
        "containerd": [found("containerd"), f"--config={etc}/containerd.toml"],
        "kubelet": [
            *(program, "kubelet", f"--config={etc}/kubelet.json"),
            f"--kubeconfig={etc}/kubelet.kubeconfig",
            f"--hostname-override={node}",
            f"--node-ip={net.node}",
        ],
        "kube-proxy": [program, "kube-proxy", f"--config={etc}/kube-proxy.json"],
        "provisioner": [
            *(program, "provisioner", f"--kubeconfig={etc}/provisioner.kubeconfig"),
            *(f"--name={PROVISIONER}", f"--root={places.volumes}", f"--node={node}"),
        ],
    }


def found(command: str) -> str:
    path = call(["sh", "-c", f"command -v {command}"], timeout=10).strip()
    return str(Path(path).resolve())
