"""How long does a gateway that was told to stop serve on, so that everybody knows? In virtual time.

Holds: gateway/server.py, gateway/settings.py
"""

import asyncio
import contextlib
import gc
import os
import signal
from types import SimpleNamespace

import pytest

from preamar.gateway import server
from preamar.gateway.settings import settings_of


class Standing:
    """A gateway that has nothing to do."""

    def __init__(self, *_):
        self.health = SimpleNamespace(draining=False, active=0)
        self.stopped_at = None

    @contextlib.asynccontextmanager
    async def running(self):
        yield
        self.stopped_at = asyncio.get_running_loop().time()


@pytest.fixture
def gateway(monkeypatch):
    standing = Standing()
    monkeypatch.setattr(server, "Gateway", lambda *_: standing)
    for name in ("collect", "freeze", "set_threshold"):
        monkeypatch.setattr(gc, name, lambda *_: None)
    return standing


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("signals", "seconds"),
    [((signal.SIGTERM,), 40), ((signal.SIGTERM, signal.SIGTERM), 0), ((signal.SIGINT,), 0)],
    ids=["asked", "asked twice", "interrupted"],
)
async def test_it_serves_on_until_everybody_knows_or_it_is_told_again(gateway, signals, seconds):
    settings = settings_of(["--no-cluster", "--propagation-seconds", "40"], {})
    serving = asyncio.create_task(server.serve(settings, None))
    await asyncio.sleep(1)
    assert not gateway.health.draining
    began = asyncio.get_running_loop().time()
    for number in signals:
        os.kill(os.getpid(), number)
    await serving
    assert gateway.health.draining
    assert gateway.stopped_at - began == pytest.approx(seconds, abs=0.01)
