"""How does a worker serve its part? It loads its stage, listens, and lives as long as its leader holds it.

`preamar-model work`. The leader's hold is one connection, each instance of its model has one more for
tensors. When the hold ends the worker ends too, and begins anew with the group. A model of the owner's own
code is a program, `worker.py` beside its configuration, which runs while the leader holds the worker.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from preamar_model.group import channel, health, words
from preamar_model.group.leading import AGAIN, BEAT_SECONDS, SILENT_SECONDS
from preamar_model.group.stages import PLAN, StagePlan
from preamar_model.refusal import last_words, sentence

CONNECTIONS = 64
"""At once. Strangers hold a place for the seconds that a proof may take."""
KILL_SECONDS = 10.0
OWN = "worker.py"


def main() -> int:
    try:
        return Worker(
            words.worker(os.environ), Path(os.environ.get("PREAMAR_MODELS", "/models"))
        ).run()
    except (words.GroupUnreadable, OSError, ValueError) as error:
        last_words(sentence(f"The worker cannot start: {error}."))
        print(f"The worker cannot start: {error}", file=sys.stderr)
        return 1


class Worker:
    def __init__(self, group: words.GroupSpec, models: Path) -> None:
        self.group, self.models = group, models
        self.asked_to_stop = threading.Event()
        self.over = threading.Event()
        self.held = threading.Event()
        self.why = ""
        self.program: subprocess.Popen | None = None
        self.places = threading.BoundedSemaphore(CONNECTIONS)
        self._lock = threading.Lock()

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.asked_to_stop.set())
        health.serve("", self.group.health, lambda: self.held.is_set() and not self.leaving)
        found = next(self.models.glob(f"*/1/{PLAN}"), None)
        own = next(self.models.glob(f"*/{OWN}"), None)
        if found is None and own is None:
            raise ValueError(f"{self.models} holds neither a stage of a model nor a {OWN}")
        self.own = own
        self.plan = StagePlan.load(found.parent) if found else None
        if found:
            from preamar_model.backends.runtime import LocalGraph

            self.graph = LocalGraph(str(found.parent / "model.onnx"), 1)
        listener = socket.create_server(("", self.group.port), backlog=16)
        threading.Thread(target=self._listen, args=(listener,), daemon=True).start()
        deadline = time.monotonic() + self.group.seconds
        while not self.over.wait(0.1):
            if self.asked_to_stop.is_set() and not self.held.is_set():
                break
            if self.program is not None and (code := self.program.poll()) is not None:
                self.why = f"{OWN} ended with exit code {code}."
                break
            if not self.held.is_set() and time.monotonic() > deadline:
                self.why = f"No leader came within {self.group.seconds:.0f} s."
                break
        self._stop_program()
        if self.asked_to_stop.is_set():
            return 0
        text = sentence(self.why or "The leader is gone, so the group begins anew.")
        last_words(text)
        print(f"ended: {text}", file=sys.stderr, flush=True)
        return AGAIN

    @property
    def leaving(self) -> bool:
        return self.asked_to_stop.is_set() or self.over.is_set()

    def _listen(self, listener: socket.socket) -> None:
        while not self.over.is_set():
            taken, _ = listener.accept()
            if not self.places.acquire(blocking=False):
                taken.close()
                continue
            threading.Thread(target=self._serve, args=(taken,), daemon=True).start()

    def _serve(self, taken: socket.socket) -> None:
        try:
            connection = channel.accept(taken, self.group.secret)
            with connection:
                wish = channel.hear(connection, SILENT_SECONDS)
                if wish.get("plan") != (self.plan.digest if self.plan else ""):
                    channel.say(connection, error="its model is cut otherwise: another revision")
                elif wish.get("want") == "hold":
                    self._hold(connection, str(wish.get("leader") or ""))
                elif self.plan is not None:
                    channel.say(connection, ok=True)
                    self._compute(connection)
        except (channel.Stranger, channel.ChannelClosed, OSError) as error:
            print(f"group: a connection ended: {error}", file=sys.stderr, flush=True)
        finally:
            self.places.release()

    def _hold(self, connection: Connection, leader: str) -> None:
        with self._lock:
            taken, _ = self.held.is_set(), self.held.set()
        if taken:  # a leader that has begun anew before its end was heard of here
            self.over.set()
            return
        try:
            if self.own is not None:
                environment = os.environ | self.group.environment(leader)
                self.program = subprocess.Popen([sys.executable, str(self.own)], env=environment)
            channel.say(connection, ok=True)
            told = False
            while True:
                leaving = self.asked_to_stop.is_set() and not told
                told = told or leaving
                channel.say(connection, **({"leaving": True} if leaving else {"beat": True}))
                channel.hear(connection, SILENT_SECONDS)
                if told:  # until the leader has let its callers go
                    time.sleep(BEAT_SECONDS)
                else:
                    self.asked_to_stop.wait(BEAT_SECONDS)
        except (channel.ChannelClosed, channel.Stranger):
            pass
        finally:
            self.over.set()

    def _compute(self, connection: Connection) -> None:
        names = list(self.plan.stages[self.group.rank].outputs)
        while True:
            given = channel.take(connection, None)
            try:
                values = self.graph.run(given, names)
                made = {name: self.graph.array(value) for name, value in values.items()}
            except Exception as error:  # noqa: BLE001 - the caller hears it; the worker goes on
                channel.say(connection, error=f"stage {self.group.rank}: {error}"[:2000])
                continue
            channel.give(connection, made)

    def _stop_program(self) -> None:
        if self.program is None or self.program.poll() is not None:
            return
        self.program.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.program.wait(KILL_SECONDS)
            return
        self.program.kill()
