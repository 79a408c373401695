"""Real DeepSpeed across sizes: the same state, the same samples, the same curve, or no step at all.

Holds: preamar_train/converter.py, preamar_train/checkpoint/convert.py,
preamar_train/checkpoint/proof.py, preamar_train/checkpoint/prove.py,
preamar_train/checkpoint/whole.py, preamar_train/parallel/universal.py,
preamar_train/start/resuming.py
"""

import json
import shutil
from pathlib import Path

import pytest
from preamar_train.checkpoint import manifest as manifests
from preamar_train.checkpoint import proof as proofs

from tests.workloads.deepspeed.image.conftest import losses
from tests.workloads.deepspeed.image.pod import Pod
from tests.workloads.deepspeed.orders import order

RUN = "checkpoint/run1"


def convert(job, attempt: int):
    """Exit code and last words of a converter's pod."""
    words = order(attempt=attempt, checkpoint__everySteps=8)
    pod = Pod(
        job.root,
        job.env,
        job.folder,
        {"JOB_COMPLETION_INDEX": "c", "PREAMAR_TRAIN": json.dumps(words)},
        command="preamar-train convert",
    )
    try:
        return pod.end()
    finally:
        pod.kill()


def at(job, size: int, attempt: int, stop: int | None = None, copies: int = 0, **changes):
    """One attempt in one pod of so many ranks, with the micro batch of every size; stopped after a
    step if told to. The ranks hold as many copies of the model, unless told. Exit code, last words,
    log."""
    batch = {"global": 16, "micro": 4, "accumulation": 4 // (copies or size)}
    (pod,) = job.start(pods=1, ranks=size, attempt=attempt, batch=batch, **changes)
    if stop:
        pod.wait_for(f"step={stop} ")
        pod.stop()
    return (*pod.end(), pod.text())


KINDS = [(1, "FP32"), (2, "BF16"), (3, "FP32"), (3, "BF16"), (0, "BF16")]


@pytest.mark.parametrize(("stage", "precision"), KINDS)
def test_a_resized_run_goes_on_from_exactly_the_same_state(job, stage, precision):
    kind = {"parallelism__zeroStage": stage, "precision": precision, "steps": 9}
    code, before, log = at(job, 2, 1, stop=3, **kind)
    assert code == 75, log[-3000:]
    code, words = convert(job, 2)
    assert (code, words["outcome"], words["step"]) == (0, "Converted", before["step"])
    code, after, log = at(job, 1, 2, **kind)
    assert code == 0, log[-3000:]
    seen = after["resumed"]
    assert (seen["step"], seen["from"]) == (before["step"], 2)
    # Weights and both moments of each; without ZeRO 16-bit weights have masters beside them.
    assert seen["tensors"] == (4 if (stage, precision) == (0, "BF16") else 3) * 20
    assert abs(float(seen["lossDelta"])) <= proofs.TOLERANCE[precision]
    assert float(seen["pauseSeconds"]) > 0
    assert (after["consumed"], after["skipped"], after["duplicated"]) == (9 * 16, 0, 0)


@pytest.mark.parametrize("precision", ["FP32", "BF16"])
@pytest.mark.parametrize(
    ("way", "stage"), [("tensor", 0), ("tensor", 1), ("tensor", 2), ("pipeline", 1)]
)
def test_a_split_model_goes_on_from_the_same_state_in_more_and_in_fewer_copies(
    job, way, stage, precision
):
    kind = {f"parallelism__{way}": 2, "parallelism__zeroStage": stage, "precision": precision}
    kind |= {"steps": 12}
    assert at(job, 2, 1, stop=3, copies=1, **kind)[0] == 75
    for attempt, size, stop in ((2, 4, 7), (3, 2, None)):
        code, words = convert(job, attempt)
        assert (code, words["outcome"]) == (0, "Converted"), words
        code, after, log = at(job, size, attempt, stop, copies=size // 2, **kind)
        assert code == (75 if stop else 0), log[-3000:]
        seen = after["resumed"]
        assert seen["from"] == 6 - size
        assert seen["tensors"] >= 60
        assert abs(float(seen["lossDelta"])) <= proofs.TOLERANCE[precision]
    assert (after["consumed"], after["skipped"], after["duplicated"]) == (12 * 16, 0, 0)


def test_a_run_of_four_sizes_follows_the_curve_of_one(job, unbroken):
    logs = []
    for attempt, (size, stop) in enumerate(((2, 5), (1, 10), (2, 15), (4, None)), 1):
        if attempt > 1:
            assert convert(job, attempt)[0] == 0
        code, words, log = at(job, size, attempt, stop)
        assert code == (75 if stop else 0), log[-3000:]
        logs.append(log)
    assert (words["consumed"], words["skipped"], words["duplicated"]) == (24 * 16, 0, 0)
    assert job.samples() == unbroken[0].samples()
    curve = {step: loss for log in logs for step, loss in losses(log).items()}
    expected = losses(unbroken[2])
    assert curve.keys() == expected.keys()
    for step, loss in expected.items():
        assert curve[step] == pytest.approx(loss, rel=1e-3), step
    left = [each.name for each in (job.folder / RUN).glob("*.universal")]
    assert left == []  # it went with the first checkpoint after it


def test_without_zero_in_fp32_the_checkpoint_itself_loads_at_any_size(job):
    kind = {"parallelism__zeroStage": 0, "steps": 6}
    assert at(job, 2, 1, stop=3, **kind)[0] == 75
    code, after, log = at(job, 1, 2, **kind)
    assert code == 0, log[-3000:]
    assert after["resumed"]["from"] == 2


def stopped(job) -> Path:
    assert at(job, 2, 1, stop=3)[0] == 75
    return max((job.folder / RUN).glob("step-*"))


def test_another_size_waits_for_a_conversion_and_says_so(job):
    folder = stopped(job)
    code, words, _ = at(job, 1, 2)
    assert (code, words["class"]) == (1, "NotConverted")
    assert words["checkpoint"]["worldSize"] == 2
    assert folder.name in words["explanation"]


def test_a_damaged_conversion_is_found_before_the_first_step_and_the_old_size_goes_on(job):
    folder = stopped(job)
    assert convert(job, 2)[0] == 0
    victim = max(Path(f"{folder}.universal").rglob("fp32.pt"), key=lambda f: f.stat().st_size)
    with victim.open("r+b") as stream:
        stream.seek(victim.stat().st_size // 2)
        stream.write(b"\xff\xff\xff\xff")
    code, words, log = at(job, 1, 2)
    assert (code, words["class"]) == (1, "ContinuityBroken")
    assert "damaged" in words["explanation"]
    assert "step=" not in log
    code, words, log = at(job, 2, 3, steps=6)
    assert code == 0, log[-3000:]
    assert words["consumed"] == 6 * 16


def test_a_state_that_is_not_what_was_saved_is_known_by_its_tensors(job):
    """The files are whole by their manifests, and what is in them is of another training."""
    folder = stopped(job)
    assert convert(job, 2)[0] == 0
    made = Path(f"{folder}.universal")
    by_size: dict[int, list[Path]] = {}
    for file in sorted(made.rglob("fp32.pt")):
        by_size.setdefault(file.stat().st_size, []).append(file)
    first, second, *_ = next(files for files in by_size.values() if len(files) > 1)
    shutil.copy(second, first)
    words = json.loads((made / "manifest.json").read_text())
    files = manifests.sums(made, manifests.names_in(made))
    words["files"] = {n: {"bytes": f.bytes, "sha256": f.sha256} for n, f in files.items()}
    (made / "manifest.json").write_text(json.dumps(words))
    code, words, log = at(job, 1, 2)
    assert (code, words["class"]) == (1, "ContinuityBroken")
    assert "of 60 tensors are not what was saved" in words["explanation"]
    assert "step=" not in log


def test_a_converter_finds_what_it_cannot_trust_and_can_be_killed_at_any_time(job):
    folder = stopped(job)
    words = json.loads((folder / "proof.json").read_text())
    name = min(words["tensors"])
    words["tensors"][name]["exp_avg"] = "0" * 64
    (folder / "proof.json").write_text(json.dumps(words))
    manifest = json.loads((folder / "manifest.json").read_text())
    ((_, found),) = manifests.sums(folder, ["proof.json"]).items()
    manifest["files"]["proof.json"] = {"bytes": found.bytes, "sha256": found.sha256}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    code, told = convert(job, 2)
    assert (code, told["class"]) == (64, "NotConverted")
    assert name in told["explanation"]
    assert not Path(f"{folder}.universal").exists()
    assert not list((job.folder / RUN).glob(".converting-*"))
    (folder / "proof.json").unlink()
    code, told = convert(job, 3)  # nothing whole is left
    assert (code, told["class"]) == (1, "CheckpointError")
