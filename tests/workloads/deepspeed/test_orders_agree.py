"""What the operator writes for ranks, the trainer's image reads; what ranks say at their end, the
operator understands.

Holds: preamar_train/request.py, preamar_train/agent/message.py, preamar_train/agent/settings.py,
preamar_train/agent/stopping.py, core/training/pods/material.py, core/training/pods/pod.py,
core/training/elastic/conversion.py, core/training/data/prepare_job.py,
core/training/attempts/endings.py
"""

import importlib
import json
import sys
from datetime import UTC, datetime
from types import ModuleType

import pytest
from preamar_train import converter, request
from preamar_train.agent import message
from preamar_train.agent.settings import settings
from preamar_train.agent.stopping import Stopping
from preamar_train.checkpoint.manifest import Manifest
from preamar_train.corpus import order as corpora
from preamar_train.corpus import run as corpus
from preamar_train.failures import STOPPED, Class
from preamar_train.start.continuity import Verified

from preamar.core.pods import ContainerView, Ended, PodView
from preamar.core.settings import Settings
from preamar.core.training.attempts import endings
from preamar.core.training.attempts.policy import POLICIES
from preamar.core.training.data import prepare_job
from preamar.core.training.elastic import conversion
from preamar.core.training.observe import JobView
from preamar.core.training.planner.sizes import Split
from preamar.core.training.pods.pod import pod_spec
from preamar.core.training.pods.tokens import stop_token
from preamar.core.training.progress import Resumed, Saved, Spent, TerminationMessage
from preamar.protocol import ports
from preamar.protocol.labels import ATTEMPT_LABEL
from tests.core.builders import a_job

SETTINGS = Settings(internal_key=b"secret", gang_seconds=77)
JOBS = (
    {},
    {
        "steps": 50, "precision": "FP16", "batch": {"global": 48},
        "parallelism": {"tensor": 2, "zeroStage": 2},
        "workers": {"replicas": 3, "max": 3, "ranksPerWorker": 2},
        "checkpoint": {"uri": "pvc://ckpt/run", "schedule": "Steps", "everySteps": 7, "keep": 5},
        "export": {"uri": "pvc://models/out"},
        "deepspeedConfig": {"gradient_clipping": 1.0},
    },
    {
        "model": {"preset": "gpt-tiny", "parameters": {"layers": 3}},
        "checkpoint": {"uri": "pvc://ckpt", "schedule": "Auto"},
        "data": {"sources": [
            {"name": "books", "uri": "pvc://data/books", "weight": "0.3"},
            {"name": "web", "uri": "s3://bucket/web", "secretName": "login"},
        ], "shuffleSeed": 9},
    },
)  # fmt: skip


def env_of(container):
    return {each["name"]: each["value"] for each in container["env"]}


@pytest.mark.parametrize("spec", JOBS, ids=("plain", "split", "sources"))
def test_the_trainer_reads_what_the_operator_orders(spec):
    job = a_job("t", **spec)
    workers = job.spec.workers.replicas
    world = workers * job.spec.workers.ranks_per_worker
    copies = world // job.spec.parallelism.tensor
    micro = job.spec.batch.global_size // copies
    pod = pod_spec(job, SETTINGS, 4, workers, Split(micro, 1), 3600)
    (container,) = pod["containers"]
    env = env_of(container)
    read = request.parse(env["PREAMAR_TRAIN"], world)
    asked, checkpoint = job.spec, job.spec.checkpoint
    assert (read.job, read.uid, read.attempt) == ("demo/t", "uid-t", 4)
    assert (read.preset, read.parameters) == (asked.model.preset, dict(asked.model.parameters))
    split = asked.parallelism
    assert (read.tensor, read.pipeline, read.expert) == (split.tensor, split.pipeline, split.expert)
    assert (read.zero_stage, read.offload) == (split.zero_stage, split.offload.value)
    assert (read.global_batch, read.micro_batch, read.accumulation) == (
        asked.batch.global_size,
        micro,
        1,
    )
    assert read.deepspeed == dict(asked.deepspeed_config)
    assert (read.steps, read.precision) == (asked.steps, asked.precision.value)
    for ours, theirs in zip(asked.data.sources, read.sources, strict=True):
        assert (theirs.name, str(theirs.weight)) == (ours.name, str(ours.weight))
        assert theirs.remote == (not ours.uri.startswith("pvc://"))
        assert not theirs.remote or theirs.uri == ours.uri
    assert read.shuffle_seed == asked.data.shuffle_seed
    kept = read.checkpoint
    assert (kept.uri, kept.keep, kept.every_steps) == (
        checkpoint.uri, checkpoint.keep, checkpoint.every_steps,
    )  # fmt: skip
    assert kept.mean_seconds == (3600 if checkpoint.schedule == "Auto" else None)
    assert (read.export.uri if read.export else None) == (
        asked.export.uri if asked.export else None
    )
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    for path in (kept.path, *(s.path for s in read.sources if s.path)):
        assert any(path == mount or path.startswith(f"{mount}/") for mount in mounts)
    assert request.volume(env["PREAMAR_TRAIN"]).checkpoint == kept


def test_the_agent_reads_its_environment(monkeypatch):
    job = a_job("t", workers={"replicas": 2, "max": 2, "ranksPerWorker": 2})
    (container,) = pod_spec(job, SETTINGS, 4, 2, Split(8, 1), 3600)["containers"]
    read = settings(env_of(container) | {"JOB_COMPLETION_INDEX": "1"})
    assert (read.world_size, read.ranks, read.index, read.first_rank) == (4, 2, 1, 2)
    assert read.master == "t-4-0.t-ranks"
    assert (read.port, read.agent_port) == (ports.MASTER, ports.AGENT)
    assert read.gang_seconds >= SETTINGS.gang_seconds
    (named,) = container["ports"]
    assert named == {"name": "agent", "containerPort": ports.AGENT}
    asked = []
    stopping = Stopping(read.stop_digest, lambda: asked.append(True))
    token = stop_token(SETTINGS.internal_key, "uid-t", 4)
    order = json.dumps({"reason": "Resize"}).encode()
    assert stopping.answer(f"Bearer {stop_token(SETTINGS.internal_key, 'uid-t', 5)}", order) == 401
    assert (stopping.answer(f"Bearer {token}", order), asked) == (202, [True])


def test_an_agent_that_is_told_no_ports_takes_the_agreed_ones():
    read = settings({"WORLD_SIZE": "1", "JOB_COMPLETION_INDEX": "0", "MASTER_ADDR": "a"})
    assert (read.port, read.agent_port) == (ports.MASTER, ports.AGENT)


def test_the_corpus_reads_what_is_to_be_prepared():
    prepare = {
        "target": "pvc://data/made", "deduplicate": "Exact",
        "filters": {"minCharacters": 10},
    }  # fmt: skip
    sources = [{"name": "books", "uri": "pvc://data/books", "weight": "2"}]
    job = a_job("t", data={"sources": sources, "prepare": prepare})
    read = corpora.parse(json.dumps(prepare_job.order(job)))
    asked = job.spec.data.prepare
    assert (read.uri, read.key) == (asked.target, prepare_job.key_of(job))
    assert read.duplicates == asked.deduplicate.value
    assert read.similarity == pytest.approx(float(asked.similarity))
    filters = asked.filters
    assert (read.filters.least, read.filters.most) == (
        filters.min_characters or 0, filters.max_characters or 0,
    )  # fmt: skip
    assert read.preset == job.spec.model.preset
    assert [(s.name, str(s.weight)) for s in read.sources] == [("books", "2")]


def test_exit_codes_are_the_same_on_both_sides():
    assert endings.STOPPED == STOPPED
    assert conversion.FINAL == converter.FINAL
    assert prepare_job.USERS == corpus.USERS


@pytest.mark.parametrize("kind", Class)
def test_every_class_of_failure_is_understood_as_such(kind):
    words = message.compose("Failed", 3, {"failedStep": 7}, kind=kind.value, explanation="Why.")
    said = TerminationMessage.of(message.encode(words).decode())
    assert (said.failure, said.explanation, said.rank, said.failed_step) == (
        kind.value,
        "Why.",
        3,
        7,
    )
    pod = PodView(
        "p", "p", labels={ATTEMPT_LABEL: "1"},
        containers=(ContainerView("trainer", ended=Ended(1, message=message.encode(words).decode())),),
    )  # fmt: skip
    job = JobView("t-1", "j", "1", 1, workers=1)
    found = endings.ending(job, (pod,), endings.exits_of((pod,)))
    assert found.kind == kind.value
    unlisted = {endings.UNCONVERTED, endings.BROKEN}
    assert kind.value in POLICIES or kind.value in unlisted


@pytest.fixture
def checkpoint_words(monkeypatch):
    """What the trainer says of a checkpoint. Its module wants DeepSpeed for other things."""
    gang = ModuleType("preamar_train.ranks.gang")
    gang.RankGroup = object
    monkeypatch.setitem(sys.modules, gang.__name__, gang)
    name = "preamar_train.checkpoint.save"
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module(name).told
    del sys.modules[name]


def test_the_last_words_of_a_rank_come_back_as_they_were(checkpoint_words):
    manifest = Manifest(40, 320, 2, 1, 3, "uid-t", "c", "d", "2026-11-01T10:00:00Z", {})
    told = {
        "step": 41, "consumed": 328, "skipped": 1, "duplicated": 2, "resumedFrom": 20,
        "checkpoint": checkpoint_words(manifest, "pvc://ckpt/run/"),
        "seconds": {"startup": 1.0, "steps": 9.0, "saved": 8.0, "checkpoint": 2.0, "other": 0.5},
        "saveSeconds": 0.25,
        "resumed": Verified(20, 2, 12, 1e-8, 0.0).words(1.5),
    }  # fmt: skip
    said = TerminationMessage.of(message.encode(message.compose("Stopped", 0, told)).decode())
    at = datetime(2026, 11, 1, 10, tzinfo=UTC)
    uri = "pvc://ckpt/run/step-00000040"
    saved = Saved(40, uri, at, manifest.bytes, manifest.hash, 2)
    assert said == TerminationMessage(
        "Stopped", 0, 41, 328, saved,
        seconds=Spent(1.0, 9.0, 8.0, 2.0, 0.5), save_seconds=0.25, resumed_from=20,
        skipped=1, duplicated=2, resumed=Resumed(20, 2, 12, 1e-8, 1.5),
    )  # fmt: skip


def test_an_explanation_of_any_length_is_cut_and_the_words_stay_words():
    words = message.compose("Failed", 0, {}, kind="Unknown", explanation="ä\n" * 5000)
    data = message.encode(words)
    assert len(data) <= message.LIMIT
    assert TerminationMessage.of(data.decode()).failure == "Unknown"


def test_the_converter_reads_where_the_checkpoint_is():
    job = a_job("t", checkpoint={"uri": "pvc://ckpt/run"})
    made = conversion._pod(job, SETTINGS, 6, Saved(40, bytes=10, world_size=2))
    env = env_of(made["containers"][0])
    read = request.volume(env["PREAMAR_TRAIN"])
    assert (read.uid, read.attempt, read.checkpoint.uri) == ("uid-t", 6, "pvc://ckpt/run")
    assert read.checkpoint.path == "/mnt/checkpoint/run"
    assert env["PREAMAR_AGENT_PORT"] == str(ports.AGENT)
