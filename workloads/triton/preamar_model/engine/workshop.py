"""How does an optimised graph become a plan that is known to be right and known to be faster?

The same graph without the optimisation is compiled too, and both engines are called in turns: against
ONNX Runtime on this pod's CPUs any engine would look fast. Both share the timings of the kernels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from preamar_model.engine import metadata
from preamar_model.engine.build import EngineBuilder, EngineRecipe
from preamar_model.engine.device import Driver, Gpu
from preamar_model.engine.profiles import Bounds, profiles
from preamar_model.engine.session import EngineSession
from preamar_model.files import onnx_file, tensors
from preamar_model.files.pooling import json_at
from preamar_model.files.source import Source
from preamar_model.files.tokenizer import max_tokens
from preamar_model.passes.optimize_spec import OptimizeSpec, unable
from preamar_model.passes.session import Feed, Session


@dataclass(frozen=True, slots=True)
class Compiled:
    plan: bytes
    told: dict[str, object]
    before: EngineSession | Session
    after: EngineSession | Session


def package() -> Any:
    """TensorRT for Python. NVIDIA's server image has its libraries, and the bindings are ours. Raises
    `Refusal` in another image."""
    try:
        import tensorrt_bindings
    except ImportError as error:
        raise unable(
            f"This image has no TensorRT ({error}); leave spec.runtime.image out, or name one that is "
            "made by workloads/triton/gpu.Dockerfile."
        ) from error
    return tensorrt_bindings


class Workshop:
    """The GPU and the TensorRT that are here."""

    def __init__(self) -> None:
        self.trt = package()
        self.driver = self.opened()
        self.gpu = self.looked()
        self.where = metadata.place(str(self.trt.__version__), self.gpu)

    def opened(self) -> Driver:
        return Driver()

    def looked(self) -> Gpu:
        return self.driver.gpu()

    def session(self, builder: EngineBuilder, plan: bytes, graph: Path) -> EngineSession | Session:  # noqa: ARG002
        """Of a plan just built; ``graph`` is what it was built from."""
        engine, runtime = builder.deserialized(plan)
        session = EngineSession(self.trt, engine, self.driver)
        session.runtime = runtime  # it must outlive the engine
        return session

    def timings(self, target: Path) -> Path:
        """TensorRT refuses those of another version, and means nothing by those of another GPU."""
        version, gpu = self.where["tensorrt"], self.where["product"]
        return target.parent / ".timings" / f"{version}-{gpu}.cache"

    def compiled(
        self,
        wish: OptimizeSpec,
        found: Source,
        graphs: tuple[onnx.ModelProto, onnx.ModelProto],
        samples: Sequence[Feed],
        folder: Path,
        key: str,
    ) -> Compiled:
        """``graphs``: the model before and after. Raises `Refusal` and `BuildFailed`."""
        builder = EngineBuilder(self.trt, self.timings(Path(wish.target)))
        bounds = Bounds(wish.batch, _context(wish, found))
        made = []
        for name, graph in zip(("plain", "typed"), graphs, strict=True):
            path = folder / f"{name}.onnx"
            onnx.save(graph, str(path))
            sizes = profiles(tensors.signature(graph), bounds, samples)
            sparse = wish.sparsity == "TwoFour" and name == "typed"
            recipe = EngineRecipe(sizes, sparse, wish.workspace)
            plan = builder(path, recipe)
            made.append((plan, recipe, self.session(builder, plan, path)))
        (_, _, before), (plan, recipe, after) = made
        told = {
            "key": metadata.key(graphs[1].SerializeToString(), recipe, self.where, key),
            "where": self.where,
            "driver": self.gpu.driver,
            "batch": wish.batch,
            "recipe": recipe.canonical(),
            "precision": wish.precision,
            "opset": onnx_file.opset(graphs[1]),
            "bytes": len(plan),
        }
        return Compiled(plan, told, before, after)


def _context(wish: OptimizeSpec, found: Source) -> int | None:
    if wish.task == "Infer":
        return None
    config = json_at(found, "config.json")
    return max_tokens(found, int(config.get("max_position_embeddings") or 512))
