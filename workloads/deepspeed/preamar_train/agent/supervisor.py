"""Runs the ranks of one pod to their common end.

One thread, one selector: lines of the ranks, signals, and clocks. Every rank is reaped, and so
is whatever they leave behind, since the agent is PID 1. When one rank fails, the others get a
moment to fail by themselves, so that the cause can be told from its echoes; then they are killed.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field

from preamar_train.agent import memory, rank_reports
from preamar_train.agent.exits import Exit, ExitVerdict, is_failure, verdict, worst
from preamar_train.agent.settings import RANK_COMMAND, Settings, rank_environment
from preamar_train.agent.signals import Signals
from preamar_train.agent.stillness import Stillness

SETTLE_SECONDS = 3.0  # from the first failure to the kill of the others
TICK_SECONDS = 0.5
LINE_BYTES = 16 * 1024
TAIL_LINES = 40


@dataclass(slots=True)
class Rank:
    number: int
    process: subprocess.Popen
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    rest: bytes = b""
    code: int | None = None
    killed_by_us: bool = False


@dataclass(frozen=True, slots=True)
class GroupEnd:
    """All ranks are gone. `failure` is the cause if any failed; `cut` if the grace ran out."""

    codes: tuple[int, ...]
    failure: ExitVerdict | None
    cut: bool


class Supervisor:
    def __init__(self, config: Settings, signals: Signals) -> None:
        self._config, self._signals = config, signals
        self._selector = selectors.DefaultSelector()
        self._selector.register(signals, selectors.EVENT_READ)
        self._ranks: list[Rank] = []
        self._memory = memory.count()
        self._verdicts: list[ExitVerdict] = []
        self._failed_at: float | None = None
        self._told = False
        self._hurried_at: float | None = None
        self._cut = False
        self._stillness = Stillness(config)

    def run(self, address: str) -> GroupEnd:
        try:
            for local in range(self._config.ranks):
                self._start(local, address)
            while any(rank.code is None for rank in self._ranks):
                self._turn()
            self._drain()
        finally:
            self._kill_all()
        codes = tuple(rank.code if rank.code is not None else -9 for rank in self._ranks)
        return GroupEnd(codes, worst(self._verdicts) if self._verdicts else None, self._cut)

    def _start(self, local: int, address: str) -> None:
        process = subprocess.Popen(
            self._config.command,
            env=rank_environment(self._config, local, address),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        rank = Rank(self._config.first_rank + local, process)
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, rank)
        self._ranks.append(rank)

    def _turn(self) -> None:
        for key, _ in self._selector.select(TICK_SECONDS):
            if key.data is None:
                self._signals.swallow()
            elif not self._read(key.data):
                self._selector.unregister(key.fileobj)
        self._reap()
        now = time.monotonic()
        if self._signals.stop and not self._told:
            self._told = True
            self._pass_stop_on()
        if self._signals.hurry and self._hurried_at is None:
            self._hurried_at = now
        if self._hurried_at is not None and now - self._hurried_at > self._config.grace_seconds:
            self._cut = True
            self._kill_all()
        if self._failed_at is None:
            still = {rank.number: rank.process.pid for rank in self._ranks if rank.code is None}
            hung = self._stillness.judge(still, now)
            if hung is not None:
                self._fail(hung, now - SETTLE_SECONDS)
                self._kill_all()
        if self._failed_at is not None and now - self._failed_at > SETTLE_SECONDS:
            self._kill_all()

    def _pass_stop_on(self) -> None:
        print("stopping at the next step, with a checkpoint", flush=True)
        words = [rank_reports.of_rank(rank.number) for rank in self._ranks]
        # A program of the user's own may train and say nothing.
        silent = "Starting" if self._config.command == RANK_COMMAND else "Training"
        if all(each.get("state", silent) == "Starting" for each in words):
            # Nothing was trained, so nothing can be lost; waiting for peers would only cost time.
            self._kill_all()
            return
        for rank in self._ranks:
            if rank.code is None:
                os.kill(rank.process.pid, signal.SIGTERM)

    def _read(self, rank: Rank) -> bool:
        """Passes on what a rank printed; False at its end."""
        try:
            data = os.read(rank.process.stdout.fileno(), 65536)
        except BlockingIOError:
            return True
        *lines, rank.rest = (rank.rest + data).split(b"\n")
        if rank.rest and (not data or len(rank.rest) > LINE_BYTES):
            lines.append(rank.rest)
            rank.rest = b""
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            rank.tail.append(text[:1000])
            print(f"[rank {rank.number}] {text}", flush=True)
        return bool(data)

    def _reap(self) -> None:
        by_pid = {rank.process.pid: rank for rank in self._ranks if rank.code is None}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in by_pid:  # others are orphans that PID 1 inherits
                rank = by_pid[pid]
                rank.code = rank.process.returncode = os.waitstatus_to_exitcode(status)
                self._ended(rank)

    def _ended(self, rank: Rank) -> None:
        while self._readable(rank) and self._read(rank):
            pass
        if rank.killed_by_us or not is_failure(rank.code):
            return
        oom = memory.grew(self._memory, memory.count())
        words = rank_reports.of_rank(rank.number)
        found = verdict(Exit(rank.number, rank.code), words, tuple(rank.tail), oom=oom)
        self._fail(found, time.monotonic())

    def _fail(self, found: ExitVerdict, now: float) -> None:
        print(f"rank {found.rank} failed: {found.kind}: {found.explanation}", flush=True)
        self._verdicts.append(found)
        self._failed_at = self._failed_at or now

    @staticmethod
    def _readable(rank: Rank) -> bool:
        with selectors.DefaultSelector() as one:
            one.register(rank.process.stdout, selectors.EVENT_READ)
            return bool(one.select(0))

    def _drain(self) -> None:
        for rank in self._ranks:
            while self._readable(rank) and self._read(rank):
                pass

    def _kill_all(self) -> None:
        for rank in self._ranks:
            if rank.code is None:
                self._kill(rank)

    @staticmethod
    def _kill(rank: Rank) -> None:
        rank.killed_by_us = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(
                rank.process.pid, signal.SIGKILL
            )  # a rank leads a session: its helpers go too
