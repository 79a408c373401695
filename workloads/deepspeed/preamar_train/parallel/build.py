"""The model of an order, as DeepSpeed trains it on these ranks."""

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import deepspeed
import torch
from deepspeed.runtime.pipe.topology import PipelineParallelGrid, PipeModelDataParallelTopology

from preamar_train.models.init_weights import Drawn
from preamar_train.models.mixture import decoder_of
from preamar_train.models.presets import ModelShape
from preamar_train.models.slices import Slices
from preamar_train.parallel.layout import Layout
from preamar_train.parallel.piped import Noted, Piped
from preamar_train.parallel.plain import Plain
from preamar_train.parallel.stages import stages
from preamar_train.parallel.universal import describe
from preamar_train.request import TrainRequest


def build(
    request: TrainRequest,
    shape: ModelShape,
    config: Mapping[str, Any],
    layout: Layout,
    device: torch.device,
) -> Plain | Piped:
    """Fresh weights, the same at every layout: a checkpoint is loaded afterwards."""
    topology = PipeModelDataParallelTopology(
        num_pp=layout.pipeline, num_mp=layout.tensor, num_dp=layout.data
    )
    # DeepSpeed asks it which ranks share what; without one, all are copies.
    grid = PipelineParallelGrid(topology) if layout.tensor > 1 else None
    drawn = Drawn(shape.seed, _slices(layout, grid))
    if layout.pipeline > 1:
        noted = Noted(drawn.slices)
        model = stages(shape, drawn, topology, noted)
        return Piped(_engine(model, config), layout, noted, request.micro_batch)
    apart = request.zero_stage == 3
    copies = grid.get_data_parallel_group() if grid else None  # else ZeRO 3 would mix up slices
    init = partial(
        deepspeed.zero.Init, config_dict_or_path=config, mpu=grid, data_parallel_group=copies
    )
    with init() if apart else nullcontext():
        model = decoder_of(shape, drawn)
    return Plain(_engine(model, config, grid), layout, device, request.micro_batch)


def _slices(layout: Layout, grid: PipelineParallelGrid | None) -> Slices:
    group = grid.get_slice_parallel_group() if grid else None
    return Slices(layout.slice, layout.tensor, group)


def _engine(model: Any, config: Mapping[str, Any], grid: PipelineParallelGrid | None = None) -> Any:
    model.universal_checkpoint_info = describe(model)
    engine, *_ = deepspeed.initialize(
        model=model,
        model_parameters=model.parameters(),
        config=config,
        mpu=grid,
        dist_init_required=False,
    )
    return engine
