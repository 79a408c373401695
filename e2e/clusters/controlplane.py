"""The command lines of etcd and the control plane, wherever they run.

etcd does not wait for the disk: a cluster of this kind is thrown away, and a machine that loses power
may need `make down` and `make up`. Killing the processes loses nothing.
"""

from dataclasses import dataclass
from pathlib import Path

from e2e.clusters.pki import TOKENS


@dataclass(frozen=True, slots=True)
class Plane:
    """Where the parts of one control plane listen and keep their files."""

    kube: Path
    pki: Path
    data: Path
    address: str
    port: int
    etcd: int
    etcd_peer: int
    services: str = "10.0.0.0/24"

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.port}"


def etcd(plane: Plane) -> list[str]:
    client = f"http://127.0.0.1:{plane.etcd}"
    peer = f"http://127.0.0.1:{plane.etcd_peer}"
    return [
        str(plane.kube),
        "etcd",
        "--name=only",
        f"--data-dir={plane.data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=only={peer}",
        "--unsafe-no-fsync",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=15m",
        "--log-level=warn",
    ]


def apiserver(plane: Plane, *extra: str) -> list[str]:
    pki = plane.pki
    return [
        str(plane.kube),
        "kube-apiserver",
        f"--bind-address={plane.address}",
        f"--advertise-address={plane.address}",
        f"--secure-port={plane.port}",
        f"--etcd-servers=http://127.0.0.1:{plane.etcd}",
        f"--service-cluster-ip-range={plane.services}",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki}/{TOKENS}.pub",
        f"--service-account-signing-key-file={pki}/{TOKENS}.key",
        "--shutdown-delay-duration=0s",
        *extra,
    ]


def controller_manager(plane: Plane, kubeconfig: Path, *extra: str) -> list[str]:
    pki = plane.pki
    return [
        str(plane.kube),
        "kube-controller-manager",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--tls-cert-file={pki}/controller-manager.crt",
        f"--tls-private-key-file={pki}/controller-manager.key",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={pki}/{TOKENS}.key",
        f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        *extra,
    ]
