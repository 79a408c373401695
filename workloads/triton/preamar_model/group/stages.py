"""Where is a graph cut, so that each pod computes one stage of it?

Nodes in their order of computation are cut into runs of about equal weight; at each cut the tensors
that later runs need travel. Among places of about the same weight the one with the fewest tensors is
taken. All members cut the same files and so come to the same stages, which they compare when they meet.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import prod
from pathlib import Path

import onnx
from onnx import GraphProto, NodeProto, TensorProto

from preamar_model.files import onnx_file
from preamar_model.refusal import unsupported

PLAN = "stages.json"
SLACK = 0.1
"""Of the whole weight: how far a cut may move to where fewer tensors travel."""


@dataclass(frozen=True, slots=True)
class PipelineStage:
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StagePlan:
    """``inputs`` (name, type in ONNX Runtime's words, shape) and ``outputs`` are the whole graph's."""

    stages: tuple[PipelineStage, ...]
    inputs: tuple[tuple[str, str, tuple[int | str | None, ...]], ...]
    outputs: tuple[str, ...]
    digest: str

    @classmethod
    def load(cls, folder: Path) -> "StagePlan":
        body = json.loads((folder / PLAN).read_text())
        stages = tuple(
            PipelineStage(tuple(s["inputs"]), tuple(s["outputs"])) for s in body["stages"]
        )
        inputs = tuple((name, kind, tuple(shape)) for name, kind, shape in body["inputs"])
        return cls(stages, inputs, tuple(body["outputs"]), str(body["digest"]))


def keep_stage(folder: Path, count: int, stage: int) -> StagePlan:
    """Replace the graph in ``folder`` by its stage, and write the plan beside it. Raises `Refusal`
    for a graph that cannot be cut so often."""
    path = folder / onnx_file.MODEL
    model = onnx.load(str(path))
    graph = model.graph
    runs = cut(graph, count)
    plan = _plan(graph, runs)
    # The whole graph's weights go with it: a pod keeps its own stage's alone.
    for old in folder.iterdir():
        if old.is_file() and old.suffix in {".onnx", ".weights", ".data"}:
            old.unlink()
    part = _part(model, runs[stage], plan.stages[stage])
    onnx.save_model(
        part, str(path), save_as_external_data=True, location=onnx_file.DATA, size_threshold=1024
    )
    (folder / PLAN).write_text(json.dumps(asdict(plan), sort_keys=True))
    return plan


def cut(graph: GraphProto, count: int) -> list[list[NodeProto]]:
    """Runs of nodes, ``count`` of them."""
    nodes = list(graph.node)
    if len(nodes) < 2 * count:
        raise unsupported(
            f"The graph has {len(nodes)} nodes, too few for {count} stages; use fewer parallelism.nodes."
        )
    weights = {t.name: 1 + 4 * prod(t.dims) for t in graph.initializer}
    sums, total, used = [], 0, set()
    for node in nodes:
        fresh = [n for n in needs(node) if n in weights and n not in used]
        used.update(fresh)
        total += 1 + sum(weights[n] for n in fresh)
        sums.append(total)
    width = [len(crossing(nodes, at)) for at in range(len(nodes))]
    places: list[int] = []
    for number in range(1, count):
        aim = total * number / count
        first = places[-1] + 1 if places else 1
        last = len(nodes) - (count - number)
        open_ = range(first, last + 1)
        near = [at for at in open_ if abs(sums[at - 1] - aim) <= SLACK * total]
        places.append(
            min(near, key=lambda at: (width[at], abs(sums[at - 1] - aim)))
            if near
            else min(open_, key=lambda at: abs(sums[at - 1] - aim))
        )
    edges = [0, *places, len(nodes)]
    return [nodes[a:b] for a, b in pairwise(edges)]


def needs(node: NodeProto) -> list[str]:
    """Names that a node reads, those inside its branches and loops included."""
    found = [name for name in node.input if name]
    for attribute in node.attribute:
        for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            made = {o for n in inner.node for o in n.output} | {v.name for v in inner.input}
            made |= {t.name for t in inner.initializer}
            reads = [n for each in inner.node for n in needs(each)] + [v.name for v in inner.output]
            found += [name for name in reads if name not in made]
    return found


def crossing(nodes: list[NodeProto], at: int) -> set[str]:
    """Computed before ``at`` and needed after it."""
    before = {o for node in nodes[:at] for o in node.output if o}
    return {n for node in nodes[at:] for n in needs(node)} & before


def _plan(graph: GraphProto, runs: list[list[NodeProto]]) -> StagePlan:
    weights = {t.name for t in graph.initializer}
    given = [v.name for v in graph.input if v.name not in weights]
    wanted = [v.name for v in graph.output]
    stages = []
    for number, run in enumerate(runs):
        made = {o for node in run for o in node.output if o}
        reads = {n for node in run for n in needs(node)}
        earlier = {o for other in runs[:number] for node in other for o in node.output if o}
        later = {n for other in runs[number + 1 :] for node in other for n in needs(node)}
        stages.append(
            PipelineStage(
                tuple(sorted((reads & earlier) | (reads & set(given)))),
                tuple(sorted((made & later) | (made & set(wanted)))),
            )
        )
    text = json.dumps([asdict(stage) for stage in stages], sort_keys=True)
    sizes = [[t.name, list(t.dims)] for t in graph.initializer]
    seal = hashlib.sha256((text + json.dumps(sizes)).encode()).hexdigest()
    inputs = tuple(
        (v.name, _kind(v), tuple(_size(d) for d in v.type.tensor_type.shape.dim))
        for v in graph.input
        if v.name not in weights
    )
    return StagePlan(tuple(stages), inputs, tuple(wanted), seal)


def _kind(value: onnx.ValueInfoProto) -> str:
    return f"tensor({TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()})"


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    return int(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or None


def _part(
    model: onnx.ModelProto, run: Iterable[NodeProto], stage: PipelineStage
) -> onnx.ModelProto:
    graph, nodes = model.graph, list(run)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=False)
    known = {
        v.name: v
        for v in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    }
    known |= {v.name: v for v in (*graph.input, *graph.output)}
    lost = [n for n in (*stage.inputs, *stage.outputs) if n not in known]
    if lost:
        raise unsupported(
            f"The type of {lost[0]} is not known, so the graph cannot be cut there; export the model "
            "with shape inference."
        )
    texts = [
        n
        for n in (*stage.inputs, *stage.outputs)
        if known[n].type.tensor_type.elem_type == TensorProto.STRING
    ]
    if texts:
        raise unsupported(
            f"{texts[0]} is text, which does not travel between stages; set nodes to 1."
        )
    reads = {n for node in nodes for n in needs(node)} | set(stage.outputs)
    held = [t for t in graph.initializer if t.name in reads]
    part = onnx.helper.make_graph(
        nodes,
        "stage",
        [
            _free(known[n]) if n not in {v.name for v in graph.input} else known[n]
            for n in stage.inputs
        ],
        [
            _free(known[n]) if n not in {v.name for v in graph.output} else known[n]
            for n in stage.outputs
        ],
        held,
    )
    made = onnx.helper.make_model(
        part, opset_imports=list(model.opset_import), ir_version=model.ir_version
    )
    made.functions.extend(model.functions)
    return made


def _free(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """The same tensor without its inferred shape: of one that travels only the type must be right."""
    return onnx.helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None)
