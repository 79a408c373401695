"""How is an engine made of a graph? TensorRT parses it, tries kernels on the GPU that is here, and
writes down the fastest: minutes of work, of which the timings are kept for the next time.

The network is strongly typed, as every one is from TensorRT 11 on: precision is in the graph.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preamar_model.engine.profiles import Profile
from preamar_model.passes.optimize_spec import unable
from preamar_model.refusal import Refusal

LEVEL = 3
"""TensorRT's own choice between the time to build and the speed that comes of it."""
SAID = 5


class BuildFailed(Exception):
    """TensorRT gave no engine, most likely for want of memory; to be tried again."""


@dataclass(frozen=True, slots=True)
class EngineRecipe:
    """What decides about the engine beside the graph."""

    profiles: Mapping[str, Profile]
    sparse: bool = False
    workspace: int = 4 * 2**30
    """Bytes on the GPU that the tried kernels may use; TensorRT would take all that there are."""
    level: int = LEVEL

    def canonical(self) -> dict[str, object]:
        return {
            "profiles": {
                name: [list(p.least), list(p.usual), list(p.most)]
                for name, p in sorted(self.profiles.items())
            },
            "flags": ["SPARSE_WEIGHTS"] if self.sparse else [],
            "workspace": self.workspace,
            "level": self.level,
            "hardwareCompatibility": "NONE",
            "versionCompatible": False,
        }


class Words:
    """What TensorRT said last: its exceptions are None, and the reasons are in its log."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def hear(self, text: str) -> None:
        self.errors = [*self.errors, " ".join(text.split())][-SAID:]

    def __str__(self) -> str:
        return "; ".join(self.errors) or "no reason given"


def logger(trt: Any, words: Words) -> Any:
    class Listening(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if severity in {trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR}:
                words.hear(text)

    return Listening()


class EngineBuilder:
    """One TensorRT for several engines, so that their timings are shared. ``trt`` is the package."""

    def __init__(self, trt: Any, timings: Path) -> None:
        self.trt = trt
        self.words = Words()
        self.logger = logger(trt, self.words)
        self.timings = timings
        # Without a driver this raises or returns an empty thing; both are the world's fault.
        self.builder = trt.Builder(self.logger)

    def __call__(self, graph: Path, recipe: EngineRecipe) -> bytes:
        """The plan. Raises `Refusal` for a graph that TensorRT does not know, `BuildFailed` else."""
        trt = self.trt
        network = self.builder.create_network(
            1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        )
        parser = trt.OnnxParser(network, self.logger)
        if not parser.parse_from_file(str(graph)):
            raise _unparsed(parser)
        config = self.builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe.workspace)
        config.builder_optimization_level = recipe.level
        if recipe.sparse:
            config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
        if recipe.profiles:
            profile = self.builder.create_optimization_profile()
            for name, sizes in recipe.profiles.items():
                profile.set_shape(name, sizes.least, sizes.usual, sizes.most)
            if config.add_optimization_profile(profile) < 0:
                raise BuildFailed(f"TensorRT takes no such sizes: {self.words}")
        cache = config.create_timing_cache(_read(self.timings))
        # False where another version or device wrote it: then it starts empty.
        if not config.set_timing_cache(cache, ignore_mismatch=False):
            config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
        plan = self.builder.build_serialized_network(network, config)
        if plan is None:
            raise BuildFailed(f"TensorRT built no engine: {self.words}")
        _write(self.timings, bytes(memoryview(config.get_timing_cache().serialize())))
        return bytes(memoryview(plan))

    def deserialized(self, plan: bytes) -> tuple[Any, Any]:
        """The engine and its runtime, which must outlive it: the only check that there is of
        whether a plan runs here."""
        runtime = self.trt.Runtime(self.logger)
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BuildFailed(f"TensorRT does not load the engine that it built: {self.words}")
        return engine, runtime


def _unparsed(parser: Any) -> Refusal:
    said = []
    for number in range(min(parser.num_errors, SAID)):
        error = parser.get_error(number)
        where = f"{error.node_operator()} {error.node_name()}".strip()
        said.append(f"{where}: {' '.join(error.desc().split())}")
    return unable(
        f"TensorRT cannot compile this graph: {'; '.join(said) or 'no reason given'}. Leave "
        "spec.optimize.engine at None, or export the model without these operators."
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all: Jobs for other models may read it at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_bytes(data)
    aside.rename(path)
