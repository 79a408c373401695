"""Was a stop asked for? Signals as something that a selector can wait for."""

import contextlib
import select
import signal
import socket


class Signals:
    """SIGTERM and SIGINT ask for a stop, and so does `ask`; SIGCHLD only wakes whoever waits.
    `hurry`: a signal asked, so a kill will follow."""

    def __init__(self) -> None:
        self.stop = self.hurry = False
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)

    def listen(self) -> None:
        signal.set_wakeup_fd(self._theirs.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _ask(self, *_: object) -> None:
        self.stop = self.hurry = True

    def ask(self) -> None:
        """A stop by other means, from any thread."""
        self.stop = True
        with contextlib.suppress(BlockingIOError):
            self._theirs.send(b"\0")

    def fileno(self) -> int:
        return self._ours.fileno()

    def swallow(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._ours.recv(4096)

    def wait(self, seconds: float) -> bool:
        """Whether a stop was asked for, after that time or as soon as it is."""
        select.select([self], [], [], seconds)
        self.swallow()
        return self.stop
