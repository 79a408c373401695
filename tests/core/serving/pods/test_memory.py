"""Which memory ran out, as kernels, runtimes and model servers say it.

Holds: core/serving/pods/memory.py
"""

import pytest

from preamar.core.pods import ContainerView, Ended
from preamar.core.serving.pods.memory import Memory, exceeded, sentence, told

ON_CPU, ON_GPU = Memory.CONTAINER, Memory.ACCELERATOR
SAID = [
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total", ON_GPU, ON_GPU),
    ("torch.cuda.OutOfMemoryError: HIP out of memory.", ON_GPU, ON_GPU),
    ("RuntimeError: CUDA error: out of memory", ON_GPU, ON_GPU),
    ("CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc((void**)&p, size);", ON_GPU, ON_GPU),
    ("cudaErrorMemoryAllocation: an allocation failed", ON_GPU, ON_GPU),
    ("CUDA_ERROR_OUT_OF_MEMORY", ON_GPU, ON_GPU),
    ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", ON_GPU, ON_GPU),
    ("CUDNN_STATUS_ALLOC_FAILED", ON_GPU, ON_GPU),
    ("[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)", ON_GPU, ON_GPU),
    ("2: [virtualMemoryBuffer.cpp::resizePhysical::140] Error Code 2: OutOfMemory (no further information)", ON_GPU, ON_GPU),
    ("Requested amount of GPU memory (8589934592 bytes) could not be allocated.", ON_GPU, ON_GPU),
    ("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`", ON_GPU, ON_GPU),
    ("16.0 GiB KV cache is needed, which is larger than the available KV cache memory (2.1 GiB).", ON_GPU, ON_GPU),
    ("Free memory on device (2/24 GiB) on startup is less than desired GPU memory utilization", ON_GPU, ON_GPU),
    ("The model server ran out of memory: it needs more than the container's limit of 512 MiB.", ON_CPU, ON_CPU),
    ("terminate called after throwing an instance of 'std::bad_alloc'", ON_CPU, ON_CPU),
    ("Building the model repository failed: MemoryError: checking the model was killed", ON_CPU, ON_CPU),
    ("numpy.core._exceptions._ArrayMemoryError: Unable to allocate 9.31 GiB", ON_CPU, ON_CPU),
    ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes.", ON_CPU, ON_CPU),
    ("fork: Cannot allocate memory", ON_CPU, ON_CPU),
    ("bfc_arena.cc:376 AllocateRawInternal Failed to allocate memory for requested buffer of size 536870912", ON_CPU, ON_GPU),
    ("Available memory of 0 is smaller than requested bytes of 1048576", ON_CPU, ON_GPU),
    ("Out of memory", ON_CPU, ON_GPU),
    ("Triton ended with code 1: no error in its log", None, None),
    ("CUDA error: an illegal memory access was encountered", None, None),
    ("Triton hit a bus error (is /dev/shm too small?).", None, None),
    ("No space left on device", None, None),
    ("The model takes no input called 'memory'.", None, None),
    ("", None, None),
]  # fmt: skip


@pytest.mark.parametrize(("words", "on_cpu", "on_gpu"), SAID, ids=lambda v: v or "")
def test_last_words_tell_which_memory_ran_out(words, on_cpu, on_gpu):
    assert (told(words, gpu=False), told(words, gpu=True)) == (on_cpu, on_gpu)


ENDS = [
    pytest.param(Ended(137, "OOMKilled"), False, Memory.CONTAINER, id="the kernel's word is enough"),
    pytest.param(Ended(1, "OOMKilled"), False, Memory.CONTAINER, id="also where a child was killed"),
    pytest.param(Ended(137, "Error"), False, None, id="a kill alone says nothing of memory"),
    pytest.param(Ended(0, "OOMKilled"), True, None, id="whoever ended well had enough"),
    pytest.param(Ended(1, "Error", "MemoryError"), True, Memory.CONTAINER, id="preparing can run out too"),
    pytest.param(Ended(64, "Error", "MemoryError"), True, None, id="a refusal is no accident"),
    pytest.param(None, False, None, id="what never ended has not run out"),
]  # fmt: skip


@pytest.mark.parametrize(("end", "init", "memory"), ENDS)
def test_how_a_container_ended_tells_whether_memory_ran_out(end, init, memory):
    name = "model" if init else "triton"
    assert exceeded(ContainerView(name, init=init, ended_before=end), gpu=False) == memory


SERVER, BUILDER = ContainerView("triton"), ContainerView("model", init=True)
SENTENCES = [
    (Memory.CONTAINER, SERVER, 4, "The model server needs more memory than the limit of its container with batches of 4 (once). Raise runtime.resources.limits.memory or lower runtime.batching.maxBatchSize."),
    (Memory.CONTAINER, SERVER, 1, "The model server needs more memory than the limit of its container with batches of 1 (once). Raise runtime.resources.limits.memory."),
    (Memory.ACCELERATOR, SERVER, 4, "The model server needs more memory than the accelerator has with batches of 4 (once). Choose an accelerator with more memory or lower runtime.batching.maxBatchSize."),
    (Memory.CONTAINER, BUILDER, 4, "Preparing the model needs more memory than the limit of its container (once). Raise runtime.resources.limits.memory."),
]  # fmt: skip


@pytest.mark.parametrize(("memory", "container", "batch", "words"), SENTENCES)
def test_the_sentence_names_the_memory_and_only_what_would_help(memory, container, batch, words):
    assert sentence(memory, container, "once", batch) == words
