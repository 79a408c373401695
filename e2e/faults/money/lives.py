"""One life of a gateway: started, loaded, and ended by a kill, at a file operation or out of order."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp

from e2e.faults.money.callers import Seen, call
from preamar.gateway.auth.keyring import Keyring
from preamar.ledger.store.backend import OneFile

ROOT = Path(__file__).resolve().parents[3]
SHIM = ROOT / "e2e/faults/checkpoints/shim.c"
PEPPER, ADMIN = "a-pepper-for-faults-alone", "an-admin-key-for-faults-alone"
START_SECONDS = 20.0
NEAR_SECONDS = 2.0
PRICE = {
    "perMillionInputTokens": "0.10",
    "perMillionOutputTokens": "0.40",
    "perRequest": "0.001",
}
BUDGET = "1000000"


class Gateways:
    """Starts gateways of one home, each for one life."""

    def __init__(
        self,
        home: Path,
        *model_ports: int,
        url_file: Path | None = None,
        propagation: float = 0.0,
        bug: str = "",
        budget: str = BUDGET,
        **spec: Any,
    ) -> None:
        self.home = home
        self._budget = budget
        self._url_file = url_file
        self._propagation = propagation
        self._bug = bug
        self._spec = spec
        secrets = home / "secrets"
        secrets.mkdir(parents=True)
        for name, value in (
            ("admin-key", ADMIN),
            ("internal-key", "an-internal-key-for-faults"),
            ("pepper", PEPPER),
        ):
            (secrets / name).write_text(value)
        (home / "ledger").mkdir()
        self.replicas(dict.fromkeys(model_ports, "ready"))
        shim = home / "shim.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", shim, SHIM, "-ldl"], check=True)
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "e2e.faults.money.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"LD_PRELOAD": str(shim)},
        )
        self.port = 0
        self.pid = 0

    def replicas(self, known: Mapping[int, str]) -> None:
        """Tell the gateway of the model's replicas: by port, ``ready`` or ``leaving``, and a word
        that tells one from its predecessor on that port."""
        fresh = self.home / "snapshot.new"
        fresh.write_text(json.dumps(_snapshot(known, self._spec, self._budget)))
        fresh.replace(self.home / "snapshot.json")

    def close(self) -> None:
        assert self._zygote.stdin is not None
        self._zygote.stdin.close()
        self._zygote.wait(30)

    def _say(self, order: dict[str, Any]) -> None:
        assert self._zygote.stdin is not None
        self._zygote.stdin.write(json.dumps(order) + "\n")
        self._zygote.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._zygote.stdout is not None
        found: dict[str, Any] = json.loads(self._zygote.stdout.readline())
        return found

    async def begin(self, at: int = 0, side: int = 0, *, ledger: Path | None = None) -> bool:
        """Start one; False if it died before it served."""
        self.port = _free_port()
        home = self.home
        argv = [
            "--no-cluster",
            "--host",
            "127.0.0.1",
            "--port",
            self.port,
            "--admin-port",
            _free_port(),
        ]
        argv += ["--grpc-port", -1, "--secrets-dir", home / "secrets", "--grace-seconds", 60]
        argv += [
            "--propagation-seconds",
            self._propagation,
            "--snapshot",
            home / "snapshot.json",
            "--name",
            "faults",
        ]
        folder = ledger or home / "ledger"
        argv += ["--ledger", folder / "ledger.sqlite"]
        if self._url_file is not None:
            argv += ["--ledger-url-file", self._url_file]
        self._say(
            {
                "argv": [str(each) for each in argv],
                "at": at,
                "bug": self._bug,
                "side": side,
                "folder": str(folder),
                "log": str(home / "log"),
            }
        )
        self.pid = self._hear()["pid"]
        end = monotonic() + START_SECONDS
        while monotonic() < end:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return True
            if not _lives(self.pid):
                return False
            await asyncio.sleep(0.02)
        raise RuntimeError(f"a gateway did not start: {(home / 'log').read_text()[-2000:]}")

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def ended(self) -> int:
        """Its exit status; waits for the end."""
        return int(self._hear()["exit"])

    @property
    def alive(self) -> bool:
        return _lives(self.pid)


def _lives(pid: int) -> bool:
    """Whether it runs: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _snapshot(replicas: Mapping[int, str], spec: Mapping[str, Any], amount: str) -> dict[str, Any]:
    meta = {"namespace": "demo", "uid": "u", "generation": 1}
    service = {
        "metadata": meta | {"name": "gpt", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "model": {"name": "gpt", "task": "Generate"},
            "price": PRICE,
            "scaling": {"target": {"signal": "InFlight", "value": "500"}},
            **spec,
        },
    }
    slices = [_endpoints(meta, port, state) for port, state in replicas.items()]
    budget = {"currency": "USD", "amount": amount, "period": "Month"}
    tenants = [
        {"metadata": {"name": name}, "spec": {"budget": budget}} for name in ("acme", "light")
    ]
    return {
        "format": 1,
        "services": [service],
        "slices": slices,
        "operators": [],
        "tenants": tenants,
    }


def _endpoints(meta: Mapping[str, Any], port: int, state: str) -> dict[str, Any]:
    leaving = state.startswith("leaving")
    uid = f"{port}-{state.rpartition(' ')[2]}"
    return {
        "metadata": {
            **meta,
            "name": f"gpt-{port}",
            "labels": {"preamar.dev/inferenceservice": "gpt"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port}],
        "endpoints": [
            {
                "addresses": ["127.0.0.1"],
                "conditions": {"ready": not leaving, "serving": True, "terminating": leaving},
                "targetRef": {"name": uid, "uid": uid},
            }
        ],
    }


def a_key(home: Path, tenant: str = "acme") -> str:
    """A key of a tenant, made as the admin port makes it."""
    ledger = OneFile(home / "ledger/ledger.sqlite", "setup", 400)
    key, _ = Keyring(ledger.engine, PEPPER.encode()).create(tenant, 1)
    ledger.start()
    ledger.stop(10)
    return key


@asynccontextmanager
async def clients(key: str, *, keep: bool = False) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with many connections, each for one request or, ``keep``, for many."""
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}"},
        connector=aiohttp.TCPConnector(limit=0, force_close=not keep),
        timeout=aiohttp.ClientTimeout(total=30),
    ) as http:
        yield http


def begin(gateways: Gateways) -> None:
    """The same for who has no loop."""
    if not asyncio.run(gateways.begin()):
        raise RuntimeError(f"the gateway died: {(gateways.home / 'log').read_text()[-2000:]}")


class Load:
    """Requests with numbers of their own, some of them streams, a part of which is left early."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.seen: list[Seen] = []

    async def run(self, http: aiohttp.ClientSession, gateways: Gateways, most: int) -> None:
        """Ask until ``most`` were asked or the gateway is dead."""
        slots = asyncio.Semaphore(48)
        url = f"http://127.0.0.1:{gateways.port}"

        async def one() -> None:
            streamed = self._random.random() < 0.2
            asked = self._random.randint(100, 400) if streamed else self._random.randint(1, 8)
            seen = Seen(len(self.seen) + 1, asked, streamed)
            self.seen.append(seen)
            leaves = (
                self._random.randint(1, asked) if streamed and self._random.random() < 0.3 else 0
            )
            try:
                await call(http, url, seen, leaves)
            finally:
                slots.release()

        async with asyncio.TaskGroup() as tasks:
            for _ in range(most):
                await slots.acquire()
                if not gateways.alive:
                    slots.release()
                    break
                tasks.create_task(one())

    def died(self, since: int, at: float) -> dict[int, float]:
        """Of the requests after the first ``since``, those that a death at that time may have cost
        their answer."""
        return {
            each.number: at
            for each in self.seen[since:]
            if not each.whole and (not each.at or each.at[-1] > at - NEAR_SECONDS)
        }
