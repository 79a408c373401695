"""Who carries answers to the callers? A thread of its own, because each piece and each look whether a
caller is still there is a message to the server and back, which the next call of the graph need
not wait for. Pieces of a stream keep their order; beyond MOST of them the graph waits.
"""

import queue
import threading

import triton_python_backend_utils as utils

MOST = 256
FINAL = utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class Post:
    def __init__(self) -> None:
        self.gone: set[object] = set()
        """Senders whose callers have left."""
        self._waiting: queue.Queue = queue.Queue(MOST)
        self._thread = threading.Thread(target=self._carry, name="post", daemon=True)
        self._thread.start()

    def send(self, sender: object, response: object | None) -> None:
        """A piece, or only a look whether the caller is there."""
        self._waiting.put((sender, response, False))

    def end(self, sender: object, last: object | None = None) -> None:
        self._waiting.put((sender, last, True))

    def close(self) -> None:
        """Carries what was given before, ten seconds at most."""
        self._waiting.put(None)
        self._thread.join(timeout=10)

    def _carry(self) -> None:
        while each := self._waiting.get():
            sender, response, last = each
            try:
                self._one(sender, response, last)
            except Exception as error:  # noqa: BLE001 - a caller who is gone must not end the post
                utils.Logger.log_warn(f"an answer could not be sent: {error}")
                if not last:
                    self.gone.add(sender)
            if last:
                self.gone.discard(sender)

    def _one(self, sender: object, response: object | None, last: bool) -> None:
        if last:
            sender.send(flags=FINAL) if response is None else sender.send(response, flags=FINAL)
        elif sender.is_cancelled():
            self.gone.add(sender)
        elif response is not None:
            sender.send(response)
