"""By which way do the ranks talk, and is it the one that was meant?

NCCL falls back to TCP without a word where RDMA cannot be had, and training then crawls. So after
one exchange of all ranks each says what it found: on GPUs in NCCL's own log (its sources:
init.cc, transport/net*.cc, transport/p2p.cc, graph/search.cc), over gloo in the kernel's list of
its open connections. The slowest of all ranks' ways is the job's.
"""

import contextlib
import os
import re
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preamar_train.failures import Class, TrainerFailure

LOCAL, NVLINK, RDMA, TCP, UNKNOWN = "Local", "NVLink", "RDMA", "TCP", "Unknown"
# The fastest first; the operator has the same list. Local: within a machine, but not by NVLink (PCIe or shared memory).
ORDER = (NVLINK, LOCAL, RDMA, UNKNOWN, TCP)
_SOCKETS = re.compile(r"via NET/(Socket)/\d")
_OTHER_NET = re.compile(r"via (NET/(?!Socket)[^/]+)/\d+(?:\(\d+\))?(\S*)")
_NETWORK = re.compile(r"Using network (.+)")
_DEVICES = re.compile(r"NET/\w+ : Using (.*)|NET/IB : (No device found.*)")
_WITHIN = re.compile(r"via (P2P|SHM)/")
_LINKS = re.compile(r"Pattern 4,.* type (\w+)/\w+,")  # 4 is the ring; within, between machines
_NVLINKS = frozenset({"LOC", "NVL", "NVB"})
_LOG_BYTES = 4 * 2**20
_ESTABLISHED = "01"


@dataclass(frozen=True, slots=True)
class LinkReport:
    """What a rank found: the way, and the words that say so."""

    used: str
    detail: str
    astray: str = ""
    """The interfaces in use, where another one was meant."""


def of_log(lines: Iterable[str]) -> LinkReport:
    """The way that NCCL's log (INIT, NET, GRAPH, P2P, SHM at INFO) tells of. A single connection
    over sockets is enough: the slowest decides the pace."""
    lines = tuple(lines)
    network, devices = _last(_NETWORK, lines), _last(_DEVICES, lines)
    sockets, other, within = (_last(each, lines) for each in (_SOCKETS, _OTHER_NET, _WITHIN))
    said = ", ".join(each for each in (f"network {network or 'unknown'}", devices, other) if each)
    if sockets or (network == "Socket" and not within and not other):
        return LinkReport(TCP, f"NCCL: {said}")
    if other:
        return LinkReport(RDMA, f"NCCL: {said}")
    if within:
        kinds = {found[1] for line in lines if (found := _LINKS.search(line))}
        fast = bool(kinds) and kinds <= _NVLINKS
        links = "/".join(sorted(kinds)) or "unknown"
        return LinkReport(NVLINK if fast else LOCAL, f"NCCL: links {links} within the machine")
    return LinkReport(UNKNOWN, f"NCCL: {said}")


def _last(pattern: re.Pattern[str], lines: Sequence[str]) -> str:
    """What the last line that has the pattern says in its groups; empty without one."""
    found = [hit for line in lines if (hit := pattern.search(line))]
    return "".join(each.strip() for each in found[-1].groups() if each) if found else ""


def of_connections(mine: Sequence[str], names: Mapping[str, str], told: str) -> LinkReport:
    """The way of these local addresses of open connections. ``names`` tells the interface of an
    address; ``told`` is the interface that was meant, empty for any."""
    if not mine:
        return LinkReport(UNKNOWN, "no open connection to another rank")
    used = sorted({(names.get(each, "?"), each) for each in mine})
    others = sorted({name for name, _ in used if told and name not in {told, "?"}})
    return LinkReport(TCP, ", ".join(f"{name} {each}" for name, each in used), ", ".join(others))


def check(gang: Any, *, gpu: bool) -> dict[str, str] | None:
    """What rank 0 tells the operator; None for a single rank. Raises ``TrainerFailure`` where the way is
    slower than meant and that was to be an error."""
    expected = os.environ.get("PREAMAR_INTERCONNECT", "")
    if gang.size == 1 or not expected:
        return None
    _exchange(gang, gpu=gpu)
    ways = gang.hear(_found(gpu=gpu))
    rank, way = max(
        enumerate(ways), key=lambda pair: (ORDER.index(pair[1].used), bool(pair[1].astray))
    )
    used = f"{way.used} on {way.astray}" if way.astray else way.used
    detail = way.detail if rank == 0 else f"rank {rank}: {way.detail}"
    hint = _hint() if expected == RDMA and way.used == TCP else ""
    told = {"expected": expected, "used": used, "detail": f"{detail}{hint}"[:500]}
    bad = way.astray or is_slower(expected, way.used)
    if gang.rank == 0:
        print(f"interconnect: {expected} meant, {used} found ({told['detail']})", flush=True)
    if bad and os.environ.get("PREAMAR_INTERCONNECT_MISMATCH") == "Fail":
        raise TrainerFailure(
            Class.INTERCONNECT,
            f"The ranks talk over {used} and not over {expected} as meant ({told['detail']}).",
        )
    return told


def is_slower(expected: str, used: str) -> bool:
    if expected == LOCAL:  # one machine, whatever it has
        return False
    return ORDER.index(used) > ORDER.index(expected)


def _exchange(gang: Any, *, gpu: bool) -> None:
    """One sum over the training group: libraries connect when they are first used."""
    import torch
    import torch.distributed as dist

    device = torch.device("cuda", gang.local_rank) if gpu else torch.device("cpu")
    dist.all_reduce(torch.ones(1, device=device))
    if gpu:
        torch.cuda.synchronize()


def _found(*, gpu: bool) -> LinkReport:
    if not gpu:
        told = os.environ.get("GLOO_SOCKET_IFNAME", "")
        return of_connections(local_addresses(), interfaces(), told)
    name = os.environ.get("NCCL_DEBUG_FILE", "").replace("%p", str(os.getpid()))
    try:
        with Path(name.replace("%h", socket.gethostname())).open(errors="replace") as stream:
            return of_log(stream.read(_LOG_BYTES).splitlines())
    except OSError as error:
        return LinkReport(UNKNOWN, f"NCCL's log cannot be read: {error.strerror}")


def interfaces(proc: Path = Path("/proc/self")) -> dict[str, str]:
    """The interface of each address of this machine, or of this pod."""
    import fcntl

    found = {}
    with contextlib.suppress(OSError):
        for row in (proc / "net/if_inet6").read_text().splitlines():
            address, *_, name = row.split()
            found[socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address))] = name
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(
                    asking.fileno(),
                    0x8915,
                    struct.pack("256s", name.encode()[:15]),  # SIOCGIFADDR
                )
            except OSError:
                continue
            found[socket.inet_ntoa(answer[20:24])] = name
    return found


def local_addresses(proc: Path = Path("/proc/self")) -> list[str]:
    """The local IPv4 addresses of this process's established TCP connections."""
    inodes = set()
    for entry in (proc / "fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = []
    for table in ("net/tcp", "net/tcp6"):
        try:
            rows = (proc / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            columns = row.split()
            if columns[3] == _ESTABLISHED and columns[9] in inodes:
                found.append(_address(columns[1].partition(":")[0]))
    return sorted(set(found))


def _address(words: str) -> str:
    """The kernel prints an address as words of the machine's own byte order."""
    data = b"".join(bytes.fromhex(words[i : i + 8])[::-1] for i in range(0, len(words), 8))
    if len(data) == 16 and data.startswith(b"\0" * 10 + b"\xff\xff"):
        data = data[12:]  # IPv4 over an IPv6 socket
    return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)


def _hint() -> str:
    """Why RDMA often cannot be had: what it locks in memory is limited."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY:
        return ""
    return f"; locked memory is limited to {soft // 1024} KiB, which RDMA exceeds"
