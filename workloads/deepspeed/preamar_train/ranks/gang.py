"""How ranks find each other, and how long they wait.

Every wait has an end: joining by PREAMAR_GANG_SECONDS, each exchange by PREAMAR_PEER_SECONDS.
Beside the training group there is one over gloo for small words, which also works on GPUs.
"""

import os
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import deepspeed
import torch
import torch.distributed as dist

from preamar_train.agent.lookup import address_of
from preamar_train.failures import Class, TrainerFailure

GANG_SECONDS = 600.0
PEER_SECONDS = 600.0


def seconds(name: str, default: float) -> float:
    try:
        value = float(os.environ.get(name, default))
    except ValueError:
        value = default
    return value if value > 0 else default


@dataclass(frozen=True, slots=True)
class RankGroup:
    rank: int
    size: int
    local_rank: int
    words: Any  # the gloo group

    def barrier(self) -> None:
        dist.barrier(group=self.words)

    def tell(self, thing: Any) -> Any:
        """Rank 0's thing, on every rank."""
        box = [thing]
        dist.broadcast_object_list(box, src=0, group=self.words)
        return box[0]

    def hear(self, thing: Any) -> list[Any]:
        """Every rank's thing, on every rank, by rank."""
        box: list[Any] = [None] * self.size
        dist.all_gather_object(box, thing, group=self.words)
        return box

    def add(self, *numbers: float) -> list[float]:
        """The sums over all ranks, in double precision."""
        total = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(total, group=self.words)
        return [float(each) for each in total]


def _sleep(pause: float) -> bool:
    time.sleep(pause)
    return False


def join(*, gpu: bool) -> RankGroup:
    """Blocks until all ranks are there; afterwards torch.distributed is ready for DeepSpeed."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local_rank = int(os.environ["LOCAL_RANK"])
    wait = seconds("PREAMAR_GANG_SECONDS", GANG_SECONDS)
    begun = time.monotonic()
    # Looked up once, and not by the store: a name may stop resolving for a moment.
    address = address_of(os.environ["MASTER_ADDR"], wait, _sleep)
    left = max(1.0, wait - (time.monotonic() - begun))
    try:
        store = dist.TCPStore(
            address,
            int(os.environ["MASTER_PORT"]),
            size,
            is_master=rank == 0,
            timeout=timedelta(seconds=left),
            wait_for_workers=True,
            use_libuv=False,  # Debian's torch is built without it
        )
    except (RuntimeError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0][:200]
        raise TrainerFailure(
            Class.PEER_LOST,
            f"Rank {rank} did not meet all {size} ranks within {wait:.0f} seconds: {first}",
        ) from error
    peer = timedelta(seconds=seconds("PREAMAR_PEER_SECONDS", PEER_SECONDS))
    if gpu:
        torch.cuda.set_device(local_rank)
    dist.init_process_group(
        "nccl" if gpu else "gloo", store=store, rank=rank, world_size=size, timeout=peer
    )
    deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)  # takes up the group
    # DeepSpeed makes groups of its own, which would wait half an hour for a frozen peer.
    deepspeed.comm.comm.cdb.new_group = partial(dist.new_group, timeout=peer)
    return RankGroup(rank, size, local_rank, dist.new_group(backend="gloo", timeout=peer))
