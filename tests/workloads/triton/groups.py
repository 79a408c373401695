"""A leader and its workers on loopback, as two pods run them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from running import Running, build_here, environment, free_ports, serve

SECRET = "0f3c7a52-1c11-4b0e-9f0a-5d1e7c9b1a11"


class Grouped:
    """A model split over two processes that share nothing but their sockets."""

    def __init__(self, order: dict, place: Path, seconds: int = 60) -> None:
        self.place, self.name = place, order["name"]
        self.seconds = seconds
        self.told(1, 1, 1)
        self.built = {}
        for side, more in (("leader", self.leads), ("worker", self.works)):
            done = build_here(order | {"stages": 2}, place / side, **more)
            assert done.code == 0, done.log
            self.built[side] = done
        # Not before: others take ports too while this is built.
        self.told(*free_ports(3))
        self.started: list[subprocess.Popen] = []

    def told(self, port: int, worker_health: int, leader_health: int) -> None:
        """What the two are told, in their environments."""
        self.port, self.worker_health, self.leader_health = port, worker_health, leader_health
        words = {"size": 2, "name": "m", "network": "m-group", "seconds": self.seconds}
        self.leads = {
            "PREAMAR_GROUP": json.dumps(words | {"peers": [f"127.0.0.1:{self.port}"]}),
            "PREAMAR_POD_UID": SECRET,
            "PREAMAR_POD_IP": "127.0.0.1",
            "PREAMAR_HEALTH_PORT": str(self.leader_health),
        }
        self.works = {
            "PREAMAR_GROUP": json.dumps(words | {"leader": SECRET}),
            "PREAMAR_POD_NAME": "m-group-12345678-0",
            "PREAMAR_GROUP_PORT": str(self.port),
            "PREAMAR_HEALTH_PORT": str(self.worker_health),
        }

    def work(self, **more: str) -> subprocess.Popen:
        told = {"PREAMAR_MODELS": self.place / "worker", "PREAMAR_TERMINATION_LOG": self.ended}
        worker = subprocess.Popen(
            [sys.executable, "-m", "preamar_model", "work"],
            env=environment(**(self.works | told | more)),
            stderr=(self.place / "worker.log").open("a"),
            process_group=0,
        )
        self.started.append(worker)
        return worker

    @property
    def ended(self) -> Path:
        return self.place / "worker-ended"

    def lead(self, **more: str) -> Running:
        running = serve(self.place / "leader", self.place, **(self.leads | more))
        self.started.append(running.process)
        return running

    def stop(self) -> None:
        """As a pod's end does: whoever died, what it had started ends too."""
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(what, seconds: float = 60.0) -> None:
    """Wait until it is so."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)
