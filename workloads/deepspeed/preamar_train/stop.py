"""Was this rank asked to stop?"""

import signal


class Stop:
    """Whether a stop was asked for. A signal sets it; the loop looks at it between steps."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the agent too

    def _ask(self, *_: object) -> None:
        self.asked = True
