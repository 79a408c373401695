"""A real cluster of one node on this Linux machine, without a container engine.

The control plane, the kubelet and containerd run in network, mount and pid namespaces of their own.
The machine reaches the node, the pods and the Services over one link; nobody else does.
"""

import json
import os
import socket
import ssl
import urllib.request
from pathlib import Path
from typing import Any

from e2e.clusters import controlplane, gobuild, images, pki
from e2e.clusters.controlplane import Plane
from e2e.clusters.kubectl import Kubectl, until
from e2e.clusters.onhost import cgroups, instance, needs, settings
from e2e.clusters.onhost.network import Network, mtu
from e2e.clusters.places import CACHE, Places
from e2e.clusters.port import Endpoints
from e2e.clusters.run import call, tail
from e2e.clusters.say import TroubleError, step

PROVISIONER = "preamar.dev/directory"
STORAGE = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {
        "name": "preamar-directory",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    },
    "provisioner": PROVISIONER,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "Immediate",
}
RIGHTS = "rbac.authorization.k8s.io"


def binding(name: str, role: str, user: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{RIGHTS}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RIGHTS, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": user}],
    }


def watching(group: str, *resources: str) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": list(resources), "verbs": ["list", "watch"]}


BASICS = (
    STORAGE,
    binding("preamar-directory-provisioner", "system:persistent-volume-provisioner", PROVISIONER),
    {
        "apiVersion": f"{RIGHTS}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "preamar-coredns"},
        "rules": [
            watching("", "services", "pods", "namespaces"),
            watching("discovery.k8s.io", "endpointslices"),
        ],
    },
    binding("preamar-coredns", "preamar-coredns", "system:kube-dns"),
)


class Host:
    """The provider ``host``."""

    name = "host"

    def __init__(self, places: Places) -> None:
        self.places = places
        self.node = f"preamar-{places.id}"
        self.kubeconfig = places.kubeconfig
        self.secrets = places.state / "secrets"
        os.environ["PATH"] = needs.with_sbin(os.environ.get("PATH", ""))

    def check(self) -> None:
        gobuild.go()
        needs.check(first=not (CACHE / "go/kube").exists())

    def running(self) -> bool:
        return instance.living(self.places) is not None

    @property
    def network(self) -> Network:
        net = instance.remembered(self.places)
        if net is None:
            raise TroubleError("There is no cluster of this clone: run `make up`.")
        return net

    def kubectl(self) -> Kubectl:
        return Kubectl((str(self.places.bin / "kube"), "kubectl"), self.kubeconfig)

    def start(self) -> None:
        """From nothing, or from what a reboot left, to a node that is Ready; at once when it runs."""
        places = self.places
        kube = gobuild.kube()
        if self.running():
            self.wait_ready()
            return
        for directory in (places.state, places.etc, places.logs, places.volumes, places.run):
            directory.mkdir(parents=True, exist_ok=True)
        places.state.chmod(0o755)
        kube = instance.link_binary(places, kube)
        with gobuild.lock(
            CACHE / "locks/addresses.lock", "waiting for another cluster's addresses"
        ):
            net = instance.addresses(places)
        with step(f"starting the control plane and the node on {net.node}"):
            self.identities(kube, net)
            pause = images.ensure("pause")
            self.configure(net, pause)
            instance.begin(places, net)
            self.add_services(kube, net)
            self.wait_ready()
            self.load(pause)  # no pod starts without it, and nobody else has it

    def identities(self, kube: Path, net: Network) -> None:
        """Certificates once per set of addresses: the server's name them."""
        stamp = self.places.pki / "for"
        if stamp.exists() and stamp.read_text() == net.node:
            return
        first = str(net.services.network_address + 1)
        pki.order(
            kube,
            self.places.pki,
            (
                pki.apiserver(net.node, first),
                pki.ADMIN,
                pki.CONTROLLER_MANAGER,
                pki.SCHEDULER,
                ("kubelet", f"system:node:{self.node}", ("system:nodes",), (self.node, net.node)),
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
            pki.kubeconfig(self.places.etc / f"{user}.kubeconfig", server, self.places.pki, user)
        stamp.write_text(net.node)

    def configure(self, net: Network, pause: str) -> None:
        plugins = settings.cni_plugins()
        if plugins is None:
            raise TroubleError("No CNI plugins were found: install containernetworking-plugins.")
        etc = self.places.etc
        containerd = settings.containerd(
            self.places, plugins, pause, settings.may_lower_oom_score()
        )
        (etc / "cni").mkdir(exist_ok=True)
        proxy = settings.kube_proxy(net, etc / "proxy.kubeconfig", self.node)
        files = {
            "containerd.toml": containerd,
            "cni/10-preamar.conflist": json.dumps(settings.cni(net, mtu())),
            "kubelet.json": json.dumps(
                settings.kubelet(self.places, net, "/" + cgroups.name(self.places.id))
            ),
            "kube-proxy.json": json.dumps(proxy),
            "resolv.conf": settings.resolv_conf(),
            "Corefile": settings.corefile(net, etc / "dns.kubeconfig", etc / "resolv.conf"),
        }
        for name, text in files.items():
            (etc / name).write_text(text)

    def add_services(self, kube: Path, net: Network) -> None:
        places, etc = self.places, self.places.etc
        plane = Plane(
            kube, places.pki, places.state / "etcd", net.node, 6443, 2379, 2380, str(net.services)
        )
        as_kubelet = (
            f"--kubelet-client-certificate={places.pki}/kubelet-client.crt",
            f"--kubelet-client-key={places.pki}/kubelet-client.key",
            f"--kubelet-certificate-authority={places.pki}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            "--enable-admission-plugins=NodeRestriction",
        )
        manager = controlplane.controller_manager(
            plane,
            etc / "controller-manager.kubeconfig",
            f"--flex-volume-plugin-dir={places.state}/volume-plugins",
        )
        program = str(kube)
        services = {
            "etcd": controlplane.etcd(plane),
            "apiserver": controlplane.apiserver(plane, *as_kubelet),
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
                f"--hostname-override={self.node}",
                f"--node-ip={net.node}",
            ],
            "kube-proxy": [program, "kube-proxy", f"--config={etc}/kube-proxy.json"],
            "provisioner": [
                *(program, "provisioner", f"--kubeconfig={etc}/provisioner.kubeconfig"),
                *(f"--name={PROVISIONER}", f"--root={places.volumes}", f"--node={self.node}"),
            ],
        }
        for name, argv in services.items():
            instance.add_service(places, name, argv)

    def wait_ready(self) -> None:
        kubectl = self.kubectl()
        until(
            "the API server is ready",
            90,
            self.answers,
            lambda: tail(self.places.logs / "apiserver.log"),
        )
        kubectl.apply(BASICS)

        def ready() -> bool:
            node = kubectl.get("node", self.node) or {}
            conditions = node.get("status", {}).get("conditions", [])
            return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

        until("the node is Ready", 120, ready, lambda: tail(self.places.logs / "kubelet.log"))

    def answers(self) -> bool:
        """Asked directly, because kubectl takes longer to start than the server to answer."""
        context = ssl.create_default_context(cafile=self.places.pki / "ca.crt")
        context.load_cert_chain(self.places.pki / "admin.crt", self.places.pki / "admin.key")
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(f"https://{self.network.node}:6443/readyz", timeout=5) as answer:
            return answer.status == 200

    def load(self, reference: str) -> None:
        """Bring a built image into the instance's containerd, unless it is there."""
        ctr = ["ctr", f"--address={self.places.socket}", "--namespace=k8s.io"]
        if reference in call([*ctr, "images", "list", "--quiet"], timeout=60).split():
            return
        with step(f"loading {reference}"), images.archive(reference) as file:
            call([*ctr, "images", "import", str(file)], timeout=900, log=CACHE / "logs/import.log")

    def values(self) -> dict[str, Any]:
        return {}

    def endpoints(self) -> Endpoints:
        """By the Service's own address: the machine has a route to it."""
        service = self.kubectl().get("service", "preamar-gateway", "--namespace=preamar-system")
        if service is None:
            raise TroubleError("The chart made no Service preamar-gateway.")
        address = service["spec"]["clusterIP"]
        return Endpoints(f"http://{address}:8080", f"{address}:8082", f"http://{address}:8081")

    def dns(self) -> None:
        """Build CoreDNS if need be and run it on the node's address."""
        address = (self.network.node, 53)
        if not (self.places.services / "coredns.json").exists():
            binary = instance.link_binary(self.places, gobuild.coredns())
            argv = [str(binary), f"-conf={self.places.etc}/Corefile"]
            instance.add_service(self.places, "coredns", argv)

        def answers() -> bool:
            with socket.create_connection(address, timeout=2):
                return True

        until("CoreDNS answers", 60, answers, lambda: tail(self.places.logs / "coredns.log"))

    def stop(self) -> None:
        with step("removing the cluster"):
            instance.end(self.places)
            instance.erase(self.places)


def found(command: str) -> str:
    path = call(["sh", "-c", f"command -v {command}"], timeout=10).strip()
    return str(Path(path).resolve())
