"""What a checkpoint tells of its weights, so that it can be put together for other layouts.

DeepSpeed writes it into each checkpoint and its conversion to the universal form reads it
(checkpoint/ds_to_universal.py): patterns of names, by how the ranks of a layer share a weight.
What no pattern names is put together along its first dimension.
"""

from typing import Any

from torch import nn

ALIKE = r".*norm\.weight$"
BY_INPUTS = r".*\.(o_proj|down_proj)\.weight$"
TIED = r"tied_modules\."


def describe(model: nn.Module) -> dict[str, Any]:
    names = [name for name, _ in model.named_parameters()]
    return {
        "universal_checkpoint_version": 0.4,
        "tp_replicated_parameter_patterns": [ALIKE],
        "parameter_with_row_parallelism_patterns": [BY_INPUTS],
        # Two stages of a pipeline hold the embedding: the first one's counts.
        "pipeline_replicated_parameter_patterns": [TIED]
        if any("tied_" in n for n in names)
        else [],
    }
