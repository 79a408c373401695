"""The whole FP32 weights and moments of a running engine, one after another, on each rank that
holds a part of them. Collective.

Under ZeRO 1 and 2 each tensor is put together from the ranks' fragments. DeepSpeed's own way takes
an exchange for each of them, which for small tensors is nothing but waiting; here as many as fit
into a bucket share one. The sum of a fragment and zeros is the fragment, to the last bit.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from deepspeed import comm
from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state
from torch import Tensor
from torch.nn import Parameter

from preamar_train.checkpoint.proof import MASTER
from preamar_train.ranks.weights import own

BUCKET_BYTES = 64 * 2**20

_Asked = list[tuple[int, Parameter, str]]


def tensors(
    engine: Any, parameters: Iterable[Parameter], moments: list[str]
) -> Iterator[tuple[int, str, Tensor]]:
    """The number of a parameter, `MASTER` or the name of a moment, and the tensor, in their order.
    A tensor is good until the next is asked for."""
    bucket: _Asked = []
    for number, parameter in enumerate(parameters):
        if not _in_fragments(parameter):
            yield from _exchanged(bucket)
            bucket = []
            yield from ((number, key, each) for key, each in _own(engine, parameter, moments))
            continue
        for key in (MASTER, *moments):
            if bucket and not _fits(bucket, parameter):
                yield from _exchanged(bucket)
                bucket = []
            bucket.append((number, parameter, key))
    yield from _exchanged(bucket)


def _in_fragments(parameter: Any) -> bool:
    """Whether ZeRO 1 or 2 has divided it; under ZeRO 3 it has a `ds_id`."""
    return hasattr(parameter, "_hp_mapping") and not hasattr(parameter, "ds_id")


def _fits(bucket: _Asked, parameter: Any) -> bool:
    size = 4 * (parameter.numel() + sum(each.numel() for _, each, _ in bucket))
    group = bucket[0][1]._dp_group  # noqa: SLF001 - as DeepSpeed's tensor_fragment has it
    return size <= BUCKET_BYTES and parameter._dp_group is group  # noqa: SLF001


def _exchanged(bucket: _Asked) -> Iterator[tuple[int, str, Tensor]]:
    if not bucket:
        return
    first: Any = bucket[0][1]
    sizes = [each.numel() for _, each, _ in bucket]
    buffer = torch.zeros(sum(sizes), dtype=torch.float32, device=first.device)
    pieces = buffer.split(sizes)
    for piece, (_, parameter, key) in zip(pieces, bucket, strict=True):
        mapping = parameter._hp_mapping  # type: ignore[attr-defined]  # noqa: SLF001
        if mapping is not None:  # else none of it is this rank's
            place = mapping.lp_fragment_address
            fragment = mapping.get_hp_fragment(None if key == MASTER else key)
            piece.narrow(0, place.start, place.numel).copy_(fragment.detach().flatten())
    comm.all_reduce(buffer, group=first._dp_group)  # noqa: SLF001
    for piece, (number, parameter, key) in zip(pieces, bucket, strict=True):
        yield number, key, piece.view(parameter.shape)


def _own(engine: Any, parameter: Parameter, moments: list[str]) -> Iterator[tuple[str, Tensor]]:
    yield MASTER, _master(parameter)
    for key in moments:
        moment = safe_get_full_optimizer_state(parameter, key)
        if moment is None:  # without ZeRO every rank has the whole of it, in FP32 by parameter
            moment = engine.optimizer.state.get(parameter, {}).get(key)
        if moment is not None:
            yield key, moment


def _master(parameter: Parameter) -> Tensor:
    master = safe_get_full_fp32_param(parameter)
    return own(parameter) if master is None else master
