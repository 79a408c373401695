"""What can the engine of each format do, in which image is it, and how does it tell of its work?

One row each. The operator's images, its refusals and its flags follow from the rows, and so does what
operator and gateway read of an engine's /metrics.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from preamar.api.inference import InferenceParallelism
from preamar.api.models import NEEDS_GPU, Format
from preamar.protocol.images import TRAINERS, TRITON, TRITON_GPU, TRITON_TRTLLM, TRITON_VLLM

OUR_TOKENS = "preamar_model_tokens_total"
"""Of our own model in any image, which counts at the model."""


class Gauge(NamedTuple):
    """A metric, and its ``request_type`` where it has several."""

    metric: str
    kind: str = ""


def _not_at_all(split: InferenceParallelism) -> bool:  # noqa: ARG001
    return False


def _as_it_likes(split: InferenceParallelism) -> bool:  # noqa: ARG001
    return True


def _stages_in_whole_pods(split: InferenceParallelism) -> bool:
    return split.tensor * split.pipeline % split.nodes == 0


def _over_all_that_share_a_layer(split: InferenceParallelism) -> bool:
    return split.expert == split.tensor


def _over_a_divisor(split: InferenceParallelism) -> bool:
    return split.tensor % split.expert == 0


@dataclass(frozen=True, slots=True)
class ServingEngine:
    """``cpu`` and ``gpu``: its images. ``served``: this version has one. ``own_code``: the model brings its code, and configures itself.
    ``joins``: it joins all requests by itself, so there is one of it. ``compiles``: engines of
    TensorRT may be built of it. ``splits``: layers may be shared, ``spans`` in several pods,
    ``spreads`` the experts (asked where there is more than one pod, or accelerator for them).
    ``load``: ways to count what it has in flight, each a sum of gauges; the largest counts.
    ``tokens``: counters of tokens that it keeps beside ours."""

    format: Format
    cpu: str = TRITON
    gpu: str = TRITON_GPU
    served: bool = True
    own_code: bool = False
    joins: bool = False
    compiles: bool = False
    splits: bool = False
    spans: Callable[[InferenceParallelism], bool] = _not_at_all
    spreads: Callable[[InferenceParallelism], bool] = _not_at_all
    load: tuple[tuple[Gauge, ...], ...] = ()
    tokens: tuple[str, ...] = ()

    @property
    def needs_gpu(self) -> bool:
        """Whether it runs on GPUs alone; the resource's own rules say so."""
        return self.format in NEEDS_GPU

    @property
    def images(self) -> tuple[str, ...]:
        """Those that its pods may run in."""
        return (self.gpu,) if self.needs_gpu else (self.cpu, self.gpu)


_TRT_LLM = "nv_trt_llm_request_metrics"
ROWS = (
    ServingEngine(Format.AUTO, compiles=True),
    ServingEngine(Format.ONNX, compiles=True),
    ServingEngine(Format.SAFETENSORS, compiles=True),
    ServingEngine(Format.TENSORRT),
    ServingEngine(Format.TORCHSCRIPT, served=False),
    ServingEngine(
        Format.PYTHON, own_code=True, splits=True, spans=_as_it_likes, spreads=_as_it_likes
    ),
    ServingEngine(
        Format.VLLM,
        gpu=TRITON_VLLM,
        joins=True,
        splits=True,
        spans=_stages_in_whole_pods,
        spreads=_over_all_that_share_a_layer,
        load=((Gauge("vllm:num_requests_waiting"), Gauge("vllm:num_requests_running")),),
        tokens=("vllm:prompt_tokens_total", "vllm:generation_tokens_total"),
    ),
    ServingEngine(
        Format.TENSORRT_LLM,
        gpu=TRITON_TRTLLM,
        joins=True,
        splits=True,
        spreads=_over_a_divisor,
        load=(
            # Older versions do not tell ``waiting``; ``active`` may or may not hold it.
            (Gauge(_TRT_LLM, "waiting"), Gauge(_TRT_LLM, "scheduled")),
            (Gauge(_TRT_LLM, "active"),),
        ),
    ),
)
_BY_FORMAT = {row.format: row for row in ROWS}
ENGINES: Mapping[Format, ServingEngine] = MappingProxyType(_BY_FORMAT)


def images() -> tuple[str, ...]:
    """The images of all pods that serve or train, each once."""
    return tuple(
        dict.fromkeys([image for row in ENGINES.values() for image in row.images] + [*TRAINERS])
    )


def loads() -> tuple[tuple[Gauge, ...], ...]:
    """All ways in which some engine tells what it has in flight."""
    return tuple(way for row in ENGINES.values() for way in row.load)


def token_counters() -> tuple[str, ...]:
    """The counters of tokens that a model server may have."""
    return (OUR_TOKENS, *(name for row in ENGINES.values() for name in row.tokens))
