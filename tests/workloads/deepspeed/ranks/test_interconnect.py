"""What ranks conclude from NCCL's log and from the kernel's list of connections.

Holds: preamar_train/ranks/interconnect.py
"""

import os
import socket

import pytest
from preamar_train.failures import TrainerFailure
from preamar_train.ranks import interconnect
from preamar_train.ranks.interconnect import LinkReport, is_slower, of_connections, of_log

from preamar.core.training.planner import interconnect as operators

HEAD = "trainer-1-0:71:214 [0] NCCL INFO "
# Lines in the formats of NCCL's sources (init.cc, net.cc, net_ib/init.cc, p2p.cc, shm.cc, search.cc).
IB = [
    "NET/IB : Using [0]mlx5_0:1/IB [1]mlx5_1:1/IB [RO]; OOB eth0:10.244.1.7<0>",
    "Using network IB",
    "Channel 00/0 : 0[0] -> 8[0] [send] via NET/IB/0/GDRDMA",
    "Channel 01/0 : 8[0] -> 0[0] [receive] via NET/IB/1(3)/GDRDMA/Shared",
    "ncclCommInitRankConfig comm 0x55 rank 0 nranks 16 cudaDev 0 nvmlDev 0 busId 1000 commId 0x1 - Init COMPLETE",
]
SOCKETS = [
    "NET/IB : No device found.",
    "NET/Socket : Using [0]eth0:10.244.1.7<0>",
    "Using network Socket",
    "Channel 00/0 : 0[0] -> 8[0] [send] via NET/Socket/0",
]
RING = "Pattern 4, crossNic 0, nChannels 12, bw 20.000000/20.000000, type {}/PIX, sameChannels 1"
P2P = "Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM/read"
EFA = [
    "Using network AWS Libfabric",
    "Channel 00/0 : 0[0] -> 8[0] [send] via NET/AWS Libfabric/0/GDRDMA",
]


@pytest.mark.parametrize(
    ("lines", "used"),
    [
        (IB, "RDMA"),
        (SOCKETS, "TCP"),
        (EFA, "RDMA"),
        ([*IB, "Channel 02/0 : 0[0] -> 9[1] [send] via NET/Socket/0"], "TCP"),
        (["Using network IB", RING.format("NVL"), P2P], "NVLink"),
        (["Using network Socket", RING.format("NVL"), P2P], "NVLink"),
        (["Using network Socket", RING.format("PHB"), P2P], "Local"),
        (["Using network Socket", RING.format("SYS"), "Channel 00 : 0[0] -> 1[1] via SHM/direct/direct"], "Local"),
        (["Using network Socket", P2P], "Local"),
        (["Using network Socket"], "TCP"),
        (["Using network IB"], "Unknown"),
        ([], "Unknown"),
    ],
    ids=["InfiniBand", "fallen back", "EFA", "one connection over sockets", "NVLink", "NVLink beside a plain network", "PCIe", "shared memory", "links not named", "sockets alone", "no connection", "nothing"],
)  # fmt: skip
def test_the_way_is_read_from_nccls_log(lines, used):
    assert of_log([HEAD + line for line in lines]).used == used


def test_what_nccl_says_is_passed_on():
    told = of_log([HEAD + line for line in SOCKETS]).detail
    assert told == "NCCL: network Socket, [0]eth0:10.244.1.7<0>"


def test_connections_tell_the_interface():
    names = {"10.244.0.7": "eth0", "127.0.0.1": "lo"}
    assert of_connections(["10.244.0.7"], names, "eth0") == LinkReport("TCP", "eth0 10.244.0.7")
    assert of_connections(["10.244.0.7", "127.0.0.1"], names, "eth0").astray == "lo"
    assert of_connections(["127.0.0.1"], names, "") == LinkReport("TCP", "lo 127.0.0.1")
    assert of_connections([], names, "eth0").used == "Unknown"


def test_an_address_that_no_interface_has_is_no_proof_of_another_way():
    assert of_connections(["fd00::7"], {}, "eth0").astray == ""


def test_the_kernels_list_shows_our_own_connections():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
    ):
        assert "127.0.0.1" in interconnect.local_addresses()
    assert interconnect.interfaces()["127.0.0.1"] == "lo"


def test_an_ipv4_connection_over_an_ipv6_socket_is_read():
    assert interconnect._address("0100007F") == "127.0.0.1"
    assert interconnect._address("0000000000000000FFFF00000100007F") == "127.0.0.1"
    assert interconnect._address("00000000000000000000000001000000") == "::1"


class Gang:
    rank, size, local_rank = 0, 2, 0

    def __init__(self, ways):
        self.ways = ways

    def hear(self, mine):
        return self.ways


def checked(monkeypatch, expected, mismatch, ways):
    monkeypatch.setenv("PREAMAR_INTERCONNECT", expected)
    monkeypatch.setenv("PREAMAR_INTERCONNECT_MISMATCH", mismatch)
    monkeypatch.setattr(interconnect, "_exchange", lambda gang, gpu: None)
    monkeypatch.setattr(interconnect, "_found", lambda gpu: ways[0])
    monkeypatch.setattr(interconnect, "_hint", lambda: "; locked memory is limited")
    return interconnect.check(Gang(ways), gpu=True)


def test_the_slowest_of_all_ranks_is_told_with_a_reason(monkeypatch):
    told = checked(
        monkeypatch, "RDMA", "Warn", [LinkReport("RDMA", "IB"), LinkReport("TCP", "sockets")]
    )
    assert told == {
        "expected": "RDMA",
        "used": "TCP",
        "detail": "rank 1: sockets; locked memory is limited",
    }


def test_a_fall_back_ends_the_attempt_where_that_was_chosen(monkeypatch):
    with pytest.raises(TrainerFailure, match="over TCP and not over RDMA") as raised:
        checked(
            monkeypatch, "RDMA", "Fail", [LinkReport("RDMA", "IB"), LinkReport("TCP", "sockets")]
        )
    assert raised.value.kind == "InterconnectMismatch"
    astray = [LinkReport("TCP", "eth0 10.0.0.1"), LinkReport("TCP", "lo 127.0.0.1", "lo")]
    with pytest.raises(TrainerFailure, match="over TCP on lo"):
        checked(monkeypatch, "TCP", "Fail", astray)
    assert checked(monkeypatch, "TCP", "Fail", astray[:1] * 2)["used"] == "TCP"


def test_operator_and_ranks_agree_on_what_is_slower():
    assert interconnect.ORDER == operators.ORDER
    for expected in (*operators.ORDER[:3], "TCP"):
        for used in operators.ORDER:
            assert is_slower(expected, used) == operators.slower(expected, used)


def test_ranks_read_the_log_that_they_were_told_to_write(monkeypatch, tmp_path):
    log = tmp_path / f"nccl-{os.getpid()}.log"
    log.write_text("\n".join(HEAD + line for line in IB))
    monkeypatch.setenv("NCCL_DEBUG_FILE", str(tmp_path / "nccl-%p.log"))
    assert interconnect._found(gpu=True).used == "RDMA"
    log.unlink()
    assert interconnect._found(gpu=True).used == "Unknown"
