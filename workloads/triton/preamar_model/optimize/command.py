"""How is a model optimised? Prepare, prune, lower the precision, keep what breaks the tolerance,
judge on inputs that nothing was chosen by, measure, publish.

Exit codes as for `build`: 0 done (the termination message says what came of it), 64 the wish
cannot be fulfilled and nothing was published, 1 a fault of the world, to be retried.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx

from preamar_model.build import command
from preamar_model.engine import metadata
from preamar_model.engine.workshop import Compiled, Workshop
from preamar_model.exit_report import Told, carried_out
from preamar_model.files import onnx_file, publish, source, tensors
from preamar_model.optimize import keep, measure, recipe, samples
from preamar_model.optimize.error import Judge
from preamar_model.passes import floats, key, optimize_spec, zeros
from preamar_model.passes.optimize_spec import OptimizeSpec
from preamar_model.passes.session import Session
from preamar_model.refusal import Refusal, RefusalReason

NAMED = 20
"""Layers named in the termination message; the record beside the model names all."""
QUICK_SECONDS = 1.0


def main() -> int:
    def told() -> Told:
        wish = optimize_spec.read(os.environ)
        return wish.name, _short(fulfilled(wish))

    return carried_out(told, "optimised", "Optimising the model failed")


def fulfilled(wish: OptimizeSpec) -> dict[str, object]:
    """The model is fetched if it lies elsewhere, optimised, and earlier artefacts of it go."""
    since = publish.moment(Path(wish.target))
    if wish.uri is None:
        told = optimize(wish)
    else:
        with command.here(wish.elsewhere()) as folder:
            told = optimize(replace(wish, source=str(folder)))
    publish.forget_others(Path(wish.target), wish.kept, since)
    return told


def optimize(wish: OptimizeSpec) -> dict[str, object]:
    """What is recorded beside the model. Raises `Refusal` for what the user can mend."""
    found = source.find(wish.source)
    source.check_digest(found, wish.digest)
    calibration = source.find(wish.calibration).digest() if wish.calibration else None
    workshop = Workshop() if wish.compiles else None
    where = workshop.where if workshop else None
    # Engines for several products lie side by side: pods of one service may have any of them.
    target = Path(wish.target, where["product"] if where else "")
    name = key.key(wish, found.digest(), calibration, where)
    if record := publish.held(target, name):
        return record | {"cached": True}
    aside = publish.begin(target)
    try:
        try:
            tempfile.gettempdir()
        except FileNotFoundError:  # nothing can be written but the target's volume
            tempfile.tempdir = str(publish.working(target))
        with tempfile.TemporaryDirectory(prefix="preamar-") as folder:
            record, model, compiled = _made(wish, found, Path(folder), workshop, name)
        size = publish.write(aside, model, found)
        if compiled:
            metadata.write(aside, compiled.plan, compiled.told)
            size = len(compiled.plan)
        record["after"]["bytes"] = size
        publish.finish(aside, target, record | {"key": name})
    finally:
        publish.abandon(target)
    return record | {"key": name, "cached": False}


def _made(
    wish: OptimizeSpec, found: source.Source, folder: Path, workshop: Workshop | None, name: str
) -> tuple[dict[str, object], onnx.ModelProto, Compiled | None]:
    # The model that is compared with is the one that would be served, made by the builder itself.
    command.build(wish.order(), folder / "before")
    before = folder / "before" / wish.name / "1"
    path = before / onnx_file.MODEL
    signature = tensors.signature(onnx.load(str(path), load_external_data=False))
    given = samples.collect(wish, found, signature, before)
    reference = Session(str(path))
    prepared = floats.prepared(path)
    if wish.precision == wish.sparsity == "None":  # compiled and nothing else
        chosen, result = recipe.Recipe(wish, prepared, None), keep.KeptLayers(prepared, (), 0.0)
    else:
        recipes = recipe.recipes(wish, prepared, given.calibration, folder)
        chosen, result = _chosen(wish, recipes, reference, given)
    compiled, sides = None, (reference, Session(result.model))
    if workshop:
        graphs = (prepared, chosen.compiled(frozenset(result.kept)))
        compiled = workshop.compiled(wish, found, graphs, given.calibration, folder, name)
        sides = (compiled.before, compiled.after)
        # What a pod serves that the engine does not fit: in floats, right on whatever it has.
        result = replace(result, model=chosen.pruned(frozenset(result.kept)))
    after = sides[1]
    error = Judge(wish.task, reference, given.held_out)(after)
    if not error <= wish.tolerance:
        raise _inaccurate(wish, error)
    speeds = measure.compare(sides, given.one, given.many)
    kept = [*chosen.unsuited(), *result.kept]
    told = [
        {
            "latency": f"{speed.p50:.6f}",
            "latencyP99": f"{speed.p99:.6f}",
            "throughput": f"{speed.throughput:.2f}",
            "error": f"{worst:.6f}",
        }
        for speed, worst in zip(speeds, (0.0, error), strict=True)
    ]
    size = sum(p.stat().st_size for p in before.glob("model.*") if p.suffix != ".py")
    record = {
        "before": {"bytes": size} | told[0],
        "after": {"bytes": 0} | told[1],
        "error": f"{error:.6f}",
        "tolerance": f"{wish.tolerance:g}",
        "layersKept": list(dict.fromkeys(kept)),
        "layers": len(chosen.layers()),
        "precision": wish.precision,
        "scheme": str(chosen.scheme) if chosen.scheme else None,
        "sparsity": {
            "type": wish.sparsity,
            "ratio": f"{wish.ratio:g}",
            "zeros": f"{zeros.share(chosen.pruned(frozenset(result.kept))):.4f}",
        },
        "calibration": "drawn" if given.drawn else "given",
        "samples": {"calibration": len(given.calibration), "selection": len(given.selection), "heldOut": len(given.held_out)},
        "tools": key.tools(),
        "machine": key.machine(),
        "engine": compiled.told if compiled else None,
    }  # fmt: skip
    return record, result.model, compiled


def _chosen(
    wish: OptimizeSpec, recipes: list[recipe.Recipe], reference: Session, given: samples.SampleSets
) -> tuple[recipe.Recipe, keep.KeptLayers]:
    """The fastest recipe that can be kept within the tolerance."""
    judge = Judge(wish.task, reference, given.selection)
    until = time.monotonic() + wish.seconds

    def left(end: float = until) -> float:
        return end - time.monotonic()

    least = float("inf")
    for each in _fastest_first(recipes, given):
        result = keep.search(each, _of(judge, wish), each.layers(), wish.tolerance, left, each.only)
        if isinstance(result, keep.KeptLayers):
            return each, result
        least = min(least, result.error)
    raise _inaccurate(wish, least)


def _of(judge: Judge, wish: OptimizeSpec) -> Callable[[onnx.ModelProto], float]:
    return lambda model: judge(Session(model, as_written=wish.compiles))


def _fastest_first(recipes: list[recipe.Recipe], given: samples.SampleSets) -> list[recipe.Recipe]:
    if len(recipes) == 1:
        return recipes
    sessions = [Session(each(frozenset())) for each in recipes]
    speeds = measure.compare(sessions, given.one, given.many, QUICK_SECONDS)
    order = sorted(range(len(recipes)), key=lambda at: speeds[at].throughput, reverse=True)
    return [recipes[at] for at in order]


def _inaccurate(wish: OptimizeSpec, error: float) -> Refusal:
    wanted = " and ".join(w for w in (wish.sparsity, wish.precision) if w != "None") or wish.engine
    return Refusal(
        RefusalReason.OPTIMIZATION_TOO_INACCURATE,
        f"{wanted} changes the model's answers by {error:.2g} at best, spec.optimize.tolerance allows "
        f"{wish.tolerance:g}; nothing was published. Raise the tolerance, choose a milder "
        "optimisation (BF16, FP16, a smaller ratio), or give calibration data of your own.",
    )


def _short(told: dict[str, object]) -> dict[str, object]:
    """What fits a termination message."""
    kept = told["layersKept"]
    rest = {k: v for k, v in told.items() if k not in {"files", "layersKept", "engine"}}
    if engine := told["engine"]:
        rest["engine"] = {word: engine["where"][word] for word in ("product", "tensorrt")}
    return rest | {"layersKept": kept[:NAMED], "layersKeptCount": len(kept)}
