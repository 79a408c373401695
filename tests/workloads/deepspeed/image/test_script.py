"""A user's own script in the image: with the library it loses nothing, without it it runs.

Holds: preamar_train/script.py, preamar_train/user_script.py
"""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.workloads.deepspeed.image.conftest import losses

PYTHON = "/opt/venv/bin/python"
OWN = {"PREAMAR_RANK_COMMAND": json.dumps([PYTHON, "/mnt/data/own.py"])}
ORDER = {"steps": 8, "checkpoint__everySteps": 3, "deepspeedConfig": {"gradient_clipping": 0.5}}
SPLIT = {"global": 16, "micro": 4, "accumulation": 2}


@pytest.fixture
def own(job):
    shutil.copy(Path(__file__).parent / "own.py", job.folder / "data/own.py")
    return job


@pytest.mark.parametrize("samples", [None, 100], ids=["the job's text", "samples of its own"])
def test_a_killed_script_goes_on_and_loses_no_sample(own, samples, tmp_path):
    env = OWN | ({"OWN_SAMPLES": str(samples)} if samples else {})
    # The next save is far enough away for the kill to come before it.
    order = ORDER | {"steps": 40, "checkpoint__everySteps": 25}
    pods = own.start(env=env, batch=SPLIT, **order)
    pods[0].wait_for("step=26 ")
    for pod in pods:
        for rank in pod.ranks():
            os.kill(rank, signal.SIGKILL)
    codes = [pod.end()[0] for pod in pods]
    assert codes == [1, 1]
    first = losses(pods[0].text())

    code, message, log = own.run(env=env, batch=SPLIT, attempt=2, **order)
    assert code == 0, log[-3000:]
    assert "from step 25 to 40" in log
    assert "all is trained" in log
    assert (message["outcome"], message["step"], message["consumed"]) == ("Done", 40, 40 * 16)
    found = losses(log)
    assert sorted(found) == list(range(26, 41))
    assert found[26] == pytest.approx(first[26], rel=1e-6)
    assert found[40] < first[1]

    seen = [number for step in taken(own, turns=2).values() for number in step]
    assert sorted(seen) == list(range(40 * 16))


def taken(job, turns: int) -> dict[int, list[int]]:
    """The numbers of the samples that were last seen in each step, over all ranks."""
    found: dict[int, list[int]] = {}
    for file in (job.folder / "export").glob("rank-*.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for step in {words["step"] for words in lines}:
            of_step = [words["samples"] for words in lines if words["step"] == step]
            found.setdefault(step, []).extend(n for part in of_step[-turns:] for n in part)
    return found


def test_a_stop_leaves_the_script_with_a_checkpoint(own):
    pods = own.start(env=OWN, batch=SPLIT, **{**ORDER, "steps": 2000})
    pods[0].wait_for("step=4 ")
    pods[1].stop()
    ends = [pod.end() for pod in pods]
    assert [code for code, _ in ends] == [75, 75]
    assert ends[0][1]["outcome"] == "Stopped"
    assert ends[0][1]["checkpoint"]["step"] == ends[0][1]["step"]
    assert "all is trained" not in pods[0].text()


def test_a_script_that_forgets_to_tell_a_step_is_told_so(own):
    script = own.folder / "data/own.py"
    script.write_text(script.read_text().replace("        job.step(loss)\n", ""))
    code, message, _ = own.run(env=OWN, batch=SPLIT, **ORDER)
    assert (code, message["class"]) == (1, "ConfigError")
    assert "call it once for each" in message["explanation"]


def test_a_plain_deepspeed_script_finds_its_peers(job):
    (job.folder / "data/plain.py").write_text("""
import os
import deepspeed, torch
deepspeed.init_distributed("gloo", auto_mpi_discovery=False)
model = torch.nn.Linear(4, 1)
config = {"train_batch_size": 4, "optimizer": {"type": "AdamW", "params": {"torch_adam": True}}}
engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config)
for _ in range(3):
    engine.backward(engine(torch.ones(1, 4) * engine.global_rank).mean())
    engine.step()
print("trained on", engine.dp_world_size, "ranks as", os.environ["LOCAL_RANK"], flush=True)
""")
    command = {"PREAMAR_RANK_COMMAND": json.dumps([PYTHON, "/mnt/data/plain.py"])}
    code, message, log = job.run(pods=2, ranks=2, env=command)
    assert code == 0, log[-3000:]
    assert "trained on 4 ranks as 1" in log
    assert (message["outcome"], message["step"]) == ("Done", 0)


def test_a_script_that_ends_right_after_an_exchange_ends_well(job):
    """One in ten of these was aborted without `sitecustomize`."""
    (job.folder / "data/brief.py").write_text("""
import torch, torch.distributed
torch.distributed.init_process_group("gloo")
for _ in range(50):
    torch.distributed.all_reduce(torch.ones(2000))
""")
    command = {"PREAMAR_RANK_COMMAND": json.dumps([PYTHON, "/mnt/data/brief.py"])}
    for attempt in range(1, 6):
        code, _, log = job.run(pods=1, ranks=4, attempt=attempt, env=command)
        assert code == 0, log[-3000:]
