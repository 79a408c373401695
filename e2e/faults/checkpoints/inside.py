"""Runs inside the trainer's image: real ranks, forked from one process that has imported torch.

Reads a task a line from stdin and answers with a line of JSON. A task starts from a copy of a base
(checkpoints of steps 2 and 4), trains on and is killed at the n-th file operation; then it is
resumed, and what it comes to is compared with what a run without a fault came to.
"""

import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

HOME = Path(os.environ.get("FAULTS_HOME", "/mnt/checkpoint"))
WORK, BASE = HOME / "work", HOME / "base"
SHAPE = {"layers": 1, "hidden": 32, "heads": 2, "kvHeads": 1, "intermediate": 64, "sequence": 32}
SHAPE |= {"vocabulary": 512, "warmupSteps": 2, "learningRate": "0.01"}
STEPS, EVERY, KEEP = 8, 2, 2
LIMIT_SECONDS = 180
SIDES = {"before": 0, "torn": 2, "power": 0}


def order(attempt, ranks):
    return {
        "job": "demo/gpt",
        "uid": "u1",
        "attempt": attempt,
        "model": {"preset": "gpt-tiny", "parameters": SHAPE},
        "parallelism": {"tensor": 1, "pipeline": 1, "expert": 1, "zeroStage": 1, "offload": "None"},
        "batch": {"global": 4, "micro": 4 // ranks, "accumulation": 1},
        "data": {
            "sources": [{"name": "text", "path": str(HOME / "data"), "weight": "1"}],
            "shuffleSeed": 0,
        },
        "checkpoint": {"path": str(WORK), "uri": "pvc://c/r", "everySteps": EVERY, "keep": KEEP},
        "steps": STEPS,
        "precision": "FP32",
    }


def run(attempt, ranks, victim=None, at=-1, side=0):
    """One attempt; each rank's exit status, and what all of them printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for old in Path("/tmp/preamar").glob("rank-*"):  # the tokens may stay
        old.unlink()
    for old in Path("/dev/shm").iterdir():
        old.unlink()
    log, trace = HOME / "log", HOME / "trace"
    log.write_text("")
    trace.write_text("")
    pids = [_fork(r, ranks, attempt, port, log, trace, r == victim, at, side) for r in range(ranks)]
    ends, deadline = {}, time.monotonic() + LIMIT_SECONDS
    while len(ends) < len(pids):
        for pid in [p for p in pids if p not in ends]:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                ends[pid] = os.waitstatus_to_exitcode(status)
        over = time.monotonic() > deadline
        if over or (victim is not None and ends.get(pids[victim]) == -signal.SIGKILL):
            for pid in [p for p in pids if p not in ends]:  # the gang goes as one
                os.kill(pid, signal.SIGKILL)
                ends[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        time.sleep(0.01)
    return [ends[pid] for pid in pids], log.read_text(errors="replace"), trace.read_text()


def _fork(rank, ranks, attempt, port, log, trace, armed, at, side):
    pid = os.fork()
    if pid:
        return pid
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "LOCAL_SIZE": str(ranks),
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "PREAMAR_TRAIN": json.dumps(order(attempt, ranks)),
        "PREAMAR_GANG_SECONDS": "60",
    }
    out = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    ops = os.open(trace, os.O_WRONLY | os.O_APPEND)
    # All are traced, because one rank makes durable what another wrote; one is killed.
    last = ctypes.c_long(at if armed else -1)
    ctypes.CDLL(None).shim_arm(str(WORK).encode(), last, side, ops, rank)
    from preamar_train.rank import run_rank

    run_rank()
    os._exit(99)


def copied(source, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def operations(trace):
    """Rank, number, name, path and new path of each, in order."""
    words = [line.split("\t") for line in trace.splitlines()]
    return [(int(rank), int(number), *rest) for rank, number, *rest in words]


def undurable(trace, victim, at):
    """What was written, by any rank, and not made durable before the victim's n-th operation. What
    its peers write after that, before they are ended, is not durable either."""
    dirty, down = set(), False
    for rank, number, name, path, to in operations(trace):
        down = down or (rank == victim and number >= at)
        if down and rank == victim:
            continue
        if name in {"create", "write", "truncate"}:
            dirty.add(path)
        elif name == "fsync" and not down:
            dirty.discard(path)
        elif name == "rename":
            dirty = {to + p[len(path) :] if p.startswith(path) else p for p in dirty}
    return dirty


def lose_power(trace, victim, at):
    """The machine goes down: half of each file that was not made durable is lost."""
    for path in map(Path, undurable(trace, victim, at)):
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)


def points(traces):
    """[rank, operation, side]: before each operation, in the midst of each write, and with a loss of
    power wherever something would be lost. After an operation is before the next."""
    found = []
    for rank, trace in enumerate(traces):
        for who, number, name, *_ in operations(trace):
            if who != rank:
                continue
            sides = ["before", *(["torn"] if name == "write" else [])]
            sides += ["power"] if undurable(trace, rank, number) else []
            found += [[rank, number, name, side] for side in sides]
    return found


def whole(folder):
    """Whether each file of a checkpoint is as its manifest says; nothing of the trainer's is used."""
    try:
        files = json.loads((folder / "manifest.json").read_bytes())["files"]
        return all(
            hashlib.sha256((folder / name).read_bytes()).hexdigest() == told["sha256"]
            for name, told in files.items()
        )
    except (OSError, ValueError, KeyError):
        return False


def whole_steps():
    return sorted(int(f.name[5:]) for f in WORK.glob("step-*") if whole(f))


def outcome(codes, log):
    digest = re.search(r"hold equal weights: (\w+)", log)
    start = re.search(r"from step (\d+) to", log)
    return {
        "codes": codes,
        "digest": digest and digest[1],
        "from": start and int(start[1]),
        "whole": whole_steps(),
        "left": sorted(p.name for p in WORK.iterdir() if p.name.startswith((".saving", ".torn"))),
        "latest": (WORK / "latest").read_text() if (WORK / "latest").exists() else None,
    }


def begin(ranks):
    """The reference, the base, and the operations of an attempt that goes on from the base."""
    shutil.rmtree(WORK, ignore_errors=True)
    codes, log, trace = run(1, ranks, victim=0)
    reference = outcome(codes, log)
    assert codes == [0] * ranks, log[-3000:]
    third = next(
        number
        for rank, number, _, path, _ in operations(trace)
        if rank == 0 and ".saving-step-00000006" in path
    )
    shutil.rmtree(WORK)
    run(1, ranks, victim=0, at=third)
    copied(WORK, BASE)
    traces = []
    for victim in range(ranks):
        copied(BASE, WORK)
        codes, log, trace = run(2, ranks, victim=victim)
        assert outcome(codes, log)["digest"] == reference["digest"], log[-3000:]
        traces.append(trace)
    saves = [float(each) for each in re.findall(r" bytes in ([\d.]+) s", log)]
    return {
        "reference": reference,
        "points": points(traces),
        "saveSeconds": saves,
    }


def point(ranks, victim, at, side):
    begun = time.monotonic()
    copied(BASE, WORK)
    codes, _, trace = run(2, ranks, victim=victim, at=at, side=SIDES[side])
    reached = codes[victim] == -signal.SIGKILL
    if side == "power":
        lose_power(trace, victim, at)
    before = whole_steps()
    codes, log, _ = run(3, ranks)
    found = outcome(codes, log)
    return found | {
        "reached": reached,
        "wholeBefore": before,
        "seconds": round(time.monotonic() - begun, 2),
        "log": "" if codes == [0] * ranks else log[-1500:],
    }


def main():
    import deepspeed  # noqa: F401 - forks share it
    import preamar_train.trainer  # noqa: F401
    import torch  # noqa: F401

    for line in sys.stdin:
        task = json.loads(line)
        answer = begin(task["ranks"]) if task["do"] == "begin" else point(**task["point"])
        print("=" + json.dumps(answer), flush=True)


main()
