"""How does each task become a Triton model?

`Infer` keeps the model's own tensors. `Embed` takes text: an encoder from safetensors or ONNX,
with its tokenizer. `Generate` streams text from a decoder in ONNX with a key-value cache.
"""

import json
from collections.abc import Mapping

import onnx

from preamar_model.build import encoder
from preamar_model.files import onnx_file
from preamar_model.files import pooling
from preamar_model.build import routers
from preamar_model.files import tensors
from preamar_model.files import weights
from preamar_model.order import BuildSpec
from preamar_model.files.pbtxt import EnumWord
from preamar_model.files.pooling import Pooling, json_at
from preamar_model.files.recognise import ModelKind
from preamar_model.files.recognise import onnx_file as find_onnx
from preamar_model.refusal import invalid, unsupported
from preamar_model.build.repository import Repository, graph_name
from preamar_model.files.source import Source
from preamar_model.files.tensors import TYPES
from preamar_model.files.tokenizer import Tokens, max_tokens, store_tokenizer

ENCODER_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
MEASURED = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"}
"""They take one range for all rows of a call."""
HEAD = "preamar_embedding"
"""The output of a graph to which pooling was added."""


def tensor(name: str, kind: str, dims: list[int]) -> Mapping[str, object]:
    return {"name": name, "data_type": EnumWord("TYPE_" + kind), "dims": dims}


GENERATED: Mapping[str, object] = {
    "input": [tensor("REQUEST", "STRING", [1])],
    "output": [
        tensor("TEXT", "STRING", [1]),
        tensor("INPUT_TOKENS", "INT32", [1]),
        tensor("OUTPUT_TOKENS", "INT32", [1]),
        tensor("FINISH_REASON", "STRING", [1]),
    ],
    "model_transaction_policy": {"decoupled": True},
}
"""What a model of task `Generate` takes and gives."""


def infer(source: Source, kind: ModelKind, order: BuildSpec, to: Repository) -> None:
    if kind is not ModelKind.ONNX:
        raise unsupported(
            f"Task Infer serves ONNX models; the files are {kind} (an encoder? then set task to Embed)."
        )
    name = find_onnx(source) or source.files[0]
    model = onnx_file.load(source, name)
    signature = tensors.signature(model)
    onnx_file.attempt(onnx_file.store(source, name, model, to.graph_folder()))
    batch = order.max_batch_size if signature.batched else 0
    if order.on_gpu:
        if bare := [t.name for t in (*signature.inputs, *signature.outputs) if not t.shape]:
            raise unsupported(
                f"{bare[0]} has no dimensions, which Triton cannot carry; give it one."
            )
        to.graph(signature, order.name, batch, {"task": order.task})
        return
    fields = {
        "input": [t.field(batch > 0) for t in signature.inputs],
        "output": [t.field(batch > 0) for t in signature.outputs],
    }
    to.front("infer", fields, {}, batch)


def embed(source: Source, kind: ModelKind, order: BuildSpec, to: Repository) -> None:
    if source.is_file:
        raise unsupported(
            "Task Embed needs a directory: the model, config.json and tokenizer.json."
        )
    config = _config(source)
    folder = to.graph_folder()
    if kind is ModelKind.SAFETENSORS:
        form = encoder.shape(config)
        width = encoder.Encoder(folder, form, weights.read(source)).write(pooling.read(source))
        limit = form.positions
    else:
        width = _headed(source, folder)
        limit = int(config.get("max_position_embeddings") or 512)
    onnx_file.attempt(folder / onnx_file.MODEL)
    tokens = store_tokenizer(source, config, to.folder(order.name))
    limit = max_tokens(source, limit)
    fields = {
        "input": [tensor("TEXT", "STRING", [1])],
        "output": [tensor("EMBEDDING", "FP32", [width]), tensor("INPUT_TOKENS", "INT32", [1])],
    }
    told = {"max_context": str(limit), "dimensions": str(width), "pad_token": str(tokens.pad)}
    if order.on_gpu:
        signature = tensors.signature(
            onnx.load(str(folder / onnx_file.MODEL), load_external_data=False)
        )
        told["graph_inputs"] = ",".join(t.name for t in signature.inputs)
        told["graph_output"] = signature.outputs[0].name
        to.graph(signature, graph_name(order), 0, {}, limit)
    to.front("embed", fields, told, order.max_batch_size)


def _headed(source: Source, folder: object) -> int:
    """An encoder that is ONNX already: keep it, adding the pooling that its files ask for."""
    name = find_onnx(source)
    model = onnx_file.load(source, name)
    signature = tensors.signature(model)
    if not {"input_ids"} <= {t.name for t in signature.inputs} <= ENCODER_INPUTS:
        raise unsupported(
            f"An encoder takes input_ids and attention_mask; {name} takes {', '.join(t.name for t in signature.inputs)}."
        )
    ready = next(
        (
            t
            for t in signature.outputs
            if t.name in {"sentence_embedding", "embedding", HEAD} and len(t.shape) == 2
        ),
        None,
    )
    hidden = next((t for t in signature.outputs if len(t.shape) == 3), None)
    wanted = ready or hidden
    if (
        wanted is None
        or wanted.kind != onnx.TensorProto.FLOAT
        or not isinstance(wanted.shape[-1], int)
    ):
        raise unsupported(
            f"{name} gives neither token vectors nor a sentence_embedding in float32 with a known width."
        )
    how = pooling.read(source)
    width = wanted.shape[-1] * (1 if ready else len(how.modes))
    if wanted.name != HEAD:  # it has come back from `preamar-model optimize`
        _Addition(model).write(wanted.name, None if ready else how, width)
    onnx_file.store(source, name, model, folder)
    return width


class _Addition:
    """Adds nodes to a graph that somebody else wrote, with names of our own."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.count = 0

    def write(self, tensor_name: str, how: Pooling | None, width: int) -> None:
        if onnx_file.opset(self.model) < 13:
            raise unsupported(
                f"The ONNX model uses opset {onnx_file.opset(self.model)}; export it with 13 or later."
            )
        if how is None:
            self.add("Identity", tensor_name, output=HEAD)
        else:
            if not any(value.name == "attention_mask" for value in self.model.graph.input):
                raise unsupported(
                    "The ONNX model takes no attention_mask, so padding would change its embeddings."
                )
            pooling.PoolingHead(self, onnx_file.opset(self.model)).write(
                tensor_name, "attention_mask", how, HEAD
            )
        del self.model.graph.output[:]
        value = onnx.helper.make_tensor_value_info(HEAD, onnx.TensorProto.FLOAT, ["batch", width])
        self.model.graph.output.append(value)

    def add(self, op: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        self.count += 1
        result = output or f"preamar_{op.lower()}_{self.count}"
        self.model.graph.node.append(
            onnx.helper.make_node(op, list(inputs), [result], name=result, **attributes)
        )
        return result

    def small(self, value: object, kind: type = int) -> str:
        import numpy as np

        self.count += 1
        array = np.asarray(value, dtype=np.int64 if kind is int else kind)
        held = onnx.numpy_helper.from_array(array, f"preamar_constant_{self.count}")
        self.model.graph.initializer.append(held)
        return str(held.name)


def generate(source: Source, kind: ModelKind, order: BuildSpec, to: Repository) -> None:
    name = None if source.is_file else find_onnx(source)
    if kind is ModelKind.SAFETENSORS and order.on_gpu:
        raise unsupported(
            "Safetensors of a language model are served by vLLM, whose image is another one: set "
            "spec.model.format to VLLM."
        )
    if kind is ModelKind.SAFETENSORS or name is None:
        raise unsupported(
            "Task Generate needs a directory with model.onnx, config.json and tokenizer.json, as an export writes it."
        )
    config = _config(source)
    model = onnx_file.load(source, name)
    signature = tensors.signature(model)
    _decoder(name, signature)
    context = config.get("max_position_embeddings")
    if not isinstance(context, int) or context < 2:
        raise invalid("config.json gives no max_position_embeddings, the length of the context.")
    # On a GPU the choices would be copied to host memory after each token.
    experts, choices = (0, []) if order.on_gpu else routers.expose(model, config)
    folder = to.graph_folder()
    onnx_file.attempt(onnx_file.store(source, name, model, folder))
    tokens = store_tokenizer(source, config, to.folder(order.name))
    _vocabulary(signature, tokens)
    told = {
        "max_context": str(context),
        "end_tokens": json.dumps(sorted(_ends(source, config))),
        "start_token": str(
            config.get("bos_token_id") if isinstance(config.get("bos_token_id"), int) else ""
        ),
        "streams": str(order.max_batch_size),
        "together": "yes" if rows_apart(model, signature) else "no",
    }
    if choices:
        told |= {"experts": str(experts), "routers": ",".join(choices)}
    if template := chat_template(source):
        told["chat_template"] = template
    if order.on_gpu:
        told["graph_inputs"] = json.dumps(
            {
                t.name: [TYPES[t.kind], [n if isinstance(n, int) else -1 for n in t.shape]]
                for t in signature.inputs
            }
        )
        to.graph(signature, graph_name(order), 0, {}, context)
    to.front("generate", GENERATED, told, 0)


def _decoder(name: str, signature: tensors.Signature) -> None:
    """Raises `Refusal` unless the tensors are those of a decoder with a key-value cache."""
    past = [t for t in signature.inputs if t.name.startswith("past_key_values.")]
    for need in ("input_ids",):
        if signature.input(need) is None:
            raise unsupported(f"{name} takes no {need}; Generate needs a decoder.")
    others = {t.name for t in signature.inputs} - {t.name for t in past}
    if extra := sorted(others - {"input_ids", "position_ids", "attention_mask"}):
        raise unsupported(f"{name} takes {extra[0]}, which Generate does not give.")
    if not past:
        raise unsupported(
            f"{name} has no past_key_values inputs; export it with its key-value cache."
        )
    for t in past:
        if signature.output(t.name.replace("past_key_values", "present")) is None:
            raise invalid(f"{name} takes {t.name} but does not give it back as present.")
        if len(t.shape) != 4 or not isinstance(t.shape[1], int) or not isinstance(t.shape[3], int):
            raise invalid(
                f"{name}: {t.name} must be [batch, heads, past, head_dim] with heads and head_dim known."
            )
    logits = signature.output("logits")
    if logits is None or len(logits.shape) != 3:
        raise invalid(f"{name} gives no logits of [batch, tokens, vocabulary].")


def rows_apart(model: onnx.ModelProto, signature: tensors.Signature) -> bool:
    """May streams of different lengths share a call? The graph must be told what is padding, and no
    number that it measures over the whole call may change what a row gets."""
    free = all(t.shape and not isinstance(t.shape[0], int) for t in signature.inputs)
    told = {"attention_mask", "position_ids"} <= {t.name for t in signature.inputs}
    measured = any(node.op_type in MEASURED for node in model.graph.node)
    return free and told and not measured


def _vocabulary(signature: tensors.Signature, tokens: Tokens) -> None:
    size = signature.output("logits").shape[-1]
    if isinstance(size, int) and tokens.size > size:
        raise invalid(
            f"tokenizer.json knows {tokens.size} tokens, the model {size}; they belong to different models."
        )


def _ends(source: Source, config: Mapping) -> set[int]:
    found: set[int] = set()
    extra = (
        json_at(source, "generation_config.json") if source.has("generation_config.json") else {}
    )
    for holder in (config, extra):
        value = holder.get("eos_token_id")
        found |= {v for v in (value if isinstance(value, list) else [value]) if isinstance(v, int)}
    return found


def chat_template(source: Source) -> str | None:
    if source.has("chat_template.jinja"):
        return source.at("chat_template.jinja").read_text()
    if not source.has("tokenizer_config.json"):
        return None
    template = json_at(source, "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # several by name
        template = next((t.get("template") for t in template if t.get("name") == "default"), None)
    return template if isinstance(template, str) else None


def python(source: Source, order: BuildSpec, to: Repository) -> None:
    """A trusted Triton python-backend model, as its owner wrote it."""
    from preamar_model.build.trusted import configuration

    if not source.has("config.pbtxt") or not source.has("1/model.py"):
        raise unsupported(
            "A trusted Python model is a directory with config.pbtxt and 1/model.py, as Triton reads it."
        )
    target = to.folder(order.name).parent
    for name in source.files:  # a copy of the folder would follow links that nobody has looked at
        source.copy(name, target / name)
    text = configuration(source.at("config.pbtxt").read_text(), order.name)
    (target / "config.pbtxt").write_text(text)
    to.finished.append(order.name)


def _config(source: Source) -> dict:
    config = json_at(source, "config.json")
    if not isinstance(config, dict):
        raise invalid("config.json is not an object.")
    return config
