"""Two clones never share an address, a path or a name; and each always finds its own again.

Holds: e2e/clusters/kind.py, e2e/clusters/places.py, e2e/clusters/onhost/network.py,
e2e/clusters/onhost/settings.py
"""

from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.clusters import kind
from e2e.clusters.onhost import network
from e2e.clusters.onhost.settings import cni, kubelet
from e2e.clusters.places import Places, identity
from e2e.clusters.say import TroubleError

IDS = st.text("0123456789abcdef", min_size=8, max_size=8)


def test_an_id_follows_the_real_path(tmp_path: Path) -> None:
    (tmp_path / "clone").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "clone")
    assert identity(tmp_path / "link") == identity(tmp_path / "clone") != identity(tmp_path)


def test_a_link_name_fits_the_kernel() -> None:
    assert len(network.choose(identity(), []).link) <= 15


@given(IDS, IDS)
def test_two_instances_share_nothing(one: str, other: str) -> None:
    if one == other:
        return
    first = network.choose(one, [])
    second = network.choose(other, [first.block])
    assert not first.block.overlaps(second.block)
    assert {first.node, first.machine}.isdisjoint({second.node, second.machine})
    assert first.link != second.link
    assert set(first.rules).isdisjoint(second.rules)
    assert Places.of(one).state != Places.of(other).state
    assert Places.of(one).socket != Places.of(other).socket


@given(IDS)
def test_the_parts_of_a_block_lie_in_it_and_apart(name: str) -> None:
    net = network.choose(name, [])
    link = IPv4Network(f"{net.machine}/30", strict=False)
    parts = (net.pods, net.services, link)
    assert all(part.subnet_of(net.block) for part in parts)
    assert not net.pods.overlaps(net.services)
    assert not link.overlaps(net.pods)
    assert not link.overlaps(net.services)
    assert net.block.subnet_of(network.RANGE)


@given(IDS)
def test_what_is_routed_already_is_passed_over(name: str) -> None:
    row = list(network.choices(name))
    assert network.choose(name, []).block == row[0]
    assert network.choose(name, row[:3]).block == row[3]
    assert len(set(row)) == network.CHOICES


def test_no_free_block_is_said_with_what_to_do() -> None:
    with pytest.raises(TroubleError, match="VPN"):
        network.choose("00000000", [network.RANGE])


def test_the_node_is_told_of_its_own_addresses_alone() -> None:
    net = network.choose("0123abcd", [])
    told = kubelet(Places.of("0123abcd"), net, "/preamar-0123abcd")
    assert told["clusterDNS"] == [net.node]
    assert told["cgroupRoot"] == "/preamar-0123abcd"
    pods = cni(net, 1400)["plugins"][0]
    assert pods["ipam"]["ranges"] == [[{"subnet": str(net.pods)}]]


@given(IDS)
def test_kind_maps_three_ports_that_a_machine_has(name: str) -> None:
    ports = kind.ports(name)
    assert len(set(ports.values())) == 3
    assert all(20000 <= port < 32768 for port in ports.values())
