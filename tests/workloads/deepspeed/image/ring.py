"""Runs inside the image: trains jobs one after another, each on ranks that are forked.

Torch and DeepSpeed are imported once, which is most of what a short job costs. Standard input has
a JSON object a line: {"name", "ranks", "folder", "env", "kill"}; `kill` is a line of rank 0's log
after which all ranks are killed. Answers with a JSON list of exit codes a line.
"""

import json
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from pathlib import Path

import preamar_train.export.publish
import preamar_train.trainer  # noqa: F401
from preamar_train.rank import run_rank

LIMIT_SECONDS = 300
warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork.*")


def start(job: dict, rank: int, port: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        log = os.open(f"{job['folder']}/log-{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        ranks = str(job["ranks"])
        os.environ.update(
            {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": ranks, "LOCAL_SIZE": ranks},
            LOCAL_WORLD_SIZE=ranks,
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
            PREAMAR_STATE=f"{job['folder']}/state",
            PREAMAR_SCRATCH=f"{job['folder']}/scratch",
            PREAMAR_TRACE=job["folder"],
            **job["env"],
        )
        run_rank()
    except BaseException:  # noqa: BLE001 - a forked rank must never go on as its parent
        traceback.print_exc()
    finally:
        os._exit(99)


def run(job: dict) -> list[int]:
    log = Path(job["folder"], "log-0")
    before = log.stat().st_size if log.exists() else 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    left = {start(job, rank, port): rank for rank in range(job["ranks"])}
    codes, deadline = [0] * len(left), time.monotonic() + LIMIT_SECONDS
    while left:
        seen = log.read_text(errors="replace")[before:] if log.exists() else ""
        if (job["kill"] and job["kill"] in seen) or time.monotonic() > deadline:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        pid, status = os.waitpid(-1, 0 if job["kill"] is None else os.WNOHANG)
        if pid in left:
            codes[left.pop(pid)] = os.waitstatus_to_exitcode(status)
        elif job["kill"]:
            time.sleep(0.02)
    for left in Path("/dev/shm").iterdir():  # of killed ranks; a pod has memory of its own
        left.unlink()
    return codes


for line in sys.stdin:
    sys.stdout.write(json.dumps(run(json.loads(line))) + "\n")
    sys.stdout.flush()
