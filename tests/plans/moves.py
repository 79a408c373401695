"""How often does one pass go from file to file?

A move is that the next function which is entered lies in another file than the one entered before it.
Only files of the core, the protocol and the API count: the standard library and pydantic are passed over. The way
back from a call is no move of its own, as it is none for who reads: she comes back to where she was.
"""

import sys
from pathlib import Path

import preamar

HOME = Path(preamar.__file__).resolve().parent
ROOMS = tuple(f"{HOME / room}/" for room in ("core", "protocol", "api"))


class Walk:
    """Listens to calls. ``moves``: from which file to which."""

    def __init__(self, rooms=ROOMS):
        self._rooms, self._at = rooms, ""
        self.moves = []

    def _hear(self, frame, event, _):
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(self._rooms):
            return
        if self._at and file != self._at:
            self.moves.append((self._at, file))
        self._at = file

    def __enter__(self):
        self._before = sys.getprofile()
        sys.setprofile(self._hear)
        return self

    def __exit__(self, *_):
        sys.setprofile(self._before)


def moves(reconcile, arguments):
    """How many there are in one pass."""
    with Walk() as walk:
        reconcile(*arguments)
    return len(walk.moves)
