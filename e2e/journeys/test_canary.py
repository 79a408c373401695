"""A worse model is rolled back by itself, a good one is promoted, and nobody is failed by either.
So is an artefact that passed the optimiser's gate and answers otherwise to what callers ask.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from e2e.cluster import Cluster
from e2e.conftest import claim
from e2e.journeys.hub import Hub, near, secret_of
from e2e.journeys.watching import events, moving, pods, service
from e2e.journeys.wishes import a_service
from e2e.kube import OURS, Json, Kube, condition, until

CONFIG = """
name: "m"
backend: "python"
max_batch_size: 0
input: [{name: "x", data_type: TYPE_FP32, dims: [1]}]
output: [{name: "y", data_type: TYPE_FP32, dims: [1]}]
"""
CODE = """
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        x = pb.get_input_tensor_by_name(request, "x").as_numpy()
        {body}
"""
GOOD = "return pb.InferenceResponse([pb.Tensor('y', x * {factor})])"
BAD = "return pb.InferenceResponse(error=pb.TritonError('it was trained on something else'))"


def written(folder: Path, body: str) -> Path:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(CONFIG)
    (folder / "1/model.py").write_text(CODE.format(body=body))
    return folder


FAR = 100.0


def kinked(folder: Path) -> Path:
    """Sums of its inputs, and of what of them is above 50: by weights half as large, which are the
    first to be pruned. Samples that are drawn stay far below."""
    weights = np.concatenate([np.full((8, 8), 0.5), np.full((8, 8), 0.25)]).astype(np.float32)
    held = {"edge": np.float32([50]), "weights": weights}
    nodes = [
        helper.make_node("Sub", ["x", "edge"], ["beyond"]),
        helper.make_node("Relu", ["beyond"], ["above"]),
        helper.make_node("Concat", ["x", "above"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "weights"], ["y"], name="sums"),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 8]) for n in "xy")
    tensors = [numpy_helper.from_array(value, name) for name, value in held.items()]
    graph = helper.make_graph(nodes, "kinked", [x], [y], tensors)
    opsets = [helper.make_opsetid("", 17)]
    folder.mkdir(parents=True)
    onnx.save(
        helper.make_model(graph, opset_imports=opsets, ir_version=8), str(folder / "model.onnx")
    )
    return folder


@pytest.fixture
def hub(here: Cluster, kube: Kube, namespace: str, tmp_path: Path) -> Iterator[Hub]:
    models = {
        "demo/two": GOOD.format(factor=2),
        "demo/broken": BAD,
        "demo/three": GOOD.format(factor=3),
    }
    folders = {name: written(tmp_path / name, body) for name, body in models.items()}
    folders["demo/kinked"] = kinked(tmp_path / "kinked")
    made = Hub(near(here, kube), folders)
    kube.apply(secret_of(made), namespace)
    yield made
    made.close()


def wish(uri: str) -> Json:
    model = {"name": "tried", "uri": uri, "task": "Infer", "format": "Python", "trust": "Code"}
    return a_service(
        "tried",
        model=model | {"secretName": "hub"},
        scaling={"min": 1, "max": 2},
        rollout={
            "strategy": "Canary",
            "canary": {"percent": 50, "intervalSeconds": 5, "steps": 2},
        },
    )


class Callers:
    """Four who ask all the time, each on a connection of its own."""

    def __init__(self, here: Cluster, model: str, shape: list[int], value: float) -> None:
        self._here = here
        self._path = f"/v2/models/{model}/infer"
        data = [value] * shape[-1]
        self._inputs = [{"name": "x", "datatype": "FP32", "shape": shape, "data": data}]
        self._stop = threading.Event()
        self.codes: list[int] = []
        self.answers: list[float] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        headers = {"Authorization": f"Bearer {self._here.key()}"}
        url = f"{self._here.gateway_url}{self._path}"
        with httpx.Client(headers=headers, timeout=30) as client:
            while not self._stop.wait(0.05):
                answer = client.post(url, json={"inputs": self._inputs})
                self.codes.append(answer.status_code)
                if answer.status_code == 200:
                    self.answers.append(answer.json()["outputs"][0]["data"][0])


def phase(kube: Kube, namespace: str, name: str = "tried") -> str:
    status = (service(kube, namespace, name) or {}).get("status") or {}
    return str((status.get("rollout") or {}).get("phase", ""))


def test_a_worse_model_goes_by_itself_and_a_good_one_stays(
    kube: Kube, namespace: str, here: Cluster, hub: Hub
) -> None:
    kube.apply(wish("hf://demo/two"), namespace)
    until(
        "the first revision is served",
        240,
        lambda: kube.endpoints("tried", namespace) == 1,
        progress=moving(kube, namespace),
    )

    with Callers(here, "tried", [1], 1.0) as callers:
        kube.apply(wish("hf://demo/broken"), namespace)
        until(
            "it is rolled back",
            180,
            lambda: phase(kube, namespace) == "RolledBack",
            progress=moving(kube, namespace),
        )
        found = service(kube, namespace, "tried")
        told = condition(found, "RolledOut")
        assert (told["status"], told["reason"]) == ("False", "FailsMoreOften")
        assert "failed on" in told["message"]
        assert condition(found, "Ready")["status"] == "True"
        assert events(kube, namespace, "tried")["FailsMoreOften"] == 1
        until(
            "its pods are gone",
            120,
            lambda: not [p for p in pods(kube, namespace, "inferenceservice", "tried")
                         if p["metadata"]["labels"].get("preamar.dev/role")], progress=moving(kube, namespace))  # fmt: skip
        assert set(callers.answers) == {2.0}

        kube.apply(wish("hf://demo/three"), namespace)
        until(
            "it is promoted",
            240,
            lambda: phase(kube, namespace) == "Promoted",
            progress=moving(kube, namespace),
        )

        def only_three() -> bool:
            callers.answers.clear()
            return not threading.Event().wait(2) and set(callers.answers) == {3.0}

        until("all answers are the new one's", 240, only_three, progress=moving(kube, namespace))
    assert set(callers.codes) == {200}, f"of {len(callers.codes)} requests"
    until(
        "the trial's Deployment is gone",
        120,
        lambda: kube.get("apps/v1", "Deployment", "tried-canary", namespace) is None,
        progress=moving(kube, namespace),
    )
    kube.delete(OURS, "InferenceService", "tried", namespace)


def an_optimised(**optimize: object) -> Json:
    model = {"uri": "hf://demo/kinked", "task": "Infer", "secretName": "hub"}
    return a_service(
        "kinked",
        model=model,
        scaling={"min": 1, "max": 2},
        optimize={"tolerance": "0.05"} | optimize,
        rollout={
            "strategy": "Canary",
            "canary": {"percent": 50, "intervalSeconds": 10, "steps": 2},
        },
    )


def test_what_passed_the_gate_and_answers_callers_otherwise_goes_by_itself(
    kube: Kube, namespace: str, here: Cluster, hub: Hub
) -> None:
    kube.apply(claim("preamar-models"), namespace)
    kube.apply(an_optimised(), namespace)
    until(
        "the model as it came is served",
        240,
        lambda: kube.endpoints("kinked", namespace) == 1,
        progress=moving(kube, namespace),
    )

    with Callers(here, "kinked", [1, 8], FAR) as callers:
        pruned = {"type": "Unstructured", "ratio": "0.5"}
        kube.apply(an_optimised(sparsity=pruned), namespace)
        until(
            "it is rolled back",
            420,
            lambda: phase(kube, namespace, "kinked") == "RolledBack",
            progress=moving(kube, namespace),
        )
        found = service(kube, namespace, "kinked")
        assert condition(found, "Optimized")["status"] == "True"
        told = condition(found, "RolledOut")
        assert (told["status"], told["reason"]) == ("False", "AnswersDiffer"), told
        assert "differ from those of the one before by 0.2 in the mean of" in told["message"]
        assert events(kube, namespace, "kinked")["AnswersDiffer"] == 1
        assert set(callers.answers) == {500.0, 400.0}

        kube.apply(an_optimised(precision="FP16"), namespace)
        until(
            "halves are promoted",
            420,
            lambda: phase(kube, namespace, "kinked") == "Promoted",
            progress=moving(kube, namespace),
        )
        told = condition(service(kube, namespace, "kinked"), "RolledOut")
        assert "answers differ by 0 in the mean of" in told["message"], told
    assert set(callers.codes) == {200}, f"of {len(callers.codes)} requests"
    kube.delete(OURS, "InferenceService", "kinked", namespace)
