"""Engines by the real TensorRT bindings, as far as they go without a GPU: all but to run them.

Holds: preamar_model/engine/build.py, preamar_model/engine/metadata.py,
preamar_model/engine/profiles.py, preamar_model/passes/eighths.py, preamar_model/passes/floats.py,
preamar_model/passes/typed.py
"""

import networks
import numpy as np
import onnx
import pytest
from engines import L4
from preamar_model.engine import build, metadata, profiles
from preamar_model.engine.profiles import Bounds, Profile
from preamar_model.files import tensors
from preamar_model.passes import eighths, floats, typed
from preamar_model.passes.session import Session
from preamar_model.refusal import Refusal

SHAPES = {networks.layered: (2, 4, networks.WIDTH), networks.convolved: (2, 3, 8, 8)}


def samples(network):
    chance = np.random.default_rng(3)
    return [{"x": chance.random(SHAPES[network], np.float32)} for _ in range(6)]


def precise(network, precision, folder, kept=frozenset()):
    model = floats.prepared(network(folder / "m.onnx"))
    plain = Session(model)
    if precision in eighths.LARGEST:
        return plain, eighths.EightBits(precision, samples(network))(model, kept)
    return plain, typed.typed(model, precision, kept)


@pytest.mark.parametrize("network", SHAPES)
@pytest.mark.parametrize("precision", ["FP16", "BF16", "INT8", "FP8"])
def test_tensorrt_parses_and_compiles_what_is_typed(trt, tmp_path, network, precision):
    _, model = precise(network, precision, tmp_path)
    onnx.checker.check_model(model)
    onnx.save(model, str(tmp_path / "typed.onnx"))
    sizes = profiles.profiles(tensors.signature(model), Bounds(8), samples(network))
    builder = build.EngineBuilder(trt, tmp_path / "timings")
    plan = builder(tmp_path / "typed.onnx", build.EngineRecipe(sizes, sparse=True))
    assert len(plan) > 1000
    assert (tmp_path / "timings").stat().st_size > 0


@pytest.mark.parametrize("network", SHAPES)
@pytest.mark.parametrize(("precision", "most"), [("FP16", 0.002), ("INT8", 0.04), ("FP8", 0.2)])
def test_what_is_typed_answers_as_before(tmp_path, network, precision, most):
    plain, model = precise(network, precision, tmp_path)
    (feed, *_) = samples(network)
    wanted, got = plain(feed)["y"], Session(model, as_written=True)(feed)["y"]
    assert 0 < np.linalg.norm(wanted - got) / np.linalg.norm(wanted) < most


def test_a_kept_layer_computes_as_before(tmp_path):
    for precision in ("FP16", "INT8"):
        _, model = precise(networks.layered, precision, tmp_path, frozenset({"loud"}))
        (loud,) = (node for node in model.graph.node if node.name == "loud")
        assert loud.input[0] == "r1"
        assert loud.input[1] in {w.name for w in model.graph.initializer if w.data_type == 1}


def test_eight_bits_are_symmetric_and_leave_the_biases(tmp_path):
    _, model = precise(networks.convolved, "INT8", tmp_path)
    held = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    zeros = [value for name, value in held.items() if name.endswith("_zero")]
    assert zeros
    assert all(value.dtype == np.int8 and not value.any() for value in zeros)
    assert held["w2_scale"].shape == (16,)
    assert held["b1"].dtype == np.float32


def test_the_last_call_without_a_gpu_is_deserialize_cuda_engine(trt, tmp_path):
    """Builder, network, parser, profile, timing cache and build are real; this is where it ends."""
    path = networks.layered(tmp_path / "m.onnx")
    signature = tensors.signature(onnx.load(path))
    sizes = profiles.profiles(signature, Bounds(8), samples(networks.layered))
    builder = build.EngineBuilder(trt, tmp_path / "timings")
    plan = builder(path, build.EngineRecipe(sizes))
    with pytest.raises(build.BuildFailed, match=r"does not load.*cudaError 35"):
        builder.deserialized(plan)


def test_every_name_that_runs_an_engine_is_declared_by_the_bindings(trt):
    """These are called after the last call that succeeds here, so no run can find a wrong one."""
    for holder, names in {
        trt.ICudaEngine: "create_execution_context num_io_tensors get_tensor_name get_tensor_mode get_tensor_dtype get_tensor_shape get_tensor_profile_shape",
        trt.IExecutionContext: "set_input_shape get_tensor_shape set_tensor_address execute_async_v3",
        trt.TensorIOMode: "INPUT OUTPUT",
        trt.BuilderFlag: "SPARSE_WEIGHTS",
        trt: "nptype",
        trt.Runtime: "deserialize_cuda_engine",
        trt.DataType: "BF16",
    }.items():
        assert all(hasattr(holder, name) for name in names.split())
    assert "stream_handle" in trt.IExecutionContext.execute_async_v3.__doc__


def test_an_operator_that_tensorrt_lacks_is_refused_in_its_words(trt, tmp_path):
    node = onnx.helper.make_node("Nothing", ["x"], ["y"], domain="none.such")
    kind = onnx.TensorProto.FLOAT
    ends = [[onnx.helper.make_tensor_value_info(n, kind, [1])] for n in "xy"]
    graph = onnx.helper.make_graph([node], "g", *ends)
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("none.such", 1)]
    path = tmp_path / "m.onnx"
    path.write_bytes(
        onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    )
    with pytest.raises(Refusal, match="Nothing"):
        build.EngineBuilder(trt, tmp_path / "t")(path, build.EngineRecipe({}))


def test_timings_of_another_version_are_left_and_not_believed(trt, tmp_path):
    path = networks.layered(tmp_path / "m.onnx")
    sizes = {"x": Profile((1, 4, 32), (4, 4, 32), (8, 4, 32))}
    (tmp_path / "t").write_bytes(b"nonsense" * 20)
    assert build.EngineBuilder(trt, tmp_path / "t")(path, build.EngineRecipe(sizes))


def test_sizes_come_of_the_batch_the_context_and_the_samples():
    signature = tensors.Signature(
        (tensors.TensorSpec("x", 1, ("batch", 3, "h")), tensors.TensorSpec("fixed", 1, (2,))), ()
    )
    seen = [{"x": np.zeros((1, 3, n)), "fixed": np.zeros(2)} for n in (16, 64, 32)]
    found = profiles.profiles(signature, Bounds(8), seen)
    assert "fixed" not in found
    signature = tensors.Signature((tensors.TensorSpec("x", 1, ("batch", 3, "h")),), ())
    assert profiles.profiles(signature, Bounds(8), seen) == {
        "x": Profile((1, 3, 16), (8, 3, 32), (8, 3, 64))
    }
    text = tensors.Signature((tensors.TensorSpec("input_ids", 7, ("batch", "sequence")),), ())
    assert profiles.profiles(text, Bounds(8, 512), []) == {
        "input_ids": Profile((1, 1), (8, 128), (8, 512))
    }


def test_a_plan_runs_only_where_it_was_built_for(tmp_path):
    here = metadata.place("11.4.0.106", L4)
    assert metadata.mismatch(tmp_path, here, 8) == "there is no whole engine"
    metadata.write(tmp_path, b"plan", {"where": here, "batch": 8})
    assert metadata.mismatch(tmp_path, here, 8) is None
    assert metadata.mismatch(tmp_path, here, 4) is None
    assert "up to 8, not 16" in metadata.mismatch(tmp_path, here, 16)
    for change in ({"tensorrt": "11.3"}, {"product": "NVIDIA-A10"}, {"capability": "8.6"}):
        assert "it was built for" in metadata.mismatch(tmp_path, here | change, 8)
    (tmp_path / metadata.PLAN).write_bytes(b"other")
    assert "published" in metadata.mismatch(tmp_path, here, 8)


def test_the_key_changes_with_all_that_decides():
    here = metadata.place("11.4.0.106", L4)
    base = (b"graph", build.EngineRecipe({}), here, "wish")
    others = [
        (b"other", *base[1:]),
        (b"graph", build.EngineRecipe({}, sparse=True), *base[2:]),
        (b"graph", build.EngineRecipe({}, workspace=1), *base[2:]),
        (b"graph", build.EngineRecipe({"x": Profile((1,), (2,), (3,))}), *base[2:]),
        (*base[:2], here | {"tensorrt": "11.4.0.107"}, "wish"),
        (*base[:3], "another"),
    ]
    assert len({metadata.key(*each) for each in (base, *others)}) == len(others) + 1
    assert metadata.key(*base) == metadata.key(*base)
