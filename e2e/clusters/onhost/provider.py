"""A real cluster of one node on this Linux machine, without a container engine.

The control plane, the kubelet and containerd run in network, mount and pid namespaces of their own.
The machine reaches the node, the pods and the Services over one link; nobody else does.
"""

import json
import os
import socket
import ssl
import urllib.request
from typing import Any

from e2e.clusters import gobuild, images
from e2e.clusters.kubectl import Kubectl, until
from e2e.clusters.onhost import cgroups, instance, needs, parts, settings
from e2e.clusters.onhost.basics import BASICS
from e2e.clusters.onhost.network import Network, mtu
from e2e.clusters.places import CACHE, Places
from e2e.clusters.port import Endpoints
from e2e.clusters.run import call, tail
from e2e.clusters.say import TroubleError, step


class Host:
    """The provider ``host``."""

    name = "host"

    def __init__(self, places: Places) -> None:
        self.places = places
        self.node = f"preamar-{places.id}"
        self.kubeconfig = places.kubeconfig
        self.audit_log = places.audit_log
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
            parts.identities(places, self.node, kube, net)
            pause = images.ensure("pause")
            self.configure(net, pause)
            instance.begin(places, net)
            for name, argv in parts.services(places, self.node, kube, net).items():
                instance.add_service(places, name, argv)
            self.wait_ready()
            self.load(pause)  # no pod starts without it, and nobody else has it

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
            "audit.json": json.dumps(parts.audit_policy()),
            "Corefile": settings.corefile(net, etc / "dns.kubeconfig", etc / "resolv.conf"),
        }
        for name, text in files.items():
            (etc / name).write_text(text)

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
        if images.short_of_disk():
            self.forget(ctr, reference)

    def forget(self, ctr: list[str], reference: str) -> None:
        """Remove older builds of an image that no container uses; nothing else ever would."""
        listed = call([*ctr, "images", "list", "--quiet"], timeout=60).split()
        used = call([*ctr, "containers", "list"], timeout=60)
        name = reference.rpartition(":")[0]
        old = [one for one in listed if one.rpartition(":")[0] == name and one not in used]
        for one in old:
            if one != reference:
                call([*ctr, "images", "rm", one], timeout=120)

    def values(self) -> dict[str, Any]:
        """Journeys serve models from this machine, which no other kind of cluster reaches."""
        return {"models": {"allowedHosts": [self.network.machine]}}

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
