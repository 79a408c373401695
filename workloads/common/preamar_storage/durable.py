"""Is it on the disk? What was written to a file, and which names a folder has."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Returns when the file, or the folder's entries, would outlast a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
