"""Which wishes can this version not fulfil?

One row each: the field, when it is set, and what to do instead. A wish that cannot be fulfilled
stops the service before any pod exists, because a field which is quietly ignored is a lie.
"""

from collections.abc import Callable
from typing import NamedTuple

from preamar.api.inference import InferenceService, InferenceServiceSpec
from preamar.api.models import Engine, Precision, SparsityType, Task
from preamar.api.shared import AcceleratorType, Sharing, Topology
from preamar.core.placement import on_gpu
from preamar.core.serving.model.source import MOUNTED
from preamar.protocol.engines import ENGINES


def _compiles(spec: InferenceServiceSpec) -> bool:
    return spec.optimize.engine != Engine.NONE


def _uncomputed(spec: InferenceServiceSpec) -> bool:
    """Precisions that nothing there makes."""
    precision = spec.optimize.precision
    if precision == Precision.NONE:
        return False
    if on_gpu(spec.accelerator):
        return precision == Precision.FP4 or not _compiles(spec)
    return precision in {Precision.FP8, Precision.FP4}


def _splits(spec: InferenceServiceSpec) -> bool:
    return ENGINES[spec.model.format].splits


def is_split(spec: InferenceServiceSpec) -> bool:
    """Whether one copy of the model needs several accelerators."""
    return _splits(spec) and spec.parallelism.tensor * spec.parallelism.pipeline > 1


def _spans(spec: InferenceServiceSpec) -> bool:
    """Whether one copy can be over several pods with accelerators."""
    return ENGINES[spec.model.format].spans(spec.parallelism)


def _spreads_experts(spec: InferenceServiceSpec) -> bool:
    """Whether the experts can be spread as is asked."""
    return spec.parallelism.expert == 1 or ENGINES[spec.model.format].spreads(spec.parallelism)


def _optimizes(spec: InferenceServiceSpec) -> bool:
    wish = spec.optimize
    changed = wish.precision != Precision.NONE or wish.sparsity.type != SparsityType.NONE
    return changed or _compiles(spec)


SPLIT = "set it to 1: only formats VLLM and TensorRTLLM, or a model's own code (format Python, trust Code), share a layer"


class Unserved(NamedTuple):
    """A field, whether it asks for something that is not there yet, and what to write instead."""

    field: str
    asks: Callable[[InferenceServiceSpec], bool]
    instead: str


UNSERVED: tuple[Unserved, ...] = (
    Unserved(
        "model.secretName",
        lambda s: s.model.secret_name is not None and s.model.uri.partition("://")[0] in MOUNTED,
        "a model that is mounted needs no credentials: leave it out, and name those of a registry in runtime.imagePullSecrets",
    ),
    Unserved("model.task", lambda s: s.model.task == Task.RANK, "use Infer, Embed or Generate"),
    Unserved(
        "optimize.precision",
        _uncomputed,
        "on a CPU FP16, BF16 and INT8 are made, on a GPU these and FP8, with optimize.engine TensorRT: choose one of them or None",
    ),
    Unserved(
        "optimize.sparsity.type",
        lambda s: (
            s.optimize.sparsity.type != SparsityType.NONE
            and on_gpu(s.accelerator)
            and not _compiles(s)
        ),
        "on a GPU models are pruned where an engine is built: set optimize.engine to TensorRT, or this to None",
    ),
    Unserved(
        "optimize.engine",
        lambda s: (
            _compiles(s) and (s.model.task == Task.GENERATE or not ENGINES[s.model.format].compiles)
        ),
        "ONNX graphs and encoders are compiled, with task Infer or Embed: set it to None, and serve language models with format VLLM",
    ),
    Unserved(
        "optimize.calibrationUri",
        lambda s: not (s.optimize.calibration_uri or "pvc://").startswith("pvc://"),
        "samples are read from a pvc:// so far: copy them into a PersistentVolumeClaim",
    ),
    Unserved(
        "parallelism.nodes",
        lambda s: s.parallelism.nodes > 1 and on_gpu(s.accelerator) and not _spans(s),
        "on GPUs VLLM spans pods, where parallelism.tensor x pipeline is a multiple of nodes, and so does a model that brings its engine (format Python, trust Code); else set it to 1",
    ),
    Unserved(
        "parallelism.nodes with optimize",
        lambda s: s.parallelism.nodes > 1 and _optimizes(s),
        "set optimize.precision, optimize.sparsity.type and optimize.engine to None, or nodes to 1",
    ),
    Unserved(
        "model.format",
        lambda s: not ENGINES[s.model.format].served,
        "use VLLM or TensorRTLLM for language models on GPUs, ONNX or TensorRT for others",
    ),
    Unserved(
        "runtime.instances",
        lambda s: s.runtime.instances > 1 and ENGINES[s.model.format].joins,
        "one engine joins all requests: set it to 1 and runtime.batching.maxBatchSize to the streams",
    ),
    Unserved("parallelism.tensor", lambda s: s.parallelism.tensor > 1 and not _splits(s), SPLIT),
    Unserved(
        "parallelism.pipeline",
        lambda s: not _splits(s) and s.parallelism.pipeline not in {1, s.parallelism.nodes},
        "set it to parallelism.nodes, where each pod computes one stage",
    ),
    Unserved(
        "parallelism.expert",
        lambda s: not _spreads_experts(s),
        "set it to 1; or for VLLM to parallelism.tensor, for TensorRTLLM to a divisor of that (else only a model's own code, format Python with trust Code, shares experts)",
    ),
    Unserved(
        "accelerator.sharing",
        lambda s: (
            s.accelerator.type == AcceleratorType.GPU and s.accelerator.sharing != Sharing.EXCLUSIVE
        ),
        "set it to Exclusive and name the slice in accelerator.resourceName, such as nvidia.com/mig-1g.10gb",
    ),
    Unserved(
        "placement.topology",
        lambda s: s.placement.topology != Topology.NONE,
        "set it to None; placement.nodeSelector keeps the pods of all replicas together",
    ),
)


def unserved(service: InferenceService) -> str:
    """What cannot be fulfilled, a clause each; empty if everything can."""
    return "; ".join(
        f"spec.{row.field} is not supported by this version: {row.instead}"
        for row in UNSERVED
        if row.asks(service.spec)
    )
