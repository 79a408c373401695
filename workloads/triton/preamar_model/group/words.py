"""What is this pod in its group? The operator's words, from PREAMAR_GROUP and the pod's own name.

A leader knows its workers by name, which both sides compute from the leader's UID; a worker knows its
leader by that UID, and listens.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

PORT, HEALTH_PORT = 8003, 8004
MASTER_PORT = 29500


class GroupUnreadable(Exception):
    """PREAMAR_GROUP is malformed: a fault of whoever wrote the pod."""


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """``rank`` 0 leads; ``secret`` is the leader's UID; ``peers`` are the workers by rank, each ``host:port``."""

    size: int
    rank: int
    secret: str
    seconds: float
    peers: tuple[str, ...]
    address: str = ""
    port: int = PORT
    health: int = HEALTH_PORT
    master: int = MASTER_PORT

    def environment(self, leader: str) -> dict[str, str]:
        """What engines that span pods look for: torch, vLLM and MPI launchers know four of them; by
        VLLM_HOST_IP vLLM says to the others where it is."""
        mine = {"VLLM_HOST_IP": self.address} if self.address else {}
        return mine | {
            "NNODES": str(self.size),
            "NODE_RANK": str(self.rank),
            "MASTER_ADDR": leader,
            "MASTER_PORT": str(self.master),
            "PREAMAR_GROUP_PEERS": ",".join(self.peers),
            "PREAMAR_GROUP_SECRET": self.secret,
        }


def read(environment: Mapping[str, str]) -> GroupSpec | None:
    """None for a replica of one pod. Raises `GroupUnreadable`."""
    text = environment.get("PREAMAR_GROUP")
    if not text:
        return None
    try:
        body = json.loads(text)
        size, leader = int(body["size"]), body.get("leader")
        pod = environment.get("PREAMAR_POD_NAME", "")
        rank = int(pod.rpartition("-")[2]) + 1 if leader else 0
        secret = str(leader or environment["PREAMAR_POD_UID"])
        key = hashlib.sha256(secret.encode()).hexdigest()[:8]
        stem, network = f"{body['name']}-group-{key}", body.get("network")
        port = int(environment.get("PREAMAR_GROUP_PORT") or PORT)
        named = [f"{stem}-{number}.{network}:{port}" for number in range(size - 1)]
        group = GroupSpec(
            size=size,
            rank=rank,
            secret=secret,
            seconds=float(body.get("seconds") or 600),
            peers=tuple(body.get("peers") or named),
            address=environment.get("PREAMAR_POD_IP", ""),
            port=port,
            health=int(environment.get("PREAMAR_HEALTH_PORT") or HEALTH_PORT),
            master=int(environment.get("PREAMAR_MASTER_PORT") or MASTER_PORT),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GroupUnreadable(f"PREAMAR_GROUP is not what a member reads: {error!r}") from error
    if not secret or not 2 <= size <= 64 or not 0 <= rank < size:
        raise GroupUnreadable(f"PREAMAR_GROUP: rank {rank} of {size} is no place in a group")
    return group


def worker(environment: Mapping[str, str]) -> GroupSpec:
    """Of a pod that is a worker. Raises `GroupUnreadable`."""
    group = read(environment)
    if group is None or not group.rank:
        raise GroupUnreadable("PREAMAR_GROUP does not make this pod a worker")
    return group
