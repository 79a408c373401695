"""One pod of the prepare Job: all are workers of Dask, the first is its scheduler too and decides.

The Job is over when the first pod is; the others work as long as they find it. A pod that dies
takes only the pieces that it was at: Dask gives them to others, and what was written stays.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from preamar_train.agent import message, progress
from preamar_train.agent.lookup import address_of
from preamar_train.agent.settings import message_path
from preamar_train.agent.stopping import Stopping
from preamar_train.corpus.drive import drive, told
from preamar_train.corpus.order import parse
from preamar_train.failures import DONE, FAILED, Class, TrainerFailure, classify
from preamar_train.models.presets import shape_of
from preamar_train.reports import rank_state

PORT = 8786
USERS = 64  # exit code of a user's error: the Job does not try again
MEET_SECONDS = 600.0
SAY_SECONDS = 10.0
SETTINGS = {
    "distributed.scheduler.allowed-failures": 5,
    "distributed.worker.daemon": False,
    "distributed.comm.retry.count": 3,
    "distributed.admin.tick.limit": "60s",  # a piece of work may hold the interpreter for long
    "distributed.comm.timeouts.connect": "60s",
    "distributed.comm.timeouts.tcp": "300s",
    "distributed.scheduler.worker-ttl": "15 minutes",
}


def run_prepare() -> int:
    """The exit code: 0 prepared, 64 where the user must act, else 1."""
    # The kernel drops signals that PID 1 has no handler for. What was written stays, and the others
    # end with PID 1.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    try:
        index = int(os.environ.get("JOB_COMPLETION_INDEX", "0"))
        return _first() if index == 0 else _helper()
    except Exception as error:  # noqa: BLE001 - whatever ends a pod must be told
        failure = classify(error)
        print(f"failed: {failure.kind}: {failure.sentence}", file=sys.stderr, flush=True)
        words = {"class": failure.kind.value, "explanation": failure.sentence}
        message.write(message_path(os.environ), {"outcome": "Failed", **words})
        return USERS if failure.kind in {Class.DATA_ERROR, Class.CONFIG_ERROR} else FAILED


def _first() -> int:
    from dask import config
    from distributed import Client, LocalCluster

    begun = time.monotonic()
    order = parse(os.environ.get("PREAMAR_PREPARE", ""))
    say = teller()
    vocabulary = shape_of(order.preset, order.parameters).vocabulary
    config.set(SETTINGS)
    port = int(os.environ.get("PREAMAR_PREPARE_PORT", PORT))
    # Its own worker is a process, so that the scheduler answers while text is counted.
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=True,
            host="0.0.0.0",
            scheduler_port=port,
            dashboard_address=None,
            local_directory=_scratch(),
            memory_limit=0,
        ) as cluster,
        Client(cluster) as client,
    ):
        done = drive(order, vocabulary, everywhere(client, say))
    words = told(done, order, time.monotonic() - begun)
    print(json.dumps(words), flush=True)
    message.write(message_path(os.environ), words)
    return DONE


def _say_nothing(_words: str) -> None:
    """Nobody listens."""


def teller() -> Callable[[str], None]:
    """How far it is, for whoever asks the first pod as they would ask rank 0 of an attempt."""
    file = rank_state.of_rank(0)
    file.parent.mkdir(parents=True, exist_ok=True)
    port = int(os.environ.get("PREAMAR_AGENT_PORT", "0"))
    if port:
        # Without a digest no order to stop is accepted.
        progress.serve(file, port, Stopping("", lambda: None))
    last = ""

    def say(words: str) -> None:
        nonlocal last
        if words != last:
            last = words
            rank_state.write(file, {"attempt": 0, "state": words})

    say("starting")
    return say


def everywhere(
    client, say: Callable[[str], None] = _say_nothing
) -> Callable[[str, Callable[..., Any], Iterable[tuple[Any, ...]]], list]:
    from distributed import as_completed

    def each(phase: str, act: Callable[..., Any], jobs: Iterable[tuple[Any, ...]]) -> list[Any]:
        jobs = list(jobs)
        begun = said = time.monotonic()
        # Not pure: equal arguments do not mean equal files.
        futures = [client.submit(act, *job, pure=False, retries=1) for job in jobs]
        waiting = as_completed(futures)
        for number, future in enumerate(waiting, start=1):
            if future.status == "error":
                _raise(future.exception())
            say(f"{phase} {number * 10 // len(jobs) * 10} %")
            if time.monotonic() - said > SAY_SECONDS:
                said = time.monotonic()
                print(f"{phase}: {number} of {len(jobs)} pieces", flush=True)
        workers = len(client.scheduler_info()["workers"])
        spent = time.monotonic() - begun
        print(f"{phase}: {len(jobs)} pieces, {spent:.1f} s, {workers} workers", flush=True)
        return client.gather(futures)

    return each


def _raise(error: BaseException) -> None:
    from distributed import KilledWorker

    if isinstance(error, KilledWorker):
        raise TrainerFailure(
            Class.OUT_OF_MEMORY,
            "The same piece of work ended worker after worker, most likely for want of memory. Raise "
            "data.prepare.resources.limits.memory.",
        )
    raise error


def _helper() -> int:
    """Works for the first pod until that is gone for good."""
    name, port = os.environ["MASTER_ADDR"], int(os.environ.get("PREAMAR_PREPARE_PORT", PORT))
    environment = {
        **os.environ,
        **{
            f"DASK_{k.upper().replace('.', '__').replace('-', '_')}": str(v)
            for k, v in SETTINGS.items()
        },
    }
    missed = time.monotonic()
    while time.monotonic() - missed < MEET_SECONDS:
        address = address_of(name, MEET_SECONDS, _wait)
        command = [sys.executable, "-m", "distributed.cli.dask_worker", f"tcp://{address}:{port}"]
        command += ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "30"]
        command += ["--memory-limit", "0", "--local-directory", _scratch()]
        begun = time.monotonic()
        subprocess.run(command, env=environment, check=False, stdin=subprocess.DEVNULL)
        if time.monotonic() - begun > 60:  # it had work; the first pod may be on its way again
            missed = time.monotonic()
        time.sleep(2)
    raise TrainerFailure(
        Class.PEER_LOST, f"The first pod ({name}) was not there for {MEET_SECONDS:.0f} s."
    )


def _wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _scratch() -> str:
    folder = Path(os.environ.get("PREAMAR_SCRATCH", "/tmp/preamar"))
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
