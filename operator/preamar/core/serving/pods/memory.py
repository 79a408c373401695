"""Which memory did a container run out of, by how it ended?

The kernel says so itself where it kills a container for its limit. All else is in the last words:
those of the model server, of Python, of ONNX Runtime, TensorRT, PyTorch and vLLM are in the table.
"""

import re
from enum import StrEnum

from preamar.core.pods import ContainerView

REFUSED = 64  # exit code of the init container where its words are a judgement and no accident


class Memory(StrEnum):
    """What there was not enough of."""

    CONTAINER = "container"
    ACCELERATOR = "accelerator"


PHRASES: tuple[tuple[str, Memory | None], ...] = (
    (r"(CUDA|HIP) out of memory", Memory.ACCELERATOR),
    (r"CUDA (error|failure \d+): out of memory", Memory.ACCELERATOR),
    (r"cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY", Memory.ACCELERATOR),
    (r"torch\.(cuda\.)?OutOfMemoryError", Memory.ACCELERATOR),
    (r"(CUBLAS|CUDNN|CUSOLVER|CUSPARSE)_STATUS_ALLOC_FAILED", Memory.ACCELERATOR),
    (r"Cuda Runtime \(out of memory\)|Error Code 2: OutOfMemory", Memory.ACCELERATOR),
    (r"Requested amount of GPU memory \(.*\) could not be allocated", Memory.ACCELERATOR),
    (r"No available memory for the cache blocks", Memory.ACCELERATOR),
    (r"larger than the (available KV cache memory|maximum number of tokens that can be stored in KV cache)", Memory.ACCELERATOR),
    (r"less than desired GPU memory utilization", Memory.ACCELERATOR),
    (r"ran out of memory: it needs more than the container's limit", Memory.CONTAINER),
    (r"std::bad_alloc", Memory.CONTAINER),
    (r"(?<!OutOf)MemoryError\b", Memory.CONTAINER),
    (r"DefaultCPUAllocator: (not enough memory|can't allocate memory)", Memory.CONTAINER),
    (r"Cannot allocate memory", Memory.CONTAINER),
    # ONNX Runtime's arena says the same of either memory.
    (r"Failed to allocate memory for requested buffer", None),
    (r"Available memory of \d+ is smaller than requested bytes of \d+", None),
    (r"\bout of memory\b|\bOutOfMemory\b", None),
)  # fmt: skip
"""What is said, and of which memory; None: of that which the model computes in. The first counts."""
KNOWN = tuple((re.compile(phrase, re.IGNORECASE), memory) for phrase, memory in PHRASES)


def told(words: str, *, gpu: bool) -> Memory | None:
    """The memory that ran out, as last words have it; None if they speak of something else.
    ``gpu``: the model computes on one."""
    for phrase, memory in KNOWN:
        if phrase.search(words):
            return memory or (Memory.ACCELERATOR if gpu else Memory.CONTAINER)
    return None


def exceeded(container: ContainerView, *, gpu: bool) -> Memory | None:
    """The memory that a container ran out of when it last ended."""
    end = container.last_end
    if end is None or end.exit_code == 0:
        # Some runtimes report that a child was killed of a container that ended well without it.
        return None
    if end.reason == "OOMKilled":
        return Memory.CONTAINER
    if container.init and end.exit_code == REFUSED:
        return None
    return told(end.message, gpu=gpu)


def sentence(memory: Memory, container: ContainerView, times: str, batch: int) -> str:
    """What happened, and what would help."""
    preparing = container.init
    who = "Preparing the model" if preparing else "The model server"
    smaller = "" if preparing or batch <= 1 else " or lower runtime.batching.maxBatchSize"
    with_batch = "" if preparing else f" with batches of {batch}"
    if memory == Memory.CONTAINER:
        return (
            f"{who} needs more memory than the limit of its container{with_batch} ({times}). "
            f"Raise runtime.resources.limits.memory{smaller}."
        )
    return (
        f"{who} needs more memory than the accelerator has{with_batch} ({times}). "
        f"Choose an accelerator with more memory{smaller}."
    )
