"""What is a request called? In its answer, in its row, and in the logs of whoever it passes."""

import os
from time import time

_RANDOM = bytearray()
"""Asked of the kernel for many ids at once."""


def new_id() -> str:
    """Unique for ever, and sorted by time."""
    if not _RANDOM:
        _RANDOM.extend(os.urandom(2560))
    mine = _RANDOM[-10:].hex()
    del _RANDOM[-10:]
    return f"req-{time() * 1000:.0f}-{mine}"
