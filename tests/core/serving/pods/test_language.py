"""What a language model in an engine of its own becomes: its image, what its builder is told, and where it stalls.

Holds: core/serving/model/images.py, core/serving/model/limits.py, core/serving/pods/group.py,
core/serving/pods/pod.py, core/settings.py
"""

from json import loads

import pytest

from preamar.core.serving.model.limits import unserved
from preamar.core.serving.pods.group import as_leader, workers
from preamar.core.serving.pods.pod import pod_spec
from preamar.core.settings import Settings
from tests.core.builders import a_pod, a_service

IMAGES = {
    "VLLM": Settings().images["triton-vllm"],
    "TensorRTLLM": Settings().images["triton-trtllm"],
}


def served(engine="VLLM", **more):
    model = {"format": engine, "task": "Generate"}
    gpus = {"type": "GPU", "count": 4}
    return a_service(**({"model": model, "accelerator": gpus} | more))


def told(service) -> tuple[dict, dict, dict]:
    pod = pod_spec(service, Settings(), None, 8)
    return pod, pod["containers"][0], told_order(pod)


def told_order(pod: dict) -> dict:
    env = pod["initContainers"][0]["env"]
    return loads(next(each["value"] for each in env if each["name"] == "PREAMAR_MODEL"))


@pytest.mark.parametrize("engine", IMAGES)
def test_a_model_that_is_split_has_its_image_its_sizes_and_room_to_talk(engine):
    service = served(engine, parallelism={"tensor": 2, "pipeline": 2})
    pod, triton, order = told(service)
    assert unserved(service) == ""
    assert triton["image"] == IMAGES[engine]
    assert triton["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert (order["format"], order["parallelism"]) == (engine, {"tensor": 2, "pipeline": 2})
    shm = next(v for v in pod["volumes"] if v["name"] == "shm")
    assert shm["emptyDir"]["sizeLimit"] == "8Gi"


@pytest.mark.parametrize(("engine", "expert"), [("VLLM", 4), ("TensorRTLLM", 2)])
def test_experts_are_spread_over_accelerators_that_share_a_layer(engine, expert):
    service = served(engine, parallelism={"tensor": 4, "expert": expert})
    assert unserved(service) == ""
    assert told(service)[2]["parallelism"] == {"tensor": 4, "pipeline": 1, "expert": expert}


def test_each_pod_of_one_that_spans_pods_builds_and_runs_the_same():
    service = served(parallelism={"tensor": 4, "pipeline": 2, "nodes": 2})
    assert unserved(service) == ""
    pod, _, order = told(service)
    leader = a_pod(service, phase="Running")
    worker = workers(pod, service, Settings(), leader)["spec"]["template"]["spec"]
    assert order["stages"] == 2
    for made in (as_leader(pod, service, Settings()), worker):
        container = made["containers"][0]
        assert container["image"] == Settings().images["triton-vllm"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "4"
        assert "PREAMAR_GROUP" in {each["name"] for each in container["env"]}
        assert told_order(made) == order


def test_one_that_is_not_split_keeps_the_order_that_it_had():
    service = a_service(accelerator={"type": "GPU"})
    _, triton, order = told(service)
    assert triton["image"] == Settings().images["triton-gpu"]
    assert "parallelism" not in order


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"model": {"format": "ONNX"}, "parallelism": {"tensor": 2}}, "parallelism.tensor"),
        ({"parallelism": {"expert": 2}}, "parallelism.expert"),
        ({"parallelism": {"tensor": 4, "expert": 2}}, "parallelism.expert"),
        (
            {"engine": "TensorRTLLM", "parallelism": {"tensor": 4, "expert": 3}},
            "parallelism.expert",
        ),
        ({"model": {"format": "ONNX"}, "parallelism": {"expert": 2}}, "parallelism.expert"),
        ({"runtime": {"instances": 2}}, "runtime.instances"),
        ({"engine": "TensorRTLLM", "runtime": {"instances": 2}}, "runtime.instances"),
        ({"engine": "TensorRTLLM", "parallelism": {"tensor": 2, "nodes": 2}}, "parallelism.nodes"),
        ({"parallelism": {"nodes": 2}}, "parallelism.nodes"),
        ({"parallelism": {"tensor": 4, "nodes": 3}}, "parallelism.nodes"),
        ({"model": {"format": "TorchScript"}}, "model.format"),
    ],
)
def test_what_cannot_be_stalls_with_the_field(wish, field):
    assert f"spec.{field} is not supported" in unserved(served(**wish))


def test_more_ranks_than_accelerators_are_no_resource_at_all():
    with pytest.raises(ValueError, match="tensor x pipeline must not exceed"):
        served(parallelism={"tensor": 8})
