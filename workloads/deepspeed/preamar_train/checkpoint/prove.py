"""The proof of what a running engine holds: see `proof`. Collective: all ranks take part."""

from typing import Any

import numpy as np
import torch

from preamar_train.checkpoint.full_weights import tensors
from preamar_train.checkpoint.proof import MASTER, Proof, digest, part_name
from preamar_train.parallel.layout import Layout
from preamar_train.ranks.gang import RankGroup
from preamar_train.ranks.weights import part_of

MOMENTS = ("exp_avg", "exp_avg_sq", "momentum_buffer")


def prove(engine: Any, gang: RankGroup, layout: Layout, canary: float, stepped_at: float) -> Proof:
    """Every rank returns the same. Those that hold a tensor, or a part of one, share the hashing."""
    _link(engine)
    keys = gang.tell([key for key in MOMENTS if key in _states(engine)[0]])
    mine: dict[tuple[str, str], str] = {}
    named = list(engine.module.named_parameters())
    parts = [part_of(name, parameter, layout) for name, parameter in named]
    for number, key, tensor in tensors(engine, (each for _, each in named), keys):
        part = parts[number]
        groups = layout.expert if part.shared else 1
        turn = number % (layout.data // groups) == layout.replica // groups
        if turn and (len(part.holders) > 1 or layout.slice == 0):
            words = part_name(named[number][0], part.cut, part.index, len(part.holders))
            mine[words, key] = digest(tensor.detach().to("cpu", torch.float32).numpy())
    if layout.replica == 0:
        mine |= _apart(engine, layout.slice, keys)
    hashes: dict[str, dict[str, str]] = {}
    for share in gang.hear(mine):
        for (name, key), each in share.items():
            hashes.setdefault(name, {})[key] = each
    return Proof(hashes, position(engine), canary, stepped_at)


def _link(engine: Any) -> None:
    """After a load DeepSpeed's ZeRO 1 and 2 find a weight's moments only once a step was made, and
    of several groups, as experts make them, only those of the first: it links after each group's
    step, but once."""
    link = getattr(engine.optimizer, "_lazy_init_hp_params_optimizer_state", None)
    if link is not None:
        engine.optimizer._hp_optimizer_states_linked = False  # noqa: SLF001
        link()


def _apart(engine: Any, part: int, moments: list[str]) -> dict[tuple[str, str], str]:
    """Without ZeRO, in 16 bits, the masters and their moments are tensors that no parameter leads
    to; every rank has them all."""
    parameters = set(engine.module.parameters())
    if any(hasattr(each, "ds_id") or hasattr(each, "_hp_mapping") for each in parameters):
        return {}
    inner = getattr(engine.optimizer, "optimizer", engine.optimizer)
    found: dict[tuple[str, str], str] = {}
    for number, group in enumerate(inner.param_groups):
        for place, master in enumerate(group["params"]):
            if master in parameters:
                continue
            state = inner.state.get(master, {})
            for key, tensor in ((MASTER, master), *((k, state.get(k)) for k in moments)):
                if tensor is not None:
                    name = f"master {number}.{place} of slice {part}"
                    found[name, key] = digest(tensor.detach().to("cpu", torch.float32).numpy())
    return found


def position(engine: Any) -> dict[str, Any]:
    """Where optimizer and schedule stand, in numbers that JSON keeps exactly."""
    schedule = engine.lr_scheduler.state_dict() if engine.lr_scheduler else {}
    return {
        "the engine's step": int(engine.global_steps),
        "the optimizer's step": sorted(
            {float(each["step"]) for each in _states(engine) if "step" in each}
        ),
        "the schedule": {k: v for k, v in schedule.items() if isinstance(v, int | float)},
        "the learning rate": [float(np.float64(g["lr"])) for g in engine.optimizer.param_groups],
    }


def _states(engine: Any) -> list[dict[str, Any]]:
    inner = getattr(engine.optimizer, "optimizer", engine.optimizer)
    return list(inner.state.values()) or [{}]
