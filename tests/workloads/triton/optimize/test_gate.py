"""Nothing worse than the tolerance is published, nothing half, and nothing twice.

Holds: preamar_model/optimize/command.py, preamar_model/optimize/keep.py,
preamar_model/optimize/measure.py, preamar_model/optimize/samples_given.py,
preamar_model/passes/key.py
"""

import json
import signal
import tempfile
from pathlib import Path

import networks
import numpy as np
import onnx
import pytest
from networks import optimize, optimize_command, record
from preamar_model.optimize import measure


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """Speeds of toy networks are of no interest."""
    monkeypatch.setattr(measure, "SECONDS", 0.02)
    monkeypatch.setattr(measure.compare, "__defaults__", (0.02,))


def order(tmp_path: Path, **more: object) -> dict:
    source = tmp_path / "model.onnx"
    if not source.exists():
        networks.layered(source)
    return {
        "name": "m", "source": str(source), "target": str(tmp_path / "out/m"), "precision": "INT8", "tolerance": "0.05",
    } | more  # fmt: skip


def test_int8_is_published_with_what_it_changed(tmp_path):
    done = optimize(order(tmp_path), tmp_path / "message")
    assert done.code == 0, done.log
    told = record(tmp_path / "out/m")
    assert 0 < float(told["error"]) <= 0.05
    assert told["layersKept"] == []
    assert told["calibration"] == "drawn"
    ops = {node.op_type for node in onnx.load(tmp_path / "out/m/model.onnx").graph.node}
    assert "MatMulInteger" in ops
    assert "MatMul" not in ops
    assert done.told["key"] == told["key"]
    assert {"bytes", "latency", "throughput", "error"} <= set(told["before"]) & set(told["after"])


def test_a_tolerance_that_nothing_meets_publishes_nothing(tmp_path):
    done = optimize(order(tmp_path, tolerance="0.000001"), tmp_path / "message")
    assert (done.code, done.told["reason"]) == (64, "OptimizationTooInaccurate")
    assert "tolerance" in done.told["message"]
    assert list((tmp_path / "out").iterdir()) == []


def test_the_gate_judges_by_inputs_that_the_choice_did_not_see(tmp_path, monkeypatch):
    """A choice that is blind is caught, so the gate is one of its own."""
    from preamar_model.optimize import keep

    monkeypatch.setattr(
        keep,
        "search",
        lambda apply, judge, layers, tolerance, left, only: keep.KeptLayers(
            apply(frozenset()), (), 0.0
        ),
    )
    done = optimize(order(tmp_path, tolerance="0.0001"), tmp_path / "message")
    assert (done.code, done.told["reason"]) == (64, "OptimizationTooInaccurate")
    assert not (tmp_path / "out/m").exists()


def test_the_one_layer_that_breaks_the_tolerance_is_kept(tmp_path):
    networks.layered(tmp_path / "model.onnx", outlier=300)
    done = optimize(order(tmp_path, tolerance="0.1"), tmp_path / "message")
    assert done.code == 0, done.log
    assert done.told["layersKept"] == ["loud"]
    nodes = onnx.load(tmp_path / "out/m/model.onnx").graph.node
    assert [node.name for node in nodes if node.op_type == "MatMul"] == ["loud"]
    assert sum(node.op_type == "MatMulInteger" for node in nodes) == 2


def test_a_second_order_of_the_same_does_nothing(tmp_path):
    assert optimize(order(tmp_path), tmp_path / "message").told["cached"] is False
    before = (tmp_path / "out/m/model.onnx").stat()
    again = optimize(order(tmp_path, name="other"), tmp_path / "message")
    assert (again.code, again.told["cached"]) == (0, True)
    after = (tmp_path / "out/m/model.onnx").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_order_another_source_and_a_broken_artefact_are_made_anew(tmp_path):
    first = optimize(order(tmp_path), tmp_path / "message").told
    looser = optimize(order(tmp_path, tolerance="0.06"), tmp_path / "message").told
    networks.layered(tmp_path / "model.onnx", seed=9)
    other = optimize(order(tmp_path, tolerance="0.06"), tmp_path / "message").told
    with (tmp_path / "out/m/model.onnx").open("ab") as file:
        file.write(b"x")
    mended = optimize(order(tmp_path, tolerance="0.06"), tmp_path / "message").told
    assert not any(told["cached"] for told in (first, looser, other, mended))
    assert len({told["key"] for told in (first, looser, other)}) == 3
    assert mended["key"] == other["key"]


KILLED = """
import os, signal
from preamar_model.files import publish
publish.{function} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_before_the_end_leaves_nothing_to_be_served(tmp_path):
    wish = order(tmp_path, precision="FP16")
    killed = optimize_command(wish, KILLED.format(function="sync"))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".m.optimizing"]
    assert optimize(wish, tmp_path / "message").code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["m"]


def test_a_kill_between_two_artefacts_loses_neither(tmp_path):
    wish = order(tmp_path, precision="FP16")
    first = optimize(wish, tmp_path / "message").told["key"]
    (tmp_path / "out/m").rename(tmp_path / "out/.m.replaced")  # as a kill between the renames
    done = optimize(order(tmp_path, tolerance="0.000001"), tmp_path / "message")
    assert done.code == 64
    assert record(tmp_path / "out/m")["key"] == first, "the artefact before is put back"


def test_a_pod_that_can_write_nothing_but_the_target_will_do(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/nowhere"])
    assert optimize(order(tmp_path), tmp_path / "message").code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["m"]


def test_samples_of_ones_own_are_used_and_said(tmp_path):
    samples = tmp_path / "samples"
    samples.mkdir()
    chance = np.random.default_rng(0)
    rows = chance.standard_normal((30, 4, networks.WIDTH)).astype(np.float32)
    np.savez(samples / "a.npz", x=rows)
    done = optimize(order(tmp_path, calibration=str(samples)), tmp_path / "message")
    assert done.code == 0, done.log
    assert done.told["calibration"] == "given"
    assert done.told["samples"] == {"calibration": 10, "selection": 10, "heldOut": 10}
    drawn = optimize(order(tmp_path), tmp_path / "message")
    assert drawn.told["key"] != done.told["key"]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"z": np.zeros((9, 4, networks.WIDTH), np.float32)}, "x"),
        ({"x": np.zeros((9, 4, networks.WIDTH), np.int64)}, "int64"),
        ({"x": np.zeros((9, 4, 5), np.float32)}, "5"),
        ({"x": np.zeros((3, 4, networks.WIDTH), np.float32)}, "too few"),
        ({"x": np.array([{}], dtype=object)}, "plain arrays"),
    ],
)
def test_samples_that_do_not_fit_are_refused(tmp_path, arrays, said):
    (tmp_path / "samples").mkdir()
    np.savez(tmp_path / "samples/a.npz", **arrays)
    done = optimize(order(tmp_path, calibration=str(tmp_path / "samples")), tmp_path / "message")
    assert (done.code, done.told["reason"]) == (64, "CalibrationInvalid")
    assert said in done.told["message"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"precision": "FP8"}, "8.9"),
        ({"precision": "FP4"}, "10.0"),
        ({"precision": "INT3"}, "INT3"),
        ({"engine": "TensorRT"}, "GPU"),
        ({"precision": "None"}, "Nothing"),
        ({"sparsity": {"type": "TwoFour", "ratio": "0.7"}}, "0.5"),
        ({"sparsity": {"type": "Unstructured", "ratio": "1"}}, "ratio"),
        ({"tolerance": "nan"}, "tolerance"),
        ({"task": "Rank"}, "Rank"),
    ],
)
def test_what_a_cpu_cannot_do_is_refused_in_a_sentence(tmp_path, more, said):
    done = optimize(order(tmp_path) | more, tmp_path / "message")
    assert (done.code, done.told["reason"]) == (64, "OptimizationUnsupported")
    assert said in done.told["message"]


def test_inputs_that_cannot_be_guessed_must_be_given(tmp_path):
    import graphs

    done = optimize(
        order(tmp_path, source=str(graphs.words(tmp_path / "w.onnx"))), tmp_path / "message"
    )
    assert (done.code, done.told["reason"]) == (64, "CalibrationInvalid")
    assert "calibrationUri" in done.told["message"]


def test_the_command_itself_exits_as_build_does(tmp_path):
    done = optimize_command(order(tmp_path, source=str(tmp_path / "gone")))
    assert done.returncode == 64, done.stderr
    assert "ModelNotFound" in done.stderr
    malformed = optimize_command({"name": "m"})
    assert malformed.returncode == 1, "whoever wrote the pod is to blame, not the model's owner"


def test_the_termination_message_fits_however_many_layers_are_kept():
    from preamar_model.optimize.command import _short

    told = _short({"layersKept": ["a" * 60] * 500, "files": {}, "engine": None})
    assert len(json.dumps(told)) < 2500
    assert told["layersKeptCount"] == 500
