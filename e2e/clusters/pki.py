"""Who is who in a cluster: certificates from our own authority and the kubeconfigs that use them."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path

from e2e.clusters.run import call

Order = tuple[str, str, tuple[str, ...], tuple[str, ...]]  # name, common name, groups, hosts

ADMIN: Order = ("admin", "preamar-admin", ("system:masters",), ())
CONTROLLER_MANAGER: Order = (
    "controller-manager", "system:kube-controller-manager", (), ("127.0.0.1", "localhost"),
)  # fmt: skip
SCHEDULER: Order = ("scheduler", "system:kube-scheduler", (), ("127.0.0.1", "localhost"))
TOKENS = "service-account"


def apiserver(*hosts: str) -> Order:
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1")
    return ("apiserver", "kube-apiserver", (), (*names, *hosts))


def order(kube: Path, directory: Path, wanted: Iterable[Order]) -> None:
    """Make an authority and all certificates in one call, with the key that signs tokens."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    asked = {
        "directory": str(directory),
        "certificates": [
            {"name": name, "commonName": common, "organization": groups, "hosts": hosts}
            for name, common, groups, hosts in wanted
        ],
        "keys": [TOKENS],
    }
    call([kube, "certificates"], timeout=60, stdin=json.dumps(asked))


def kubeconfig(path: Path, server: str, pki: Path, user: str) -> Path:
    """A kubeconfig with everything in it, so that it can be copied; readable by its owner alone."""

    def data(name: str) -> str:
        return base64.b64encode((pki / name).read_bytes()).decode()

    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "preamar",
                "cluster": {"server": server, "certificate-authority-data": data("ca.crt")},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": data(f"{user}.crt"),
                    "client-key-data": data(f"{user}.key"),
                },
            }
        ],
        "contexts": [{"name": "preamar", "context": {"cluster": "preamar", "user": user}}],
        "current-context": "preamar",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=2))  # JSON is YAML
    return path
