"""How does a language model become one that vLLM serves? Its files lie beside our model of the Python
backend (`backends/vllm.py`), which runs vLLM's engine on them.

The weights are safetensors alone. The size of a group comes from the order, and what a file
vllm.json beside the weights says of the engine is taken where it is in `ENGINE`.
"""

from preamar_model.build import language
from preamar_model.order import BuildSpec
from preamar_model.refusal import unsupported
from preamar_model.build.repository import Repository
from preamar_model.files.source import Source

ENGINE = language.EngineArguments(
    name="vLLM",
    front="vllm",
    file="vllm.json",
    taken={
        "max_model_len": int,
        "max_num_batched_tokens": int,
        "gpu_memory_utilization": float,
        "quantization": str,
        "dtype": str,
        "kv_cache_dtype": str,
        "enforce_eager": bool,
        "enable_prefix_caching": bool,
    },
    length="max_model_len",
    memory="gpu_memory_utilization",
)
TOKENS = 8192
"""Of one pass of a model over several pods, unless its file says another."""
WORKER_PY = """# The code is the image's: this file only says which.
from pathlib import Path

from preamar_model.group.headless import main

main(Path(__file__).parent / "1")
"""


def write(source: Source, order: BuildSpec, to: Repository) -> None:
    """Raises `Refusal` for what vLLM cannot serve, or only with the trust of the model's owner."""
    if order.tensor * order.pipeline % order.stages:
        raise unsupported(
            f"{order.tensor * order.pipeline} accelerators (parallelism.tensor x pipeline) are no "
            f"multiple of {order.stages} pods; set spec.parallelism.nodes to a divisor of them."
        )
    found = language.find(ENGINE, source, order, to)
    arguments = {
        "model": found.weights,
        "load_format": "safetensors",
        "tensor_parallel_size": order.tensor,
        "pipeline_parallel_size": order.pipeline,
        "max_num_seqs": order.max_batch_size,
        "max_model_len": found.context,
        "trust_remote_code": order.trust == "Code",
        **(_spanning(order) if order.stages > 1 else {}),
        **found.wishes,
    }
    if order.expert > 1:
        if order.expert != order.tensor:
            raise unsupported(
                "vLLM spreads experts over all accelerators that share a layer; set "
                f"spec.parallelism.expert to spec.parallelism.tensor ({order.tensor}), or to 1."
            )
        arguments["enable_expert_parallel"] = True
    language.store(ENGINE, source, found, arguments, to)
    if order.stages > 1:
        (to.folder(order.name).parent / "worker.py").write_text(WORKER_PY)


def _spanning(order: BuildSpec) -> dict[str, object]:
    """Arguments for several pods; which of them a pod is, it finds when it starts."""
    return {
        "nnodes": order.stages,
        "distributed_executor_backend": "mp",
        # Left out it would be another for the workers, who compute the same passes.
        "max_num_batched_tokens": max(TOKENS, order.max_batch_size),
    }
