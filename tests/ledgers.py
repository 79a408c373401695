"""Where do tests keep their ledgers, so that hundreds of them cost little?

In memory, where a sync costs nothing: that what was synced survives is for the tests that end
processes, and no test cuts the power. And as copies of one empty ledger, because to migrate it again
and again says nothing new: tests/ledger/test_migrations.py is about that.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import Engine

from preamar.ledger.store.sqlite import open_store

MEMORY = Path("/dev/shm")
ROOM_BYTES = 1 << 30


@contextmanager
def quick_folder() -> Iterator[Path]:
    """In memory where the machine has such a place with room; gone at the end."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM_BYTES
    folder = Path(tempfile.mkdtemp(prefix="preamar-", dir=MEMORY if roomy else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Folders:
    """What pytest's ``tmp_path_factory`` is to a test."""

    def __init__(self, inside: Path) -> None:
        self._inside = inside

    def mktemp(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._inside))


@pytest.fixture(scope="session")
def tmp_path_factory() -> Iterator[Folders]:
    with quick_folder() as folder:
        yield Folders(folder)


@pytest.fixture
def tmp_path(tmp_path_factory: Folders) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("test")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@cache
def _empty() -> bytes:
    with quick_folder() as folder:
        open_store(folder / "ledger.sqlite").dispose()
        return (folder / "ledger.sqlite").read_bytes()


def an_empty_ledger(path: Path) -> Path:
    """A file as ``open_store`` leaves it behind that had nothing there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_empty())
    return path


def a_ledger(path: Path) -> Engine:
    """An engine on an empty ledger."""
    return open_store(an_empty_ledger(path))
