"""What each part of the node is told: containerd, CNI, kubelet, kube-proxy, CoreDNS."""

from pathlib import Path
from typing import Any

from e2e.clusters.onhost.network import Network
from e2e.clusters.places import Places

Json = dict[str, Any]
CAP_SYS_RESOURCE = 24
CNI_PLACES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
CNI_NEEDED = ("ptp", "host-local", "portmap", "loopback")


def cni_plugins() -> Path | None:
    """Where the plugins are that a pod's network is made with."""
    for place in CNI_PLACES:
        if all((place / plugin).exists() for plugin in CNI_NEEDED):
            return place
    return None


def may_lower_oom_score() -> bool:
    """Whether this process may make another harder to kill than itself."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1)
    return False


def containerd(places: Places, plugins: Path, pause: str, adjust_oom: bool) -> str:
    """Version 2 of the format, which containerd 1.6 to 2.x all read."""
    state = places.state / "containerd"
    return f"""version = 2
root = "{state}"
state = "{places.run}/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "{places.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = {str(not adjust_oom).lower()}
  disable_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{places.etc}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def cni(network: Network, mtu: int) -> Json:
    """Each pod hangs on the node by a link of its own, so every packet passes the node's rules.

    On a bridge, traffic between two pods of one node passes them only where br_netfilter is loaded.
    """
    pods = {
        "type": "ptp",
        "ipMasq": False,
        "mtu": mtu,
        "ipam": {
            "type": "host-local",
            "dataDir": "/run/cni",
            "ranges": [[{"subnet": str(network.pods)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "preamar", "plugins": [pods, ports]}


def kubelet(places: Places, network: Network, cgroup_root: str) -> Json:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network.node,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{places.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{places.pki}/kubelet.crt",
        "tlsPrivateKeyFile": f"{places.pki}/kubelet.key",
        "containerRuntimeEndpoint": f"unix://{places.socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup_root,
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [network.node],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{places.etc}/resolv.conf",
        "maxPods": 250,
        # By default a disk over 85 % full costs idle images, the pause image among them, and one
        # over 90 % costs pods. Local images cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "500Mi"},
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "volumePluginDir": f"{places.state}/volume-plugins",
        "nodeStatusUpdateFrequency": "5s",
        "runtimeRequestTimeout": "10m",
        "containerLogMaxSize": "10Mi",
    }


def kube_proxy(network: Network, kubeconfig: Path, node: str) -> Json:
    unset = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": str(network.pods),
        "hostnameOverride": node,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "conntrack": unset,  # the machine's own limits stay as they are
        "iptables": {"localhostNodePorts": False},
    }


def corefile(network: Network, kubeconfig: Path, resolv: Path) -> str:
    return f""".:53 {{
    bind {network.node}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
    }}
    forward . {resolv}
    cache 10
    loop
    reload
}}
"""


def resolv_conf() -> str:
    """Name servers that pods can reach: never a stub on the machine's loopback."""
    for path in (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf")):
        if path.exists():
            lines = path.read_text().splitlines()
            good = [line for line in lines if not line.startswith("nameserver 127.")]
            if any(line.startswith("nameserver") for line in good):
                return "\n".join(good) + "\n"
    return "nameserver 192.0.2.53\n"  # a documentation address: there is no resolver to hand on
