"""How does a language model become one that vLLM serves? Its files lie beside our model of the Python
backend (`backends/vllm.py`), which runs vLLM's engine on them.

The weights are safetensors alone. The size of a group comes from the order, and what a file
vllm.json beside the weights says of the engine is taken where it is in TAKEN.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from preamar_model.order import Order
from preamar_model.pooling import json_at
from preamar_model.recognise import PICKLES, is_pickle
from preamar_model.refusal import Reason, Refusal, invalid, unsupported
from preamar_model.repository import VERSION, Repository
from preamar_model.source import Source
from preamar_model.tasks import GENERATED, chat_template

FILE = "vllm.json"
TAKEN: Mapping[str, type | tuple[type, ...]] = {
    "max_model_len": int,
    "max_num_batched_tokens": int,
    "gpu_memory_utilization": float,
    "quantization": str,
    "dtype": str,
    "kv_cache_dtype": str,
    "enforce_eager": bool,
    "enable_prefix_caching": bool,
}
"""Of vLLM's engine arguments. Others would say where code or weights come from."""
CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")


def write(source: Source, order: Order, to: Repository) -> None:
    """Raises `Refusal` for what vLLM cannot serve, or only with the trust of the model's owner."""
    if order.task != "Generate":
        raise unsupported(f"vLLM serves task Generate here, not {order.task}.")
    if order.instances > 1:
        raise unsupported("One vLLM joins all requests; set spec.runtime.instances to 1.")
    config = _config(source, order)
    wishes = _wishes(source)
    context = wishes.get("max_model_len") or _context(config)
    folder = to.folder(order.name)
    _weights(source, order, folder / "weights")
    arguments = {
        # Where it will be when Triton reads it.
        "model": str(to.root / order.name / VERSION / "weights"),
        "load_format": "safetensors",
        "tensor_parallel_size": order.tensor,
        "pipeline_parallel_size": order.pipeline,
        "max_num_seqs": order.max_batch_size,
        "max_model_len": context,
        "trust_remote_code": order.trust == "Code",
        **wishes,
    }
    (folder / "model.json").write_text(json.dumps(arguments, indent=2) + "\n")
    told = {"engine": "vllm", "max_context": str(context), "streams": str(order.max_batch_size)}
    if template := chat_template(source):
        told["chat_template"] = template
    to.front("vllm", GENERATED, told, 0)


def _config(source: Source, order: Order) -> dict:
    if source.is_file or not source.has("config.json"):
        raise unsupported("vLLM needs a directory: safetensors, config.json and the tokenizer.")
    if not any(name in source.files for name in ("tokenizer.json", "tokenizer.model")):
        raise invalid("There is neither tokenizer.json nor tokenizer.model.")
    config = json_at(source, "config.json")
    if not isinstance(config, dict) or not config.get("architectures"):
        raise invalid("config.json names no architectures, so vLLM cannot know the model.")
    if config.get("auto_map") and order.trust != "Code":
        raise Refusal(
            Reason.CODE_NOT_TRUSTED,
            "config.json names code of the model's own (auto_map), which runs when it is loaded; "
            "set spec.model.trust to Code if you trust it.",
        )
    return config


def _context(config: Mapping) -> int:
    """The length of the context in tokens, the answer included."""
    parts = (config, config.get("text_config") or {})
    found = [part[key] for part in parts for key in CONTEXT if isinstance(part.get(key), int)]
    if not found or found[0] < 2:
        raise invalid(
            f"config.json does not say how long the context is; set max_model_len in {FILE}."
        )
    return int(found[0])


def _wishes(source: Source) -> dict:
    if not source.has(FILE):
        return {}
    found = json_at(source, FILE)
    if not isinstance(found, dict):
        raise invalid(f"{FILE} is not an object.")
    for name, value in found.items():
        if name not in TAKEN:
            raise invalid(f"{FILE}: {name} is not taken; these are: {', '.join(TAKEN)}.")
        kind = TAKEN[name]
        right = isinstance(value, int | float) if kind is float else isinstance(value, kind)
        if not right or (isinstance(value, bool) and kind is not bool):
            raise invalid(f"{FILE}: {name} must be of type {kind.__name__}.")
    if (most := found.get("max_model_len")) is not None and most < 2:
        raise invalid(f"{FILE}: max_model_len must be at least 2.")
    if not 0 < found.get("gpu_memory_utilization", 0.9) <= 1:
        raise invalid(f"{FILE}: gpu_memory_utilization must be above 0 and at most 1.")
    return found


def _weights(source: Source, order: Order, target: Path) -> None:
    for name in source.files:
        suffix = PurePosixPath(name).suffix
        if suffix in PICKLES or (suffix == ".bin" and is_pickle(source.at(name))):
            continue  # the same weights again, in a form that is never loaded
        if name == FILE or (suffix == ".py" and order.trust != "Code"):
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.at(name), target / name)
