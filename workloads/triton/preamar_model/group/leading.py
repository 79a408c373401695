"""Is the whole group here, and does all of it stay? The leader's side.

It calls each worker by its name until all have answered or the deadline passes, and then hears from
each every second. A worker that says that it leaves still answers: the leader lets callers go first. One
that is gone without a word ends the group at once, since half a model answers nobody.
"""

import sys
import threading
import time
import urllib.error
import urllib.request
from multiprocessing.connection import Connection

from preamar_model.group import channel, health
from preamar_model.group.words import GroupSpec

BEAT_SECONDS, SILENT_SECONDS = 1.0, 6.0
AGAIN_SECONDS = 0.5
TOLD_SECONDS = 5.0
"""Until every gateway has heard that this replica takes nothing new."""
AGAIN = 75
"""The exit code of a member that only begins anew with its group."""


class Leading:
    def __init__(self, group: GroupSpec, plan: str) -> None:
        self.group, self.plan = group, plan
        self.broken = threading.Event()
        self.leaving = threading.Event()
        self.stopping = threading.Event()
        self.unready = threading.Event()
        """Kubernetes has asked the leader to go."""
        self.whole = False
        self.why = ""
        self._lock = threading.Lock()
        self._held: dict[int, Connection] = {}

    def form(self) -> bool:
        """Wait for all workers; False when the deadline has passed or the group was broken."""
        deadline = time.monotonic() + self.group.seconds
        threads = [
            threading.Thread(target=self._hold, args=(rank, peer, deadline), daemon=True)
            for rank, peer in enumerate(self.group.peers, start=1)
        ]
        for thread in threads:
            thread.start()
        while not (self.broken.is_set() or self.unready.is_set()):
            with self._lock:
                self.whole = len(self._held) == len(self.group.peers)
            if self.whole:
                return True
            self.broken.wait(0.05)
        return False

    def health(self, ready_url: str) -> None:
        """Answer the kubelet: ready while the group is whole, stays, and Triton says so."""

        def ready() -> bool:
            calm = not (self.leaving.is_set() or self.broken.is_set() or self.unready.is_set())
            return self.whole and calm and _says_yes(ready_url)

        health.serve("", self.group.health, ready)

    def end(self) -> None:
        """Let the workers go: they begin anew when the connection closes."""
        self.stopping.set()
        self.unready.set()
        with self._lock:
            for connection in self._held.values():
                connection.close()

    def _hold(self, rank: int, peer: str, deadline: float) -> None:
        connection = self._reached(rank, peer, deadline)
        if connection is None:
            return
        with self._lock:
            self._held[rank] = connection
        print(f"group: worker {rank} of {self.group.size - 1} is here", file=sys.stderr, flush=True)
        try:
            while not self.stopping.is_set():
                if channel.hear(connection, SILENT_SECONDS).get("leaving"):
                    self._note(f"Worker {rank} leaves", self.leaving)
                channel.say(connection, beat=True)
        except (channel.ChannelClosed, channel.Stranger) as error:
            if not self.stopping.is_set():
                self._note(f"Worker {rank} is gone ({error})", self.broken)

    def _reached(self, rank: int, peer: str, deadline: float) -> Connection | None:
        last = "nothing was tried"
        while time.monotonic() < deadline and not self.stopping.is_set():
            try:
                host, _, port = peer.rpartition(":")
                connection = channel.connect(host, int(port), self.group.secret)
                channel.say(connection, want="hold", plan=self.plan, leader=self.group.address)
                answer = channel.hear(connection, SILENT_SECONDS)
                if "error" not in answer:
                    return connection
                connection.close()
                last = str(answer["error"])
            except (OSError, channel.Stranger, channel.ChannelClosed) as error:
                last = str(error) or type(error).__name__
            time.sleep(AGAIN_SECONDS)
        seconds = f"{self.group.seconds:.0f} s"
        self._note(f"Worker {rank} ({peer}) did not come within {seconds}: {last}", self.broken)
        return None

    def _note(self, why: str, what: threading.Event) -> None:
        with self._lock:
            self.why = self.why or f"{why}, so the group begins anew."
        what.set()


def _says_yes(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False
