"""Which optimisation was ordered? The operator's words, from the variable PREAMAR_OPTIMIZE.

What this machine cannot do is refused here, with the hardware or tool that can.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from preamar_model.order import NAME, BuildSpec, OrderUnreadable
from preamar_model.refusal import Refusal, RefusalReason, invalid

PRECISIONS = ("None", "FP16", "BF16", "INT8", "FP8")
SPARSITIES = ("None", "TwoFour", "Unstructured", "Structured")
TASKS = ("Infer", "Embed", "Generate")
SECONDS = 600.0
ELSEWHERE = {
    "FP8": "FP8 needs a GPU of compute capability 8.9 or newer and an engine that TensorRT builds "
    "there (spec.optimize.engine: TensorRT); nothing else has FP8 arithmetic: choose INT8.",
    "FP4": "FP4 needs a GPU of compute capability 10.0 or newer and weights that NVIDIA ModelOpt "
    "quantised from the model's PyTorch code, which is not done here: quantise it before you store "
    "it, or choose FP8 (with spec.optimize.engine: TensorRT) or INT8.",
}
WORKSPACE = 4 * 2**30


@dataclass(frozen=True, slots=True)
class OptimizeSpec:
    name: str
    source: str
    target: str
    """The artefact's folder; of an engine, the one that has a folder for each GPU product."""
    task: str = "Infer"
    precision: str = "None"
    sparsity: str = "None"
    ratio: float = 0.5
    """The share of weights to drop, above 0 and below 1."""
    tolerance: float = 0.01
    calibration: str | None = None
    digest: str | None = None
    """Of the model as it comes; another is refused."""
    trust: str = "Data"
    uri: str | None = None
    """A model that is to be fetched; else it lies at `source`."""
    hosts: tuple[str, ...] = ()
    cache_bytes: int = 0
    kept: tuple[str, ...] = ()
    """Artefacts of the same model beside `target` that may still be served; others go."""
    accelerator: str = "CPU"
    """What will serve it."""
    engine: str = "None"
    batch: int = 8
    """Rows that the server joins at most; an engine is built for no more."""
    workspace: int = WORKSPACE
    """Bytes on the GPU that TensorRT may try kernels with."""
    seconds: float = SECONDS
    """How long the search for layers to keep may take."""

    @property
    def compiles(self) -> bool:
        return self.engine == "TensorRT"

    def order(self) -> BuildSpec:
        """The same model as the builder is told of it."""
        return BuildSpec(name=self.name, source=self.source, task=self.task, trust=self.trust)

    def elsewhere(self) -> BuildSpec:
        """What the fetcher is told."""
        return BuildSpec(
            self.name, "", uri=self.uri, hosts=self.hosts, cache_bytes=self.cache_bytes
        )

    def canonical(self) -> Mapping[str, object]:
        """What decides about the artefact; names and places do not."""
        engine = {"type": self.engine, "batch": self.batch, "workspace": self.workspace}
        # Named only where they decide: artefacts for CPUs keep the keys that they have.
        more = {"accelerator": self.accelerator} if self.accelerator != "CPU" else {}
        more |= {"engine": engine} if self.compiles else {}
        return more | {
            "task": self.task,
            "precision": self.precision,
            "sparsity": {"type": self.sparsity, "ratio": self.ratio},
            "tolerance": self.tolerance,
        }


def read(environment: Mapping[str, str]) -> OptimizeSpec:
    """Raises `OrderUnreadable`, or `Refusal` for what cannot be done."""
    text = environment.get("PREAMAR_OPTIMIZE")
    if not text:
        raise OrderUnreadable("PREAMAR_OPTIMIZE is not set")
    try:
        body = json.loads(text)
        sparsity = body.get("sparsity") or {}
        wish = OptimizeSpec(
            name=str(body["name"]),
            source=str(body["source"]) if not body.get("uri") else "",
            target=str(body["target"]),
            task=str(body.get("task") or "Infer"),
            precision=str(body.get("precision") or "None"),
            sparsity=str(sparsity.get("type") or "None"),
            ratio=float(sparsity.get("ratio") or 0.5),
            tolerance=float(body["tolerance"]) if "tolerance" in body else 0.01,
            calibration=str(body["calibration"]) if body.get("calibration") else None,
            digest=str(body["digest"]) if body.get("digest") else None,
            trust=str(body.get("trust") or "Data"),
            uri=str(body["uri"]) if body.get("uri") else None,
            hosts=tuple(map(str, body.get("hosts") or ())),
            cache_bytes=int(body.get("cacheBytes") or 0),
            kept=tuple(map(str, body.get("kept") or ())),
            accelerator=str(body.get("accelerator") or "CPU"),
            engine=str(body.get("engine") or "None"),
            batch=int(body.get("maxBatchSize") or 8),
            workspace=int(body.get("workspaceBytes") or WORKSPACE),
            seconds=float(body.get("seconds") or SECONDS),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OrderUnreadable(f"PREAMAR_OPTIMIZE cannot be read: {error!r}") from error
    _possible(wish)
    return wish


def _compilable(wish: OptimizeSpec) -> None:
    if wish.accelerator != "GPU":
        raise unable(
            "A TensorRT engine is built on a GPU of the kind that serves it; on a CPU leave "
            "spec.optimize.engine at None."
        )
    if wish.task == "Generate":
        raise unable(
            "Decoders are not compiled: their key-value cache is what TensorRT-LLM and vLLM are made "
            "for. Leave spec.optimize.engine at None, or serve the model with format VLLM."
        )
    if min(wish.batch, wish.workspace) < 1:
        raise unable(
            "An engine is built for a batch of 1 or more, in a workspace of 1 byte or more."
        )


def _possible(wish: OptimizeSpec) -> None:
    if wish.precision in ELSEWHERE and not (wish.compiles and wish.precision == "FP8"):
        raise unable(ELSEWHERE[wish.precision])
    for word, value, known in (
        ("precision", wish.precision, PRECISIONS),
        ("sparsity.type", wish.sparsity, SPARSITIES),
        ("task", wish.task, TASKS),
        ("accelerator", wish.accelerator, ("CPU", "GPU")),
        ("engine", wish.engine, ("None", "TensorRT")),
    ):
        if value not in known:
            raise unable(f"The {word} {value!r} is not one of {', '.join(known)}.")
    if not NAME.fullmatch(wish.name):
        raise invalid(f"The model name {wish.name!r} cannot be served.")
    if wish.compiles:
        _compilable(wish)
    elif wish.precision == "None" and wish.sparsity == "None":
        raise unable("Nothing is to be optimised: set spec.optimize.precision or sparsity.type.")
    if wish.sparsity != "None" and not 0 < wish.ratio < 1:
        raise unable("spec.optimize.sparsity.ratio is a share above 0 and below 1.")
    if wish.sparsity == "TwoFour" and wish.ratio != 0.5:
        raise unable("TwoFour drops two weights of each four: set sparsity.ratio to 0.5.")
    # Written so that NaN, which compares false with everything, is refused too.
    if not 0 <= wish.tolerance <= 1:
        raise unable("spec.optimize.tolerance is a share from 0 to 1.")


def unable(message: str) -> Refusal:
    return Refusal(RefusalReason.OPTIMIZATION_UNSUPPORTED, message)
