"""Which addresses a cluster uses, and how this machine reaches them.

Each instance has a /20 out of 10.64.0.0/10: pods, Services and one link between the machine and the
namespace where everything listens. No port of the machine is used. The block follows from the id; one
that is routed already or belongs to another instance is passed over for the next of a fixed row.
"""

import ipaddress
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network
from pathlib import Path

from e2e.clusters.run import call, succeeds
from e2e.clusters.say import TroubleError

RANGE = IPv4Network("10.64.0.0/10")
BLOCKS = 1024
CHOICES = 16
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


@dataclass(frozen=True, slots=True)
class Network:
    """The addresses of one instance."""

    id: str
    block: IPv4Network

    def part(self, offset: int, prefix: int) -> IPv4Network:
        return IPv4Network((self.block.network_address + offset * 256, prefix))

    @property
    def pods(self) -> IPv4Network:
        return self.part(0, 22)

    @property
    def services(self) -> IPv4Network:
        return self.part(4, 22)

    @property
    def machine(self) -> str:
        return str(self.part(8, 30).network_address + 1)

    @property
    def node(self) -> str:
        return str(self.part(8, 30).network_address + 2)

    @property
    def link(self) -> str:
        return f"pre{self.id}"

    @property
    def rules(self) -> tuple[tuple[str, ...], ...]:
        """(table, chain, …) of the machine's own firewall: pods may leave, answers come back."""
        tag = ("-m", "comment", "--comment", f"preamar-{self.id}")
        block = str(self.block)
        return (
            ("nat", "POSTROUTING", "-s", block, "!", "-d", block, *tag, "-j", "MASQUERADE"),
            ("filter", "FORWARD", "-s", block, *tag, "-j", "ACCEPT"),
            ("filter", "FORWARD", "-d", block, *tag, "-j", "ACCEPT"),
        )


def choices(name: str) -> Iterator[IPv4Network]:
    """The row of blocks that an id tries, in order; always the same."""
    first = int.from_bytes(sha256(name.encode()).digest()[:4], "big")
    for attempt in range(CHOICES):
        place = (first + attempt * 37) % BLOCKS
        yield IPv4Network((RANGE.network_address + place * 4096, 20))


def choose(name: str, taken: Iterable[IPv4Network]) -> Network:
    """The first block of the id's row that overlaps nothing taken."""
    used = tuple(taken)
    for block in choices(name):
        if not any(block.overlaps(other) for other in used):
            return Network(name, block)
    raise TroubleError(
        f"No free addresses were found in {RANGE}: {CHOICES} blocks are all routed already. "
        "Remove a VPN's route to that range for the time being, or take another cluster down."
    )


def routed() -> Iterator[IPv4Network]:
    """What this machine has routes or addresses for, the default route apart."""
    for route in json.loads(call(["ip", "-4", "-j", "route", "show", "table", "all"], timeout=20)):
        destination = route.get("dst", "default")
        if destination not in {"default", "0.0.0.0/0"}:
            yield IPv4Network(ipaddress.ip_interface(destination).network)


def mtu() -> int:
    """That of the way out, so that nothing a pod sends is too big for it."""
    routes = json.loads(call(["ip", "-4", "-j", "route", "show", "default"], timeout=20))
    if not routes:
        return 1500
    links = json.loads(call(["ip", "-j", "link", "show", routes[0]["dev"]], timeout=20))
    return int(links[0]["mtu"])


def connect(network: Network, pid: int) -> None:
    """Join the machine and the namespace of ``pid`` by a pair of links; routes and rules to it."""
    size = str(mtu())
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net"]
    peer = ["peer", "name", "eth0", "mtu", size, "netns", str(pid)]
    for command in (
        ["ip", "link", "add", network.link, "mtu", size, "type", "veth", *peer],
        ["ip", "addr", "add", f"{network.machine}/30", "dev", network.link],
        ["ip", "link", "set", network.link, "up"],
        [*inside, "ip", "link", "set", "lo", "up"],
        [*inside, "ip", "addr", "add", f"{network.node}/30", "dev", "eth0"],
        [*inside, "ip", "link", "set", "eth0", "up"],
        [*inside, "ip", "route", "add", "default", "via", network.machine],
        [*inside, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"],
        ["ip", "route", "add", str(network.pods), "via", network.node],
        ["ip", "route", "add", str(network.services), "via", network.node],
    ):
        call(command, timeout=20)
    for table, *rule in network.rules:
        if not succeeds(["iptables", "-w", "10", "-t", table, "-C", *rule]):
            # First, because others end their chains with a drop.
            call(["iptables", "-w", "10", "-t", table, "-I", *rule], timeout=20)


def disconnect(network: Network) -> None:
    """Remove what ``connect`` made; what is gone already is no error."""
    succeeds(["ip", "link", "del", network.link])
    for table, *rule in network.rules:
        for _ in range(8):
            if not succeeds(["iptables", "-w", "10", "-t", table, "-D", *rule]):
                break
