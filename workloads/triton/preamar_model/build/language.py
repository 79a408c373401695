"""What does an engine for language models need beside the weights, and what may a user set of it?

For engines that read Hugging Face's files themselves (vLLM, TensorRT-LLM): safetensors, config.json and
a tokenizer. The arguments that we do not order are taken from one file beside them, where they are known.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from preamar_model.order import BuildSpec
from preamar_model.files.pooling import json_at
from preamar_model.files.recognise import PICKLES, is_pickle
from preamar_model.refusal import RefusalReason, Refusal, invalid, unsupported
from preamar_model.build.repository import VERSION, Repository
from preamar_model.files.source import Source
from preamar_model.build.tasks import GENERATED, chat_template

EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")


@dataclass(frozen=True, slots=True)
class EngineArguments:
    """``front``: the module of `backends` that runs it. ``taken``: what its file may set, and the type of
    each; others would say where code or weights come from. ``length`` and ``memory`` are of these."""

    name: str
    front: str
    file: str
    taken: Mapping[str, type]
    length: str
    memory: str


@dataclass(frozen=True, slots=True)
class LanguageFiles:
    """``wishes`` are those of the file, ``context`` is in tokens, the answer included, and ``weights`` where
    the files will be when Triton reads them."""

    config: Mapping[str, object]
    wishes: Mapping[str, object]
    context: int
    weights: str


def find(engine: EngineArguments, source: Source, order: BuildSpec, to: Repository) -> LanguageFiles:
    """Raises `Refusal` for what the engine cannot serve, or only with the trust of the model's owner."""
    if order.task != "Generate":
        raise unsupported(f"{engine.name} serves task Generate here, not {order.task}.")
    if order.instances > 1:
        raise unsupported(f"One {engine.name} joins all requests; set spec.runtime.instances to 1.")
    config = _config(engine, source, order)
    if order.expert > 1:
        _check_experts(config, order.expert)
    wishes = _wishes(engine, source)
    context = wishes.get(engine.length) or _context(engine, config)
    return LanguageFiles(config, wishes, int(context), str(to.root / order.name / VERSION / "weights"))


def store(
    engine: EngineArguments, source: Source, found: LanguageFiles, arguments: Mapping[str, object], to: Repository
) -> None:
    """Write the weights, the engine's arguments, and our model that runs it on them."""
    order = to.order
    folder = to.folder(order.name)
    _weights(engine, source, order, folder / "weights")
    (folder / "model.json").write_text(json.dumps(arguments, indent=2) + "\n")
    told = {
        "engine": engine.front,
        "max_context": str(found.context),
        "streams": str(order.max_batch_size),
    }
    if template := chat_template(source):
        told["chat_template"] = template
    to.front(engine.front, GENERATED, told, 0)


def _config(engine: EngineArguments, source: Source, order: BuildSpec) -> dict:
    if source.is_file or not source.has("config.json"):
        raise unsupported(
            f"{engine.name} needs a directory: safetensors, config.json and the tokenizer."
        )
    if not any(name in source.files for name in ("tokenizer.json", "tokenizer.model")):
        raise invalid("There is neither tokenizer.json nor tokenizer.model.")
    config = json_at(source, "config.json")
    if not isinstance(config, dict) or not config.get("architectures"):
        raise invalid(
            f"config.json names no architectures, so {engine.name} cannot know the model."
        )
    if config.get("auto_map") and order.trust != "Code":
        raise Refusal(
            RefusalReason.CODE_NOT_TRUSTED,
            "config.json names code of the model's own (auto_map), which runs when it is loaded; "
            "set spec.model.trust to Code if you trust it.",
        )
    return config


def _check_experts(config: Mapping, accelerators: int) -> None:
    found = [number for number in _whole_numbers(config, EXPERTS) if number > 1]
    if not found:
        raise unsupported(
            "config.json names no experts that could be spread over accelerators; set "
            "spec.parallelism.expert to 1."
        )
    if found[0] % accelerators:
        raise unsupported(
            f"{found[0]} experts cannot be spread evenly over {accelerators} accelerators; set "
            f"spec.parallelism.expert to a divisor of {found[0]}."
        )


def _whole_numbers(config: Mapping, keys: tuple[str, ...]) -> list[int]:
    """Those that are there under any of the keys. A model that also sees keeps those of its text apart,
    and a few keep those of their experts apart."""
    parts = [config, *(config.get(key) or {} for key in ("text_config", "ffn_config"))]
    return [part[key] for part in parts for key in keys if isinstance(part.get(key), int)]


def _context(engine: EngineArguments, config: Mapping) -> int:
    found = _whole_numbers(config, CONTEXT)
    if not found or found[0] < 2:
        raise invalid(
            f"config.json does not say how long the context is; set {engine.length} in {engine.file}."
        )
    return int(found[0])


def _wishes(engine: EngineArguments, source: Source) -> dict:
    file = engine.file
    if not source.has(file):
        return {}
    found = json_at(source, file)
    if not isinstance(found, dict):
        raise invalid(f"{file} is not an object.")
    for name, value in found.items():
        if name not in engine.taken:
            raise invalid(f"{file}: {name} is not taken; these are: {', '.join(engine.taken)}.")
        kind = engine.taken[name]
        right = isinstance(value, int | float) if kind is float else isinstance(value, kind)
        if not right or (isinstance(value, bool) and kind is not bool):
            raise invalid(f"{file}: {name} must be of type {kind.__name__}.")
        if kind is int and value < 1:
            raise invalid(f"{file}: {name} must be at least 1.")
    if (most := found.get(engine.length)) is not None and most < 2:
        raise invalid(f"{file}: {engine.length} must be at least 2.")
    if not 0 < found.get(engine.memory, 0.9) <= 1:
        raise invalid(f"{file}: {engine.memory} must be above 0 and at most 1.")
    return found


def _weights(engine: EngineArguments, source: Source, order: BuildSpec, target: Path) -> None:
    for name in source.files:
        suffix = PurePosixPath(name).suffix
        if suffix in PICKLES or (suffix == ".bin" and is_pickle(source.at(name))):
            continue  # the same weights again, in a form that is never loaded
        if name == engine.file or (suffix == ".py" and order.trust != "Code"):
            continue
        source.copy(name, target / name)
