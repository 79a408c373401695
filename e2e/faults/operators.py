"""Operators to kill: real processes of the real entry point, forked from one that has loaded all.

Loading Python's modules takes seconds; crashing forty operators would take minutes of that alone.
A seeded bug, where one is asked for, is planted in the child before it starts.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import select
import sys
import threading
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

from e2e.faults import bugs

FORKS = multiprocessing.get_context("forkserver")


@dataclass(frozen=True, slots=True)
class Setup:
    """All that an operator is told."""

    kubeconfig: str
    namespace: str
    secrets: str
    log: str
    probe_port: int
    demand_port: int
    agent_port: int
    bug: str = ""
    sweep: int = field(default_factory=os.getpid)


@dataclass(slots=True)
class Operator:
    """One operator that may die and be started anew, under one name as in a restarted container."""

    setup: Setup
    starts: int = 0
    _process: BaseProcess | None = field(default=None)

    def start(self) -> None:
        """Begin; the last one has ended."""
        self.starts += 1
        self._process = FORKS.Process(target=_run, args=(self.setup,), daemon=True)
        self._process.start()

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nothing is given back."""
        if self._process is not None:
            self._process.kill()

    def join(self) -> None:
        """Wait until it has ended."""
        if self._process is not None:
            self._process.join(30)

    def stop(self) -> None:
        """End it for good."""
        if self._process is not None:
            self._process.kill()
            self._process.join(10)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.is_alive()


def preload() -> None:
    """Load the modules once, before the first fork."""
    FORKS.set_forkserver_preload(["preamar.shell.startup", "e2e.faults.bugs"])


def _run(setup: Setup) -> None:
    """In the child."""
    from preamar.shell.options import Options
    from preamar.shell.startup import run

    threading.Thread(target=_end_with, args=(setup.sweep,), daemon=True).start()
    out = os.open(setup.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(out, 1)
    os.dup2(out, 2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("kopf").setLevel(logging.WARNING)
    if setup.bug:
        bugs.plant(setup.bug)
    options = Options(
        kubeconfig=setup.kubeconfig,
        namespaces=(setup.namespace,),
        lease_namespace=setup.namespace,
        identity="preamar-operator-0",
        secrets=Path(setup.secrets),
        host="127.0.0.1",
        probe_port=setup.probe_port,
        demand_port=setup.demand_port,
        agent_port=setup.agent_port,
        workers=4,
    )
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(run(options)))


def _end_with(sweep: int) -> None:
    """An operator waits for its API server for ever; one of a sweep that was killed must not."""
    with contextlib.suppress(ProcessLookupError):
        select.select([os.pidfd_open(sweep)], [], [])
    os._exit(1)
