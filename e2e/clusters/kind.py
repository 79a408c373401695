"""A cluster by kind, where Docker or Podman answers.

The gateway's node ports are mapped to loopback ports that follow from the clone's id, so two clones do
not meet. kind's own storage offers ReadWriteOnce alone; it is given one shared path, which on its one
node is enough for ReadWriteMany.
"""

import json
import os
import shutil
from typing import Any

from e2e.clusters import images
from e2e.clusters.kubectl import Kubectl
from e2e.clusters.places import CACHE, ROOT
from e2e.clusters.port import Endpoints
from e2e.clusters.run import call
from e2e.clusters.say import TroubleError, step

NODE_PORTS = {"data": 30080, "admin": 30081, "grpc": 30082}
FIRST_PORT = 20000
SHARED = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "local-path-config", "namespace": "local-path-storage"},
    "data": {"config.json": json.dumps({"sharedFileSystemPath": "/var/local-path-provisioner"})},
}


def ports(name: str) -> dict[str, int]:
    """Loopback ports of an instance; three in a row, from 20000 to 31999."""
    first = FIRST_PORT + int(name, 16) % 4000 * 3
    return {kind: first + offset for offset, kind in enumerate(NODE_PORTS)}


def config(name: str) -> dict[str, Any]:
    mappings = [
        {"containerPort": NODE_PORTS[kind], "hostPort": port, "listenAddress": "127.0.0.1"}
        for kind, port in ports(name).items()
    ]
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "featureGates": {"HPAScaleToZero": True},
        "nodes": [{"role": "control-plane", "extraPortMappings": mappings}],
    }


class Kind:
    """The provider ``kind``."""

    name = "kind"

    def __init__(self, name: str, engine: str) -> None:
        self.engine = engine
        self.id = name
        self.cluster = f"preamar-{name}"
        self.kubeconfig = ROOT / "build/kind.kubeconfig"
        self.secrets = ROOT / "build/secrets"
        self.audit_log = None
        self.env = {"KIND_EXPERIMENTAL_PROVIDER": engine}

    def check(self) -> None:
        for command, where in (
            ("kind", "https://kind.sigs.k8s.io"),
            ("kubectl", "https://kubernetes.io"),
        ):
            if not shutil.which(command):
                raise TroubleError(f"{command} was not found: install it from {where}.")
        call([self.engine, "info"], timeout=30, hint=f"Start {self.engine} first.")

    def running(self) -> bool:
        return self.cluster in call(["kind", "get", "clusters"], timeout=60, env=self.env).split()

    def start(self) -> None:
        if not self.running():
            file = ROOT / "build/kind.json"
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(config(self.id), indent=2))
            with step(f"creating the kind cluster {self.cluster}"):
                call(
                    [*("kind", "create", "cluster", "--name", self.cluster, "--config", file),
                     *("--kubeconfig", self.kubeconfig, "--wait", "180s")],
                    timeout=600, env=self.env, log=CACHE / "logs/kind.log",
                )  # fmt: skip
        call(["kind", "export", "kubeconfig", "--name", self.cluster, "--kubeconfig", self.kubeconfig],
             timeout=60, env=self.env)  # fmt: skip
        kubectl = self.kubectl()
        kubectl.apply([SHARED])
        kubectl(
            "rollout",
            "restart",
            "deployment/local-path-provisioner",
            "--namespace=local-path-storage",
        )

    def kubectl(self) -> Kubectl:
        return Kubectl(("kubectl",), self.kubeconfig)

    def load(self, reference: str) -> None:
        build(self.engine, reference)
        with step(f"loading {reference}"):
            call(
                ["kind", "load", "docker-image", reference, "--name", self.cluster],
                timeout=900,
                env=self.env,
            )

    def values(self) -> dict[str, Any]:
        return {"gateway": {"service": {"type": "NodePort", "nodePorts": NODE_PORTS}}}

    def endpoints(self) -> Endpoints:
        mine = ports(self.id)
        return Endpoints(
            f"http://127.0.0.1:{mine['data']}",
            f"127.0.0.1:{mine['grpc']}",
            f"http://127.0.0.1:{mine['admin']}",
        )

    def dns(self) -> None:
        """kind brings its own."""

    def stop(self) -> None:
        call(["kind", "delete", "cluster", "--name", self.cluster], timeout=300, env=self.env)
        for path in (self.kubeconfig, ROOT / "build/kind.json"):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.secrets, ignore_errors=True)


def build(engine: str, reference: str) -> None:
    """Build an image with the engine; its layers make the second time quick."""
    short = reference.rpartition("/")[2].partition(":")[0]
    image = images.IMAGES[short]
    with step(f"building image {short} with {engine}"):
        call(
            [*(engine, "build", "--tag", reference, "--file", str(ROOT / image.dockerfile)), str(ROOT / image.context)],
            timeout=3600, log=CACHE / f"logs/image-{short}.log", env={"DOCKER_BUILDKIT": "1", **dict(os.environ)},
        )  # fmt: skip
