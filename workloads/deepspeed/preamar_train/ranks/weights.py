"""The whole FP32 weights, wherever layouts and ZeRO have put them, and whether ranks agree."""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import deepspeed
import numpy as np
import torch
import torch.distributed as dist
from deepspeed.utils import safe_get_full_fp32_param
from torch import Tensor

from preamar_train.failures import Class, TrainerFailure
from preamar_train.parallel.layout import Layout
from preamar_train.ranks.gang import RankGroup


class WeightPart(NamedTuple):
    """A rank's part of a weight: of so many along dimension `cut`; None: the whole."""

    name: str
    cut: int | None
    index: int
    holders: tuple[int, ...]
    """The ranks that hold its parts, in order."""
    size: tuple[int, ...]
    shared: bool
    """Whether its holders are copies that share experts, and not slices of a layer."""


def parts(engine: Any, layout: Layout) -> Iterator[tuple[WeightPart, torch.nn.Parameter]]:
    """What this rank holds, in the order in which all copies walk."""
    for name, parameter in engine.module.named_parameters():
        yield part_of(name, parameter, layout), parameter


def part_of(name: str, parameter: torch.nn.Parameter, layout: Layout) -> WeightPart:
    """Which part of a weight a parameter of that local name is."""
    called, cut = _called(name, parameter)
    shared = cut is not None and not getattr(parameter, "allreduce", True)
    index, holders = 0, (layout.at(layout.stage),)
    if shared:
        index = layout.experts
        holders = tuple(layout.at(0, n) for n in range(layout.expert))
    elif cut is not None:
        index = layout.slice
        holders = tuple(layout.at(layout.stage, 0, n) for n in range(layout.tensor))
    size = tuple(getattr(parameter, "ds_shape", parameter.shape))
    return WeightPart(called, cut, index, holders, size, shared)


def _called(name: str, parameter: torch.nn.Parameter) -> tuple[str, int | None]:
    """The name among all ranks, and the dimension along which they share the weight."""
    if hasattr(parameter, "called"):
        return parameter.called, parameter.cut
    # DeepSpeed has put experts and router into modules of its own; a user's script has its own.
    experts = not getattr(parameter, "allreduce", True)
    return name.replace(".router.gate.", ".gate."), 0 if experts else None


def full_weights(engine: Any, layout: Layout, gang: RankGroup) -> dict[str, np.ndarray]:
    """Each whole weight by its name, on rank 0; nothing elsewhere. Collective.

    The ranks of all copies walk in step, and the holders send to rank 0 what it lacks.
    """
    mine, whole = list(parts(engine, layout)), {}
    told = gang.hear([part for part, _ in mine] if layout.replica == 0 else [])
    for part, parameter in mine:
        value = _master(parameter)
        if layout.rank == 0:
            pieces = [value, *(_received(part, rank, gang) for rank in part.holders[1:])]
            whole[part.name] = _joined(part, pieces)
        elif layout.rank in part.holders:
            dist.send(value, 0, group=gang.words)
    for stage in range(1, layout.pipeline if layout.rank == 0 else 0):
        for part in told[layout.at(stage)]:
            pieces = [_received(part, rank, gang) for rank in part.holders]
            whole[part.name] = _joined(part, pieces)
    return whole


def _master(parameter: torch.nn.Parameter) -> Tensor:
    value = safe_get_full_fp32_param(parameter)
    if value is None:  # without ZeRO the FP32 weights are the model's own
        value = own(parameter)
    return value.detach().to("cpu", torch.float32).contiguous()


def own(parameter: torch.nn.Parameter) -> Tensor:
    """A copy of the weight that this rank computes with."""
    with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
        return parameter.detach().clone()


def _received(part: WeightPart, rank: int, gang: RankGroup) -> Tensor:
    value = torch.empty(part.size, dtype=torch.float32)
    dist.recv(value, rank, group=gang.words)
    return value


def _joined(part: WeightPart, pieces: list[Tensor]) -> np.ndarray:
    whole = pieces[0] if part.cut is None else torch.cat(pieces, dim=part.cut)
    return whole.numpy()


def agreed_digest(engine: Any, layout: Layout, gang: RankGroup) -> str:
    """A digest of all weights, if whoever computes with the same one has the same numbers: the
    copies of a model must never drift apart, nor what the ranks of one copy share."""
    mine = {}
    for part, parameter in parts(engine, layout):
        value = own(parameter).to("cpu", torch.float32).numpy()
        mine[part.name, part.index] = hashlib.sha256(value.tobytes()).hexdigest()
    seen: dict[tuple[str, int], tuple[int, str]] = {}
    for rank, digests in enumerate(gang.hear(mine)):
        for (name, index), digest in digests.items():
            first, expected = seen.setdefault((name, index), (rank, digest))
            if digest != expected:
                raise TrainerFailure(
                    Class.UNKNOWN,
                    f"Ranks {first} and {rank} hold different weights after the same steps ({name}).",
                )
    return hashlib.sha256(repr(sorted((k, d) for k, (_, d) in seen.items())).encode()).hexdigest()
