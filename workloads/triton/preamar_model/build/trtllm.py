"""How does a language model become one that TensorRT-LLM serves? Its files lie beside our model of the
Python backend (`backends/trtllm.py`), which runs TensorRT-LLM's engine for PyTorch on them.

No engine is built before: that way ended with release 1.2 of TensorRT-LLM. What a file trtllm.json beside
the weights says of the engine is taken where it is in `ENGINE`; names in `CACHE` are those of its cache.
"""

from preamar_model.build import language
from preamar_model.order import BuildSpec
from preamar_model.refusal import invalid, unsupported
from preamar_model.build.repository import Repository
from preamar_model.files.source import Source

CACHE = {
    "free_gpu_memory_fraction": "free_gpu_memory_fraction",
    "enable_block_reuse": "enable_block_reuse",
    "kv_cache_dtype": "dtype",
}
"""Our names for the fields of KvCacheConfig."""
BLOCK = 32
"""Tokens of a block of its cache. A prompt is cut into passes of whole blocks."""
ENGINE = language.EngineArguments(
    name="TensorRT-LLM",
    front="trtllm",
    file="trtllm.json",
    taken={
        "max_seq_len": int,
        "max_num_tokens": int,
        "free_gpu_memory_fraction": float,
        "dtype": str,
        "kv_cache_dtype": str,
        "enable_block_reuse": bool,
        "enable_chunked_prefill": bool,
        "disable_overlap_scheduler": bool,
    },
    length="max_seq_len",
    memory="free_gpu_memory_fraction",
)


def write(source: Source, order: BuildSpec, to: Repository) -> None:
    """Raises `Refusal` for what TensorRT-LLM cannot serve, or only with the trust of the model's owner."""
    found = language.find(ENGINE, source, order, to)
    if found.wishes.get("max_num_tokens", BLOCK) % BLOCK:
        raise invalid(f"{ENGINE.file}: max_num_tokens must be a multiple of {BLOCK}.")
    wishes = {name: value for name, value in found.wishes.items() if name not in CACHE}
    cache = {CACHE[name]: value for name, value in found.wishes.items() if name in CACHE}
    arguments = {
        "model": found.weights,
        "tensor_parallel_size": order.tensor,
        "pipeline_parallel_size": order.pipeline,
        "max_batch_size": order.max_batch_size,
        "max_seq_len": found.context,
        # Else a prompt longer than one pass (max_num_tokens) would be refused.
        "enable_chunked_prefill": True,
        "trust_remote_code": order.trust == "Code",
        **wishes,
        **({"kv_cache_config": cache} if cache else {}),
    }
    if order.expert > 1:
        if order.tensor % order.expert:
            raise unsupported(
                "TensorRT-LLM spreads experts over accelerators that share a layer; set "
                f"spec.parallelism.expert to a divisor of spec.parallelism.tensor ({order.tensor})."
            )
        arguments["moe_expert_parallel_size"] = order.expert
    language.store(ENGINE, source, found, arguments, to)
