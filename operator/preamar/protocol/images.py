"""What are the images of model and training pods called, and who may give another for each?

From an image's name follow the operator's flag, its environment variable and the chart's value:
``triton-gpu`` is ``--gpu-triton-image``, ``PREAMAR_GPU_TRITON_IMAGE`` and ``workloads.tritonGpu``.
"""

TRITON, TRITON_GPU = "triton", "triton-gpu"
TRITON_VLLM, TRITON_TRTLLM = "triton-vllm", "triton-trtllm"
DEEPSPEED, DEEPSPEED_GPU = "deepspeed", "deepspeed-gpu"
TRAINERS = (DEEPSPEED, DEEPSPEED_GPU)
REPOSITORY = "localhost/preamar"


def default_of(name: str) -> str:
    """The image where nobody has given another."""
    return f"{REPOSITORY}/{name}:latest"


def key_of(name: str) -> str:
    """What the flag is found by among parsed arguments."""
    return "_".join((*reversed(name.split("-")), "image"))


def flag_of(name: str) -> str:
    """The operator's flag."""
    return f"--{key_of(name).replace('_', '-')}"


def variable_of(name: str) -> str:
    """The operator's environment variable, which the chart sets."""
    return f"PREAMAR_{key_of(name).upper()}"


def value_of(name: str) -> str:
    """The chart's value below ``workloads``."""
    first, *others = name.split("-")
    return first + "".join(map(str.capitalize, others))
