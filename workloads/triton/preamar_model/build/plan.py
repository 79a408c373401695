"""How is a TensorRT plan served? By NVIDIA's TensorRT backend, one file for each kind of GPU.

A plan runs only on the compute capability it was built for. Several are told apart by their names,
`model-8.0.plan` or `model-sm80.plan`; one alone is taken for every GPU. Its tensors stand in the
plan itself, where TensorRT reads them, and rows are joined as far as the plan allows.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from preamar_model.build import warm
from preamar_model.engine import reading
from preamar_model.engine.reading import Taken
from preamar_model.order import BuildSpec
from preamar_model.files.pbtxt import EnumWord
from preamar_model.files.recognise import PLANS
from preamar_model.refusal import invalid, unsupported
from preamar_model.build.repository import Repository, batching
from preamar_model.files.source import Source

CAPABILITY = re.compile(r"(?:^|[-_.])(?:(?:sm|cc)[-_]?(\d{1,2})(\d)|(?:cc)?(\d{1,2})\.(\d))$")


def plans(source: Source) -> tuple[str, ...]:
    """The plans at the top of a model's files."""
    return tuple(n for n in source.files if n.endswith(PLANS) and "/" not in n)


def capability(name: str) -> str | None:
    """What a plan's name says it is for, such as 8.0."""
    found = CAPABILITY.search(name.rpartition(".")[0])
    if not found:
        return None
    return f"{found[1] or found[3]}.{found[2] or found[4]}"


def configuration(
    name: str,
    order: BuildSpec,
    by_capability: Mapping[str, str],
    default: str | None,
    taken: Taken | None,
    folder: Path,
) -> Mapping[str, object]:
    """The configuration of a plan, or of several. ``by_capability`` gives a file of the version's
    folder for a compute capability, ``default`` the one for all others; without ``taken`` Triton
    finds the tensors out. ``folder`` is the model's, for what it is warmed with."""
    return {
        "name": name,
        "backend": "tensorrt",
        **(_tensors(order, taken, folder) if taken else {}),
        **({"default_model_filename": default} if default else {}),
        "cc_model_filenames": [{"key": k, "value": v} for k, v in sorted(by_capability.items())],
        "instance_group": {"count": order.instances, "kind": EnumWord("KIND_GPU")},
        "parameters": [{"key": "task", "value": {"string_value": order.task}}],
    }


def _tensors(order: BuildSpec, taken: Taken, folder: Path) -> Mapping[str, object]:
    batch = min(order.max_batch_size, taken.rows)
    return {
        "max_batch_size": batch,
        "input": [tensor.field(batch > 0) for tensor in taken.signature.inputs],
        "output": [tensor.field(batch > 0) for tensor in taken.signature.outputs],
        **(batching(order) if batch else {}),
        "model_warmup": warm.calls(order, taken.signature, batch, 0, folder),
    }


def _read(source: Source, found: Mapping[str, str], default: str | None) -> Taken | None:
    """What the plan for this GPU says of itself."""
    reader = reading.reader()
    if reader is None:
        return None
    name = found.get(reader.capability, default)
    if name is None:
        raise unsupported(
            f"This GPU ({reader.gpu.product}) has compute capability {reader.capability}; there are plans for "
            f"{', '.join(sorted(found))}. Add one, or name the products in spec.accelerator.products."
        )
    return reader(source.at(name))


def write(source: Source, order: BuildSpec, to: Repository) -> None:
    """Raises `Refusal` where it is not clear which plan is for which GPU."""
    if not order.on_gpu:
        raise unsupported(
            "A TensorRT plan runs on the GPU it was built for; set spec.accelerator.type to GPU, "
            "or give the model as ONNX."
        )
    if order.task != "Infer":
        raise unsupported(f"TensorRT plans are served with task Infer, not {order.task}.")
    found: dict[str, str] = {}
    default = None
    for name in plans(source):
        key = capability(name)
        taken = default if key is None else found.get(key)
        if taken:
            raise invalid(
                f"{taken} and {name} are both for {key or 'every GPU'}; name each after the compute "
                "capability it was built for, such as model-8.0.plan."
            )
        if key is None:
            default = name
        else:
            found[key] = name
    folder = to.folder(order.name)
    for name in plans(source):
        source.copy(name, folder / name)
    taken = _read(source, found, default)
    config = configuration(order.name, order, found, default, taken, folder.parent)
    to.write(order.name, config)
