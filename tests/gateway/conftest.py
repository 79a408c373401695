import asyncio
import contextlib
from dataclasses import replace

import aiohttp
import pytest
import sqlalchemy

from preamar.gateway.reporting import demand
from preamar.gateway.server import Gateway
from preamar.gateway.settings import Secrets, settings_of
from preamar.ledger.tables.schema import requests
from preamar.protocol.demand import encode_load
from tests.ledgers import an_empty_ledger, tmp_path, tmp_path_factory

__all__ = ["tmp_path", "tmp_path_factory"]
ADMIN = "an-admin-key-for-tests"


def pytest_configure(config):
    """The plugin that calls the admin API: a second of imports, which no other room needs."""
    config.pluginmanager.import_plugin("schemathesis.pytest.plugin")


def service(name, task="Generate", age=1, **spec):
    return {
        "metadata": {
            "namespace": "demo", "name": name, "uid": f"uid-{name}", "generation": 1,
            "creationTimestamp": f"2026-01-01T00:00:{age:02d}Z",
        },
        "spec": {"model": {"name": name, "task": task}, **spec},
    }  # fmt: skip


def endpoints(name, *ports, ready=True, terminating=False):
    """One EndpointSlice per port, all on loopback."""
    return [
        {
            "metadata": {
                "namespace": "demo", "name": f"{name}-{port}",
                "labels": {"preamar.dev/inferenceservice": name},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": port}],
            "endpoints": [{
                "addresses": ["127.0.0.1"],
                "conditions": {"ready": ready, "serving": ready or terminating,
                               "terminating": terminating},
                "targetRef": {"name": f"pod-{port}", "uid": f"uid-{port}"},
            }],
        }
        for port in ports
    ]  # fmt: skip


def load(line):
    """What a report says of a model, as JSON."""
    return encode_load(demand.load(line))


async def until(true, seconds=30):
    """Wait for something to become true, however busy the machine is."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - anything may change it
            await asyncio.sleep(0.01)


class Rig:
    def __init__(self, gateway, tmp_path):
        self.gateway = gateway
        self.path = tmp_path
        self.services = []
        self.slices = []
        self.key, _ = gateway.keyring.create("acme", 1)

    def know(self, services=None, slices=None):
        if services is not None:
            self.services = services
        if slices is not None:
            self.slices = slices
        self.gateway.watcher.snapshot.replace("services", self.services)
        self.gateway.watcher.snapshot.replace("slices", self.slices)
        self.gateway._follow()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.gateway.data.number}"

    @property
    def admin_url(self):
        return f"http://127.0.0.1:{self.gateway.admin.number}"

    @property
    def auth(self):
        return {"Authorization": f"Bearer {self.key}"}

    def other(self, tenant):
        """What a caller of another tenant sends along."""
        key, _ = self.gateway.keyring.create(tenant, 1)
        return {"Authorization": f"Bearer {key}"}

    def held_for(self, name, seconds):
        """Keep requests for that long, which may be shorter than a resource can say."""
        line = self.line(name)
        line.model = replace(line.model, hold_seconds=seconds)

    def rows(self):
        self.gateway.home.writer.flush()
        with self.gateway.engine.connect() as connection:
            return list(connection.execute(sqlalchemy.select(requests)))

    def line(self, name):
        return self.gateway.registry.queues[name]


@contextlib.asynccontextmanager
async def running_gateway(tmp_path, kubeconfig=None, **flags):
    argv = ["--kubeconfig", str(kubeconfig)] if kubeconfig else ["--no-cluster"]
    argv += ["--host", "127.0.0.1", "--port", "0", "--admin-port", "0"]
    ledger = tmp_path / "ledger.sqlite"
    if not ledger.exists():
        an_empty_ledger(ledger)
    argv += ["--ledger", str(ledger), "--snapshot", str(tmp_path / "s.json")]
    flags = {"grace_seconds": 2, "keep_alive_seconds": 0.2, "grpc_port": 0} | flags
    for name, value in flags.items():
        argv += [f"--{name.replace('_', '-')}", str(value)]
    settings = settings_of(argv, {})
    gateway = Gateway(settings, Secrets(ADMIN.encode(), b"internal" * 4, b"pepper" * 4))
    async with gateway.running():
        yield Rig(gateway, tmp_path)


@pytest.fixture
async def rig(tmp_path):
    async with running_gateway(tmp_path) as rig:
        yield rig


@pytest.fixture
async def http():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield session
