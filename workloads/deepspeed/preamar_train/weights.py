"""The whole FP32 weights, wherever ZeRO has put them, and whether all ranks agree on them."""

import hashlib
from collections.abc import Iterator
from typing import Any

import deepspeed
import numpy as np
import torch
from deepspeed.utils import safe_get_full_fp32_param

from preamar_train.failures import Class, Failure
from preamar_train.gang import Gang


def full_weights(engine: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Each weight by name. Collective: every rank must walk through all of it."""
    for name, parameter in engine.module.named_parameters():
        master = safe_get_full_fp32_param(parameter)
        if master is None:  # without ZeRO the FP32 weights are the model's own
            with deepspeed.zero.GatheredParameters(
                [parameter], enabled=hasattr(parameter, "ds_id")
            ):
                master = parameter.detach().clone()
        yield name, master.to("cpu", torch.float32).numpy()


def own_digest(engine: Any) -> str:
    """Hash of the weights that this rank computes with."""
    digest = hashlib.sha256()
    for name, parameter in engine.module.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
            digest.update(name.encode())
            digest.update(parameter.detach().to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()


def agreed_digest(engine: Any, gang: Gang) -> str:
    """The digest, if it is the same on every rank: data-parallel ranks must never drift apart."""
    digests = gang.hear(own_digest(engine))
    for rank, digest in enumerate(digests):
        if digest != digests[0]:
            raise Failure(
                Class.UNKNOWN, f"Ranks 0 and {rank} hold different weights after the same steps."
            )
    return digests[0]
