"""How does DeepSpeed answer what is asked of a trainer? Each answer stands in the file of its question."""

from typing import final

from preamar.core.training.backends.backend import Tool
from preamar.core.training.backends.deepspeed import (
    command,
    configuration,
    conversion,
    memory,
    pace,
    parallelism,
)
from preamar.protocol.images import DEEPSPEED, DEEPSPEED_GPU


@final
class DeepSpeed:
    """The trainer of ``workloads/deepspeed``."""

    name, image, gpu_image = "deepspeed", DEEPSPEED, DEEPSPEED_GPU

    impossible = staticmethod(parallelism.impossible)
    ungrouped = staticmethod(parallelism.ungrouped)
    fixed = staticmethod(parallelism.fixed)
    owned = staticmethod(configuration.owned)

    memory_percent = memory.ERROR_PERCENT
    estimate = staticmethod(memory.estimate)
    lacking = staticmethod(memory.lacking)
    comfortable = staticmethod(memory.comfortable)

    pace_percent = pace.ERROR_PERCENT
    step = staticmethod(pace.step)

    preparer = Tool(("preamar-train", "prepare"), {})
    of_ranks = staticmethod(command.of_ranks)
    command = staticmethod(command.command)

    converter = Tool(("preamar-train", "convert"), {"DS_ACCELERATOR": "cpu"})
    converts = staticmethod(conversion.converts)
    conversion_memory = staticmethod(conversion.memory)
