"""Real DeepSpeed on two ranks in the image: what is learned, resumed, and told.

Holds: preamar_train/rank.py, preamar_train/run.py, preamar_train/steps.py, preamar_train/stop.py,
preamar_train/trainer.py, preamar_train/checkpoint/save.py, preamar_train/export/llama.py,
preamar_train/export/publish.py, preamar_train/export/verify.py,
preamar_train/models/init_weights.py, preamar_train/models/loss.py, preamar_train/models/model.py,
preamar_train/ranks/gang.py, preamar_train/ranks/weights.py, preamar_train/start/evaluate.py,
preamar_train/start/prepare.py, preamar_train/start/resuming.py
"""

import json
import os
import signal

import numpy as np
import pytest
from preamar_train.checkpoint import manifest as manifests
from preamar_train.models.presets import shape_of
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from tests.workloads.deepspeed.export.test_graph import llama
from tests.workloads.deepspeed.image.conftest import TINY, losses, weights


def test_an_unbroken_run_beats_the_unigram_model_and_says_so(unbroken):
    job, message, log = unbroken
    assert message["outcome"] == "Done"
    assert (message["step"], message["consumed"]) == (24, 24 * 16)
    judged = message["evaluation"]
    assert float(judged["loss"]) < float(judged["unigram"])
    assert message["exported"] == "pvc://models/gpt"
    assert message["checkpoint"]["uri"] == "pvc://ckpt/run1/step-00000024"
    folder = job.folder / "checkpoint/run1/step-00000024"
    assert manifests.verify(folder).hash == message["checkpoint"]["manifestHash"]
    assert sorted(losses(log)) == list(range(1, 25))


def test_every_sample_is_taken_once_by_one_rank(unbroken):
    job, _, _ = unbroken
    numbers = [number for seen in job.samples().values() for number, _ in seen]
    assert sorted(numbers) == list(range(24 * 16))


def test_ranks_with_different_data_end_with_equal_weights(unbroken):
    job, _, log = unbroken
    first, second = (
        {
            sample
            for line in (job.folder / f"export/rank-{rank}.jsonl").read_text().splitlines()
            for sample in json.loads(line)["samples"]
        }
        for rank in (0, 1)
    )
    assert not first & second
    assert weights(log)


def test_the_export_computes_what_numpy_computes_from_its_weights(unbroken):
    import onnxruntime

    folder = unbroken[0].folder / "export/gpt"
    shape = shape_of("gpt-tiny", TINY)
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["hidden_size"] == shape.hidden
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = np.array(tokenizer.encode("This License applies to any program").ids)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    feed = {"input_ids": ids[None], "position_ids": np.arange(len(ids))[None]}
    feed["attention_mask"] = np.ones((1, len(ids)), np.int64)
    for number in range(shape.layers):
        for part in ("key", "value"):
            empty = np.zeros((1, shape.kv_heads, 0, shape.head_size), np.float32)
            feed[f"past_key_values.{number}.{part}"] = empty
    (logits,) = session.run(["logits"], feed)
    expected = llama(load_file(folder / "model.safetensors"), shape, ids)
    np.testing.assert_allclose(logits[0], expected, atol=2e-4)


def test_a_stopped_a_killed_and_a_torn_run_sees_what_the_unbroken_one_saw(job, unbroken):
    # Attempt 1: a stop is asked of one pod alone; both save the same step and leave.
    pods = job.start(attempt=1)
    pods[0].wait_for("step=5 ")
    pods[1].stop()
    logs = []
    ends = [pod.end() for pod in pods]
    logs.append(pods[0].text())
    assert [code for code, _ in ends] == [75, 75]
    steps = {message["step"] for _, message in ends}
    assert len(steps) == 1
    (step,) = steps
    assert 5 <= step < 24
    assert {message["outcome"] for _, message in ends} == {"Stopped"}
    assert ends[0][1]["checkpoint"]["step"] == step
    folder = job.folder / "checkpoint/run1" / f"step-{step:08d}"
    assert manifests.verify(folder).consumed == step * 16

    # Attempt 2: a rank is killed; its pod says so, its peer leaves soon.
    pods = job.start(attempt=2)
    pods[0].wait_for("checkpoint of step 16 verified")
    pods[0].wait_for("step=17 ")
    os.kill(pods[1].ranks()[0], signal.SIGKILL)
    # A peer that waited for the end of an exchange would be there for ten minutes.
    (code, message), (killed_code, killed) = (pod.end(60) for pod in pods)
    assert (code, killed_code) == (1, 1)
    assert (killed["class"], killed["rank"]) == ("Killed", 1)
    assert message["class"] == "PeerLost"
    logs.append(pods[0].text())

    # Attempt 3: the newest checkpoint is torn, so the one before it counts.
    torn = max((job.folder / "checkpoint/run1").glob("step-*"))
    victim = max(torn.glob("*optim_states.pt"))
    os.truncate(victim, victim.stat().st_size // 2)
    code, message, log = job.run(attempt=3)
    assert code == 0, log[-3000:]
    logs.append(log)
    assert f"checkpoint skipped: {torn.name}: {victim.name} has" in log

    reference, _, unbroken_log = unbroken
    assert job.samples() == reference.samples()
    curve = {number: loss for each in logs for number, loss in losses(each).items()}
    expected = losses(unbroken_log)
    assert curve.keys() == expected.keys()
    for number, loss in expected.items():
        assert curve[number] == pytest.approx(loss, rel=1e-6), number


def test_zero_3_in_one_pod_of_two_ranks_learns_the_same_and_exports(job, unbroken):
    _, expected_message, expected_log = unbroken
    code, message, log = job.run(
        pods=1,
        ranks=2,
        parallelism__zeroStage=3,
        export={"path": "/mnt/export/gpt", "uri": "pvc://models/gpt"},
    )
    assert code == 0, log[-3000:]
    expected = losses(expected_log)
    for number, loss in losses(log).items():
        assert loss == pytest.approx(expected[number], rel=1e-4)
    ours = load_file(job.folder / "export/gpt/model.safetensors")
    theirs = load_file(unbroken[0].folder / "export/gpt/model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, atol=2e-3)
    assert float(message["evaluation"]["loss"]) == pytest.approx(
        float(expected_message["evaluation"]["loss"]), rel=1e-3
    )


def test_bf16_trains_and_resumes(job):
    changes = {"precision": "BF16", "checkpoint__everySteps": 2}
    code, _, log = job.run(steps=2, **changes)
    assert code == 0, log[-3000:]
    code, message, log = job.run(steps=4, attempt=2, **changes)
    assert code == 0, log[-3000:]
    assert "from step 2 to 4" in log
    assert message["step"] == 4


def test_a_frozen_peer_is_given_up_within_the_bound(job):
    pods = job.start(env={"PREAMAR_PEER_SECONDS": "6"}, steps=2000)
    pods[0].wait_for("step=3 ")
    (rank,) = pods[1].ranks()
    os.kill(rank, signal.SIGSTOP)
    code, message = pods[0].end(60)  # ten minutes, were it not for its bound
    assert (code, message["class"]) == (1, "PeerLost")


def test_a_loss_that_is_no_number_ends_the_attempt_before_a_checkpoint_of_it(job):
    code, message, _ = job.run(
        pods=1,
        steps=20,
        checkpoint__everySteps=1,
        model__parameters={**TINY, "learningRate": 1e30, "warmupSteps": 0},
    )
    assert (code, message["class"]) == (1, "NonFiniteLoss")
    assert f"in step {message['step'] + 1}" in message["explanation"]
    assert (message["checkpoint"] or {"step": 0})["step"] <= message["step"]


def test_errors_of_the_user_are_named_and_a_foreign_checkpoint_is_not_continued(job):
    missing = [{"name": "books", "path": "/mnt/data/none", "weight": "1"}]
    code, message, _ = job.run(pods=1, data__sources=missing)
    assert (code, message["class"]) == (1, "DataError")
    assert "/mnt/data/none does not exist" in message["explanation"]

    code, _, log = job.run(pods=1, steps=1)
    assert code == 0, log[-3000:]
    code, message, _ = job.run(pods=1, steps=2, attempt=2, data__shuffleSeed=9)
    assert (code, message["class"]) == (1, "ConfigError")
    assert "new checkpoint path" in message["explanation"]
    with (job.folder / "data/licences/GPL-3.txt").open("a") as stream:
        stream.write("\n\nOne more paragraph.\n")
    code, message, _ = job.run(pods=1, steps=2, attempt=3)
    assert (code, message["class"]) == (1, "DataError")
    assert "text has changed" in message["explanation"]


def test_a_full_checkpoint_volume_is_said_in_words(job):
    import subprocess

    small = job.folder / "checkpoint"
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k,uid=1000,gid=1000", "tmpfs", str(small)],
        check=True,
    )
    try:
        code, message, _ = job.run(pods=1)
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert (code, message["class"]) == (1, "DiskFull")
    assert "checkpoint volume is full" in message["explanation"]
    assert message["failedStep"] == 8
