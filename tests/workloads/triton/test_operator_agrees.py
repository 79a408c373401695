"""What the operator writes for the model server, the image reads; what the image says, the operator
understands. Neither imports the other.

Holds: preamar_model/order.py, preamar_model/refusal.py, preamar_model/group/words.py,
preamar_model/passes/optimize_spec.py, core/serving/artifact/optimize_job.py,
core/serving/artifact/optimize_words.py, core/serving/artifact/prefetch.py,
core/serving/health/faults.py, core/serving/pods/group.py, core/serving/pods/memory.py,
core/serving/pods/pod.py, protocol/ports.py
"""

import json
from itertools import product
from pathlib import Path

import pytest
from preamar_model import order as orders
from preamar_model.build import command
from preamar_model.files import recognise
from preamar_model.files.source import MOUNT
from preamar_model.group import words as groups
from preamar_model.optimize import command as optimize
from preamar_model.passes import optimize_spec as wishes
from preamar_model.refusal import EXIT_REFUSED, LIMIT, Refusal, RefusalReason, invalid, sentence
from preamar_model.serve import command as serving
from preamar_model.serve import deaths

from preamar.core.objects import ClaimView
from preamar.core.pods import ContainerView, Ended
from preamar.core.serving.artifact import optimize_job, optimize_words
from preamar.core.serving.artifact.prefetch import prefetch
from preamar.core.serving.health import faults
from preamar.core.serving.model import source
from preamar.core.serving.pods import group, memory
from preamar.core.serving.pods.pod import pod_spec
from preamar.core.settings import Settings
from preamar.protocol import ports
from preamar.protocol.engines import ROWS
from tests.core.builders import NOW, a_pod, a_service

SETTINGS = Settings(model_hosts=("store.example", "hub.example:8443"), gang_seconds=77)
CACHE = ClaimView(SETTINGS.model_cache_claim, "Bound", ("ReadWriteMany",))
DIGEST = "sha256:" + "ab" * 32
GPU = {"type": "GPU", "count": 2}


def env_of(container):
    return {each["name"]: each.get("value", "") for each in container["env"]}


MODELS = (
    {"uri": "pvc://models/one"},
    {"uri": "pvc://models", "name": "chat", "task": "Generate", "digest": DIGEST},
    {"uri": "pvc://models/a/b", "format": "ONNX", "task": "Embed"},
    {"uri": "image://registry.example/models/one:1", "format": "Python", "trust": "Code"},
    {"uri": "s3://models/one", "task": "Rank", "secretName": "login"},
    {"uri": "hf://demo/tiny", "digest": DIGEST, "name": "Tiny.1"},
)
RUNTIMES = (
    {},
    {"instances": 3, "batching": {"maxBatchSize": 32, "maxDelayMicroseconds": 500}},
    {"batching": {"maxBatchSize": 1}},
)


@pytest.mark.parametrize(("model", "runtime", "made"), list(product(MODELS, RUNTIMES, (None, 1))))
def test_the_builder_reads_what_the_operator_orders(model, runtime, made):
    service = a_service("m", model=model, runtime=runtime)
    spec = service.spec
    batch = made or spec.runtime.batching.max_batch_size
    pod = pod_spec(service, SETTINGS, CACHE, batch)
    builder, server = env_of(pod["initContainers"][0]), env_of(pod["containers"][0])
    assert orders.read(builder) == orders.read(server)
    fetched = source.is_fetched(service)
    assert orders.read(builder) == orders.BuildSpec(
        name=service.model_name,
        source="" if fetched else source.mounted_source(service, SETTINGS, CACHE).words["source"],
        format=spec.model.format.value,
        task=spec.model.task.value,
        trust=spec.model.trust.value,
        digest=spec.model.digest,
        accelerator="CPU",
        max_batch_size=batch,
        max_delay_microseconds=spec.runtime.batching.max_delay_microseconds,
        instances=spec.runtime.instances,
        uri=spec.model.uri if fetched else None,
        hosts=SETTINGS.model_hosts if fetched else (),
        cache_bytes=SETTINGS.model_cache_bytes if fetched else 0,
    )


@pytest.mark.parametrize(
    ("tensor", "pipeline", "expert", "nodes"),
    [(1, 1, 1, 1), (2, 1, 1, 1), (4, 1, 2, 2), (2, 2, 1, 2)],
)
def test_the_builder_reads_how_a_model_is_split(tensor, pipeline, expert, nodes):
    split = {"tensor": tensor, "pipeline": pipeline, "expert": expert, "nodes": nodes}
    model = {"uri": "pvc://models/one", "format": "VLLM", "task": "Generate"}
    service = a_service("m", model=model, accelerator=GPU, parallelism=split)
    order = orders.read(env_of(pod_spec(service, SETTINGS, None, 8)["initContainers"][0]))
    assert (order.tensor, order.pipeline, order.expert, order.stages) == tuple(split.values())
    assert order.on_gpu
    assert order.format == "VLLM"


OPTIMIZED = (
    {"precision": "INT8", "tolerance": "0.02"},
    {"precision": "FP16", "calibrationUri": "pvc://samples/set/one"},
    {"sparsity": {"type": "TwoFour"}},
    {"sparsity": {"type": "Unstructured", "ratio": "0.3"}, "precision": "BF16"},
)


def an_optimized(optimize, **more):
    return a_service("m", optimize=optimize, **more)


def job_of(service, kept=()):
    """The one Job that makes what is asked for."""
    made = source.artefact_of(service)
    (one,) = made.jobs
    return optimize_job.optimize_job(service, SETTINGS, CACHE, made, one, kept)


@pytest.mark.parametrize("model", MODELS[:1] + MODELS[2:3] + MODELS[-1:])
@pytest.mark.parametrize("optimize", OPTIMIZED, ids=str)
def test_the_optimiser_reads_what_the_operator_wishes(optimize, model):
    service = an_optimized(optimize, model=model)
    spec, asked = service.spec, service.spec.optimize
    job = job_of(service, kept=("m-0123456789",))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    fetched = source.is_fetched(service)
    words = source.mounted_source(service, SETTINGS, CACHE).words
    assert wishes.read(env_of(container)) == wishes.OptimizeSpec(
        name=service.model_name,
        source="" if fetched else words["source"],
        target=f"{source.CACHE}/{source.ARTEFACTS}/{source.artefact(service)}",
        task=spec.model.task.value,
        precision=asked.precision.value,
        sparsity=asked.sparsity.type.value,
        ratio=float(asked.sparsity.ratio),
        tolerance=float(asked.tolerance),
        calibration="/mnt/calibration/set/one" if asked.calibration_uri else None,
        digest=spec.model.digest,
        trust=spec.model.trust.value,
        uri=spec.model.uri if fetched else None,
        hosts=SETTINGS.model_hosts if fetched else (),
        cache_bytes=SETTINGS.model_cache_bytes if fetched else 0,
        kept=("m-0123456789",),
    )
    # And a replica is told to take it from where the optimiser puts it.
    order = orders.read(env_of(pod_spec(service, SETTINGS, CACHE, 8)["initContainers"][0]))
    assert (order.source, order.artefact, order.uri) == (
        wishes.read(env_of(container)).target,
        True,
        None,
    )


def test_the_optimiser_reads_which_engine_is_wished_and_the_builder_that_there_is_one():
    wish = {"engine": "TensorRT", "precision": "FP8"}
    gpu = {"type": "GPU", "products": ["NVIDIA-L4"]}
    service = an_optimized(wish, accelerator=gpu, runtime={"batching": {"maxBatchSize": 16}})
    job = job_of(service)
    read = wishes.read(env_of(job["spec"]["template"]["spec"]["containers"][0]))
    assert (read.engine, read.precision, read.batch, read.accelerator) == (
        "TensorRT",
        "FP8",
        16,
        "GPU",
    )
    order = orders.read(env_of(pod_spec(service, SETTINGS, CACHE, 8)["initContainers"][0]))
    assert (order.engine, order.artefact, order.max_batch_size) == ("TensorRT", True, 8)


def test_the_fetcher_reads_what_is_fetched_ahead():
    service = a_service("m", model=MODELS[-1], accelerator={"type": "GPU"})
    job = prefetch(service, SETTINGS, CACHE, "m-fetch")
    order = orders.read(env_of(job["spec"]["template"]["spec"]["containers"][0]))
    assert (order.name, order.uri, order.digest) == ("Tiny.1", MODELS[-1]["uri"], DIGEST)
    assert (order.hosts, order.cache_bytes) == (SETTINGS.model_hosts, SETTINGS.model_cache_bytes)


def test_members_of_a_group_find_each_other_by_what_the_operator_names():
    service = a_service(
        "m", accelerator={"type": "GPU"}, parallelism={"nodes": 3, "pipeline": 3},
        model={"uri": "pvc://models/one", "format": "VLLM", "task": "Generate"},
    )  # fmt: skip
    leader = a_pod(service, name="m-serve-1")
    pod = pod_spec(service, SETTINGS, None, 8)
    leads = env_of(group.as_leader(pod, service, SETTINGS)["containers"][0])
    of_leader = groups.read(
        leads | {"PREAMAR_POD_NAME": leader.name, "PREAMAR_POD_UID": leader.uid}
    )
    workers = group.workers(pod, service, SETTINGS, leader)
    name, network = workers["metadata"]["name"], workers["spec"]["serviceName"]
    template = workers["spec"]["template"]["spec"]
    for number in range(workers["spec"]["replicas"]):
        for container in (template["initContainers"][0], template["containers"][0]):
            worker = groups.worker(env_of(container) | {"PREAMAR_POD_NAME": f"{name}-{number}"})
            assert (worker.rank, worker.size, worker.secret) == (number + 1, 3, leader.uid)
            assert worker.seconds == of_leader.seconds == SETTINGS.gang_seconds + group.SLACK
    expected = tuple(f"{name}-{n}.{network}:{ports.GROUP}" for n in range(2))
    assert (of_leader.rank, of_leader.peers) == (0, expected)
    assert network == group.network(service)["metadata"]["name"]


def test_a_replica_of_one_pod_is_in_no_group():
    service = a_service("m")
    pod = pod_spec(service, SETTINGS, None, 8)
    assert groups.read(env_of(pod["containers"][0])) is None


def test_ports_and_places_are_the_same_on_both_sides(monkeypatch):
    for name in ("HTTP", "GRPC", "METRICS"):
        monkeypatch.delenv(f"PREAMAR_{name}_PORT", raising=False)
    assert serving.ports() == (ports.MODEL_HTTP, ports.MODEL_GRPC, ports.MODEL_METRICS)
    pod = pod_spec(a_service("m"), SETTINGS, None, 8)
    named = {each["name"]: each["containerPort"] for each in pod["containers"][0]["ports"]}
    assert tuple(named[name] for name in ("http", "grpc", "metrics")) == serving.ports()
    assert (groups.PORT, groups.HEALTH_PORT) == (ports.GROUP, ports.GROUP_HEALTH)
    assert groups.MASTER_PORT == ports.MASTER
    places = (source.MODEL, source.CACHE, source.CREDENTIALS)
    assert places == (str(MOUNT), str(command.CACHE), str(command.SECRET))


@pytest.mark.parametrize("reason", RefusalReason)
def test_every_refusal_is_told_as_what_it_is(reason):
    refusal = Refusal(reason, f"Because of {reason}.\nTwo lines.")
    end = Ended(EXIT_REFUSED, message=refusal.as_json())
    assert memory.REFUSED == EXIT_REFUSED
    said = optimize_words.refused(end)
    assert (said.reason, said.message) == (str(reason), f"Because of {reason}. Two lines.")
    if reason.name.startswith(("OPTIMIZATION", "CALIBRATION")):  # no builder says that
        return
    container = ContainerView("model", init=True, ended=end)
    found = faults.find((a_pod(a_service("m"), container),), NOW, faults.Made())
    assert found is not None
    assert (found.fault, found.message) == (faults.Fault(str(reason)), said.message)


def test_a_refusal_of_any_length_fits_a_termination_message():
    end = Ended(EXIT_REFUSED, message=invalid("ä" * 9000).as_json())
    assert 1000 < len(end.words["message"].encode()) <= LIMIT


def test_a_server_that_ran_out_of_memory_says_so_in_words_that_are_known(monkeypatch):
    watch = deaths.OutOfMemory()
    watch.before = -1
    said = sentence(watch.sentence())
    assert memory.told(said, gpu=True) is memory.Memory.CONTAINER


def test_what_came_of_an_optimisation_is_shown_in_full():
    record = {
        "before": {"bytes": 900, "latency": "0.010000", "latencyP99": "0.020000", "throughput": "99.50", "error": "0.000000"},
        "after": {"bytes": 300, "latency": "0.005000", "latencyP99": "0.010000", "throughput": "200.00", "error": "0.004000"},
        "layersKept": [f"layer{n}" for n in range(30)],
        "engine": {"where": {"product": "NVIDIA-L4", "tensorrt": "11.4"}},
        "files": {},
    }  # fmt: skip
    end = Ended(0, message=json.dumps(optimize._short(record)))
    told = optimize_words.figures(end, "m-0123456789")
    assert told == {
        "artefact": "m-0123456789",
        "before": record["before"],
        "after": record["after"],
        "layersKept": record["layersKept"][: optimize.NAMED],
    }
    row = optimize_words.engine(end, "", told)
    assert (row["product"], row["tensorrt"]) == ("NVIDIA-L4", "11.4")


def test_the_builder_serves_the_formats_of_the_operators_rows_and_each_image_can_be_built():
    served = {row.format.value for row in ROWS if row.served} - {"Auto"}
    assert set(recognise.ASKED) == served
    assert set(recognise.ENGINES) == {row.format.value for row in ROWS if row.joins}
    for name in {image for row in ROWS for image in row.images}:
        family, _, variant = name.partition("-")
        folder = Path(__file__).resolve().parents[3] / "workloads" / family
        assert (folder / f"{variant}.Dockerfile".lstrip(".")).is_file(), name
