"""The cluster of the current kube context, which is somebody's.

Only a release is installed and only that is removed. Images go to the registry that PREAMAR_REGISTRY
names. The gateway is reached through kubectl port-forward on loopback, kept running until `down`.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from e2e.clusters import helm
from e2e.clusters.bare import free_ports
from e2e.clusters.container_engine import engine
from e2e.clusters.kind import build
from e2e.clusters.kubectl import Kubectl
from e2e.clusters.places import CACHE, NAMESPACE, ROOT
from e2e.clusters.port import Endpoints
from e2e.clusters.run import call
from e2e.clusters.say import TroubleError, say, step

RECORD = ROOT / "build/current.json"
FORWARDED = {
    "data": ("preamar-gateway", 8080),
    "grpc": ("preamar-gateway", 8082),
    "admin": ("preamar-gateway-admin", 8081),
}


class Current:
    """The provider ``current``."""

    name = "current"

    def __init__(self) -> None:
        first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
        self.kubeconfig = Path(first) if first else Path.home() / ".kube/config"
        self.secrets = ROOT / "build/secrets"
        self.audit_log = None

    def check(self) -> None:
        if not shutil.which("kubectl"):
            raise TroubleError("kubectl was not found: install it from https://kubernetes.io.")
        if not os.environ.get("PREAMAR_REGISTRY"):
            raise TroubleError(
                "PREAMAR_CLUSTER=current needs PREAMAR_REGISTRY: a registry that you may push to and "
                "the cluster may pull from, such as registry.example.com/team."
            )
        if engine() is None:
            raise TroubleError(
                "No container engine answers to build images with: start Docker or Podman."
            )
        context = self.kubectl()("config", "current-context").strip()
        say(f"using the kube context {context}")

    def running(self) -> bool:
        try:
            return bool(self.kubectl()("get", "nodes", "--output=name").strip())
        except TroubleError:
            return False

    def start(self) -> None:
        if not self.running():
            raise TroubleError(
                "The cluster of the current kube context does not answer: choose another context."
            )

    def kubectl(self) -> Kubectl:
        return Kubectl(("kubectl",), self.kubeconfig)

    def load(self, reference: str) -> None:
        command = engine() or "docker"
        build(command, reference)
        with step(f"pushing {reference}"):
            call([command, "push", reference], timeout=1800, log=CACHE / "logs/push.log",
                 hint="Log in to the registry first.")  # fmt: skip

    def values(self) -> dict[str, Any]:
        return {}

    def endpoints(self) -> Endpoints:
        end_forwards()
        ports = dict(zip(FORWARDED, free_ports(len(FORWARDED)), strict=True))
        started = []
        for kind, (service, target) in FORWARDED.items():
            # A port-forward ends with the pod it reached, so it is begun again each time.
            again = (
                f"while :; do kubectl --kubeconfig='{self.kubeconfig}' --namespace={NAMESPACE} port-forward "
                f"service/{service} {ports[kind]}:{target}; sleep 1; done"
            )
            process = subprocess.Popen(
                ["sh", "-c", again],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            started.append(process.pid)
        RECORD.write_text(json.dumps(started))
        time.sleep(1)
        return Endpoints(
            f"http://127.0.0.1:{ports['data']}",
            f"127.0.0.1:{ports['grpc']}",
            f"http://127.0.0.1:{ports['admin']}",
        )

    def dns(self) -> None:
        """The cluster has its own."""

    def stop(self) -> None:
        end_forwards()
        with step("removing the release"):
            helm.uninstall(self.kubeconfig)


def end_forwards() -> None:
    """End the port-forwards of an earlier `up`, if they are still that."""
    if not RECORD.exists():
        return
    for pid in json.loads(RECORD.read_text()):
        try:
            if b"port-forward" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.killpg(pid, signal.SIGTERM)
        except OSError:
            continue
    RECORD.unlink()
