"""By which way do the ranks of a job talk to each other, and what if it is another?"""

from enum import StrEnum

from pydantic import Field

from preamar.api.fields.scalars import Flag
from preamar.api.meta import SpecModel
from preamar.api.rules import Rule


class Path(StrEnum):
    """The slowest part of the way between ranks."""

    AUTO = "Auto"
    NVLINK = "NVLink"
    RDMA = "RDMA"
    TCP = "TCP"


class OnMismatch(StrEnum):
    """What happens when the ranks find themselves on a slower way."""

    WARN = "Warn"
    FAIL = "Fail"


class Interconnect(SpecModel):
    """By which way the ranks talk, which they check before the first step."""

    path: Path = Field(
        default=Path.AUTO,
        description="NVLink, RDMA or TCP; Auto expects what the pods ask for: RDMA where their resources name an RDMA device, NVLink where one pod holds all ranks on a product that has it, else TCP.",
    )
    on_mismatch: OnMismatch = Field(
        default=OnMismatch.WARN,
        description="What to do when the ranks fall back to a slower way: Warn in a condition, or Fail the attempt before its first step.",
    )
    lock_memory: Flag = Field(
        default=False,
        description="Whether to run the trainer as root with the capability IPC_LOCK, such as true, where a node's limit of locked memory keeps RDMA from working; the namespace must then allow privileged pods.",
    )
    rules = (
        Rule(
            "!self.lockMemory || self.path in ['Auto', 'RDMA']",
            lambda i: not i.lock_memory or i.path in {Path.AUTO, Path.RDMA},
            "must be false unless path is Auto or RDMA: only RDMA locks memory",
            ".lockMemory",
        ),
    )
