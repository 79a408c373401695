"""Each step of an optimisation does to the numbers what it says.

Holds: preamar_model/files/tensors.py, preamar_model/optimize/error.py,
preamar_model/optimize/keep.py, preamar_model/optimize/recipe.py, preamar_model/optimize/samples.py,
preamar_model/optimize/samples_drawn.py, preamar_model/optimize/samples_given.py,
preamar_model/passes/floats.py, preamar_model/passes/gemm.py, preamar_model/passes/half.py,
preamar_model/passes/integers.py, preamar_model/passes/layers.py, preamar_model/passes/narrow.py,
preamar_model/passes/pairs.py, preamar_model/passes/rows.py, preamar_model/passes/session.py,
preamar_model/passes/single_layer.py, preamar_model/passes/zeros.py
"""

import networks
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from preamar_model.optimize import error, samples
from preamar_model.optimize.recipe import recipes
from preamar_model.passes import (
    floats,
    half,
    integers,
    layers,
    narrow,
    pairs,
    rows,
    single_layer,
    zeros,
)
from preamar_model.passes.integers import Quantizer, Scheme
from preamar_model.passes.optimize_spec import OptimizeSpec
from preamar_model.passes.session import Session


def weight(model: onnx.ModelProto, name: str) -> np.ndarray:
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    return numpy_helper.to_array(held[name])


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_the_smallest_go_and_no_more_of_them_than_asked(ratio):
    value = np.random.default_rng(0).standard_normal((13, 7)).astype(np.float32)
    pruned = zeros.smallest(value, ratio)
    gone = pruned == 0
    assert gone.sum() == int(value.size * ratio)
    assert np.abs(value[gone]).max() < np.abs(value[~gone]).min()
    assert (pruned[~gone] == value[~gone]).all()


def test_equal_numbers_are_pruned_to_the_share_too():
    assert (zeros.smallest(np.ones((10, 10), np.float32), 0.3) == 0).sum() == 30


@pytest.mark.parametrize("axis", [0, 1])
def test_two_of_each_four_go_along_the_sum(axis):
    value = np.random.default_rng(0).standard_normal((8, 12, 3, 3)).astype(np.float32)
    pruned = np.moveaxis(zeros.two_of_four(value, axis), axis, -1).reshape(-1, 4)
    whole = np.moveaxis(value, axis, -1).reshape(-1, 4)
    assert ((pruned == 0).sum(1) == 2).all()
    assert (np.sort(np.abs(whole), 1)[:, 2:] == np.sort(np.abs(pruned), 1)[:, 2:]).all()


def test_two_of_four_leaves_layers_alone_whose_sum_is_no_multiple_of_four(tmp_path):
    model = floats.prepared(networks.convolved(tmp_path / "m.onnx"))
    names = [layer.name for layer in zeros.suited(model, "TwoFour")]
    assert names == ["second", "third"], "the first sums over three colours"
    order = OptimizeSpec("m", "s", "t", sparsity="TwoFour", tolerance=1)
    assert recipes(order, model, [], tmp_path)[0].unsuited() == ["first"]


def test_units_that_are_zero_anyway_are_taken_out_without_a_trace(tmp_path):
    path = networks.layered(tmp_path / "m.onnx")
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name in {"w1", "b1"}:
            value = numpy_helper.to_array(tensor).copy()
            value[..., ::2] = 0
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    onnx.save(model, path)
    prepared = floats.prepared(path)
    x = np.random.default_rng(0).standard_normal((3, 4, networks.WIDTH)).astype(np.float32)
    whole = Session(prepared)({"x": x})["y"]
    small = narrow.narrowed(prepared, 0.5, frozenset({"last"}))
    assert weight(small, "w1").shape == (32, 16)
    assert weight(small, "b1").shape == (16,)
    assert weight(small, "w2").shape == (16, 32)
    assert weight(small, "w3").shape == (32, 32)
    assert Session(small)({"x": x})["y"] == pytest.approx(whole, abs=1e-5)


def test_channels_are_taken_out_between_convolutions_but_not_through_a_residual(tmp_path):
    plain = floats.prepared(networks.convolved(tmp_path / "p.onnx"))
    assert [pair.first.name for pair in pairs.find(plain)] == ["first", "second"]
    small = narrow.narrowed(plain, 0.5, frozenset())
    assert weight(small, "w2").shape == (8, 8, 3, 3)
    x = np.zeros((1, 3, 8, 8), np.float32)
    assert Session(small)({"x": x})["y"].shape == (1, 8, 8, 8)
    tied = floats.prepared(networks.convolved(tmp_path / "r.onnx", residual=True))
    assert pairs.find(tied) == []
    order = OptimizeSpec("m", "s", "t", sparsity="Structured", tolerance=1)
    with pytest.raises(Exception, match="residual"):
        recipes(order, tied, [], tmp_path)


def test_a_bias_that_two_layers_share_is_not_cut_for_one_of_them(tmp_path):
    model = onnx.load(networks.layered(tmp_path / "m.onnx"))
    for node in model.graph.node:
        if "b2" in node.input:
            node.input[list(node.input).index("b2")] = "b1"
    assert pairs.find(model) == []


@pytest.mark.parametrize(("precision", "digits"), [("FP16", 11), ("BF16", 8)])
def test_sixteen_bits_halve_the_file_and_round_as_they_say(tmp_path, precision, digits):
    prepared = floats.prepared(networks.layered(tmp_path / "m.onnx"))
    before, value = prepared.ByteSize(), weight(prepared, "w1")
    model = half.narrowed(prepared, precision, frozenset({"loud"}))
    assert model.ByteSize() < 0.8 * before
    assert weight(model, "w2").dtype == np.float32, "a layer that is kept stays"
    stored = weight(model, f"w1_{precision.lower()}").astype(np.float32)
    relative = np.abs(stored - value) / np.abs(value)
    assert 0 < relative.max() <= 2.0**-digits
    Session(model)


def test_a_number_too_large_for_fp16_is_seen_and_kept(tmp_path):
    from preamar_model.optimize import keep

    prepared = floats.prepared(networks.layered(tmp_path / "m.onnx", outlier=1e6))
    order = OptimizeSpec("m", "s", "t", precision="FP16")
    recipe = recipes(order, prepared, [], tmp_path)[0]
    x = np.random.default_rng(0).standard_normal((3, 4, networks.WIDTH)).astype(np.float32)
    judge = error.Judge("Infer", Session(prepared), [{"x": x}])
    found = keep.search(recipe, lambda m: judge(Session(m)), recipe.layers(), 0.01, lambda: 60.0)
    assert found.kept == ("calm",)


def test_each_row_of_a_table_has_a_scale_of_its_own():
    from onnx import TensorProto, helper

    table = np.random.default_rng(0).standard_normal((50, 16)).astype(np.float32)
    table[0] *= 1e4
    table[1] = 0
    node = helper.make_node("Gather", ["t", "ids"], ["y"], name="lookup")
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 16])
    graph = helper.make_graph([node], "g", [ids], [y], [numpy_helper.from_array(table, "t")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    size = model.ByteSize()
    small = rows.quantized(model, frozenset())
    assert small.ByteSize() < 0.6 * size
    got = Session(small)({"ids": np.arange(50)})["y"]
    assert (np.abs(got - table) <= np.abs(table).max(-1, keepdims=True) / 254 * 1.001).all()


def test_convolutions_are_made_integers_but_for_those_kept(tmp_path):
    path = networks.convolved(tmp_path / "m.onnx")
    model = floats.prepared(path)
    chance = np.random.default_rng(0)
    feeds = [{"x": chance.uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)} for _ in range(9)]
    judge = error.Judge("Infer", Session(model), feeds[6:])
    for scheme in (Scheme.PRODUCTS, Scheme.STATIC):
        quantizer = Quantizer(scheme, feeds[:6], tmp_path)
        assert 0 < judge(Session(quantizer(floats.prepared(path), frozenset()))) < 0.05
        kept = quantizer(floats.prepared(path), frozenset({"second"}))
        ints = {t.name for t in kept.graph.initializer if t.data_type == onnx.TensorProto.INT8}
        assert any("w1" in name for name in ints)
        assert not any("w2" in name for name in ints)
    everything = frozenset(layer.name for layer in layers.find(model))
    assert judge(Session(Quantizer(Scheme.STATIC, feeds[:6], tmp_path)(model, everything))) == 0


def test_ranges_choice_and_gate_share_no_sample_drawn_or_given(tmp_path):
    from preamar_model.files import source, tensors

    path = networks.layered(tmp_path / "model.onnx")
    signature = tensors.signature(onnx.load(path))
    (tmp_path / "own").mkdir()
    given = np.random.default_rng(0).standard_normal((20, 4, networks.WIDTH)).astype(np.float32)
    np.savez(tmp_path / "own/a.npz", x=given)
    for calibration in (None, str(tmp_path / "own")):
        order = OptimizeSpec("m", str(path), "t", precision="INT8", calibration=calibration)
        found = samples.collect(order, source.find(str(path)), signature, tmp_path)
        sets = [
            {feed["x"].tobytes() for feed in part}
            for part in (found.calibration, found.selection, found.held_out)
        ]
        assert min(map(len, sets)) >= 6
        assert len(set.union(*sets)) == sum(map(len, sets))
        again = samples.collect(order, source.find(str(path)), signature, tmp_path)
        assert {feed["x"].tobytes() for feed in again.held_out} == sets[2], "the same each time"


@pytest.mark.parametrize(
    "more", [{"precision": "INT8"}, {"precision": "BF16"}, {"sparsity": "Unstructured"}]
)
def test_a_layer_cut_out_causes_the_error_that_it_causes_alone(tmp_path, more):
    prepared = floats.prepared(networks.layered(tmp_path / "m.onnx", outlier=30))
    recipe = recipes(OptimizeSpec("m", "s", "t", **more), prepared, [], tmp_path)[0]
    x = np.random.default_rng(0).standard_normal((3, 4, networks.WIDTH)).astype(np.float32)
    judge = error.Judge("Infer", Session(prepared), [{"x": x}])
    changed = recipe(frozenset())
    names = frozenset(recipe.layers())
    for name in names:
        cut = single_layer.only(prepared, changed, name)
        assert cut is not None
        wanted = judge(Session(recipe(names - {name})))
        assert judge(Session(cut)) == pytest.approx(wanted, rel=1e-3)
        assert wanted > 0


def test_the_error_is_nothing_for_the_same_and_infinite_for_no_number():
    chance = np.random.default_rng(0)
    a = {"y": chance.standard_normal((2, 5, 7)).astype(np.float32)}
    for task in ("Embed", "Infer", "Generate"):
        assert error.error(task, a, a) == pytest.approx(0, abs=1e-12)
        broken = {"y": a["y"].copy()}
        broken["y"][0, 0, 0] = np.nan
        assert error.worst([0.0, error.error(task, a, broken)]) == np.inf


def test_the_error_of_each_task_is_what_its_table_says():
    a, b = np.float32([[1, 0]]), np.float32([[3, 4]])
    assert error.error("Embed", {"y": a}, {"y": b}) == pytest.approx(1 - 0.6)
    assert error.error("Infer", {"y": a}, {"y": a * 1.1}) == pytest.approx(0.1)
    ints = {"y": np.int64([1, 2, 3, 4])}
    assert error.error("Infer", ints, {"y": np.int64([1, 2, 0, 4])}) == 0.25
    # p = (1/2, 1/2) against q = (1/4, 3/4): KL = ln 2 - ln 3 / 2, H = ln 2.
    p, q = np.log(np.float32([[[0.5, 0.5]]])), np.log(np.float32([[[0.25, 0.75]]]))
    wanted = (np.log(2) - np.log(3) / 2) / np.log(2)
    assert error.error("Generate", {"y": p}, {"y": q}) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("where", "overflows"),
    [
        ("Linux/x86_64 avx2", True),
        ("Linux/x86_64 avx2 avx512f", True),
        ("Linux/x86_64", True),
        ("Linux/x86_64 avx2 avx512_vnni avx512f", False),
        ("Linux/x86_64 avx2 avx_vnni", False),
        ("Linux/x86_64 amx_int8", False),
        ("Linux/aarch64 asimddp", False),
    ],
)
def test_where_bytes_overflow_weights_take_seven_bits(tmp_path, monkeypatch, where, overflows):
    monkeypatch.setattr(integers, "machine", lambda: where)
    model = floats.prepared(networks.layered(tmp_path / "m.onnx"))
    made = Quantizer(Scheme.DYNAMIC, (), tmp_path)(model, frozenset())
    weights = [numpy_helper.to_array(tensor) for tensor in made.graph.initializer]
    largest = max(np.abs(w.astype(int)).max() for w in weights if w.dtype == np.int8)
    assert (largest == 64) == overflows
