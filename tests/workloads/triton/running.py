"""The builder and the server as a pod runs them: commands with an environment, on loopback."""

import contextlib
import http.client
import io
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from unittest import mock

import schema

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = f"{ROOT / 'workloads/triton'}{os.pathsep}{ROOT / 'workloads/common'}"
START_SECONDS = 60
CALL_SECONDS = 30
PORTS = (12_000, 29_000)
CHANCE = random.SystemRandom()


@dataclass
class Done:
    code: int
    told: object
    log: str


def environment(**more: str) -> dict[str, str]:
    here = os.environ | {"PYTHONPATH": PACKAGES, "OMP_NUM_THREADS": "1"}
    return here | {key: str(value) for key, value in more.items()}


def build(order: dict, models: Path, **more: str) -> Done:
    """`preamar-model build`: its exit code and termination message."""
    message = models.parent / f"{models.name}.message"
    done = subprocess.run(
        [sys.executable, "-m", "preamar_model", "build"],
        env=environment(
            PREAMAR_MODEL=json.dumps(order),
            PREAMAR_MODELS=models,
            PREAMAR_TERMINATION_LOG=message,
            **more,
        ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode == 0:
        schema.configurations(models)
    text = message.read_text() if message.exists() else ""
    try:
        told = json.loads(text)
    except ValueError:
        told = text
    return Done(done.returncode, told, done.stderr)


def build_here(order: dict, models: Path, **told: str) -> Done:
    """The same command inside this process, which spares a second of imports."""
    from preamar_model.build import command

    message = models.parent / f"{models.name}.message"
    message.unlink(missing_ok=True)
    more = {
        "PREAMAR_MODEL": json.dumps(order),
        "PREAMAR_MODELS": str(models),
        "PREAMAR_TERMINATION_LOG": str(message),
    }
    with mock.patch.dict(os.environ, more | told), contextlib.redirect_stderr(io.StringIO()) as log:
        code = command.main()
    text = message.read_text()
    try:
        told = json.loads(text)
    except ValueError:
        told = text
    return Done(code, told, log.getvalue())


def free_ports(count: int) -> list[int]:
    """Below those that the kernel hands out: between this look and a server's start, whatever else
    runs here is given hundreds of those."""
    found: set[int] = set()
    while len(found) < count:
        port = CHANCE.randrange(*PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.add(port)
    return sorted(found)


class Running:
    """`preamar-model serve` and how to call it."""

    COMMAND = (sys.executable, "-m", "preamar_model", "serve")

    def __init__(self, models: Path, place: Path, **more: str) -> None:
        self.http, self.grpc, self.metrics = free_ports(3)
        self.message = place / "termination"
        self.log = place / "server.log"
        self.process = subprocess.Popen(
            self.COMMAND,
            env=environment(
                PREAMAR_MODELS=models,
                PREAMAR_ADDRESS="127.0.0.1",
                PREAMAR_HTTP_PORT=self.http,
                PREAMAR_GRPC_PORT=self.grpc,
                PREAMAR_METRICS_PORT=self.metrics,
                PREAMAR_TERMINATION_LOG=self.message,
                **({"PREAMAR_DRAIN_SECONDS": "5"} | more),
            ),
            stderr=self.log.open("w"),
            process_group=0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def wait(self, names: list[str]) -> None:
        deadline = time.monotonic() + START_SECONDS
        for name in names:
            while not self.ready(name):
                assert self.process.poll() is None, self.log.read_text()[-3000:]
                assert time.monotonic() < deadline, self.log.read_text()[-3000:]
                time.sleep(0.02)

    def ready(self, name: str) -> bool:
        try:
            return self.get(f"/v2/models/{name}/ready")[0] == 200
        except OSError:
            return False

    def get(self, path: str) -> tuple[int, bytes]:
        return self.call("GET", path)

    def call(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=CALL_SECONDS)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def infer(self, name: str, *tensors: dict) -> tuple[int, dict]:
        status, body = self.call("POST", f"/v2/models/{name}/infer", {"inputs": list(tensors)})
        answer = json.loads(body)
        if status == 200:
            answer = {o["name"]: o for o in answer["outputs"]}
        return status, answer

    def embed(self, *texts: str, model: str = "minilm") -> tuple[list[list[float]], list[int]]:
        told = {"name": "TEXT", "shape": [len(texts), 1], "datatype": "BYTES", "data": list(texts)}
        status, answer = self.infer(model, told)
        assert status == 200, answer
        width = answer["EMBEDDING"]["shape"][1]
        flat = answer["EMBEDDING"]["data"]
        rows = [flat[at : at + width] for at in range(0, len(flat), width)]
        return rows, answer["INPUT_TOKENS"]["data"]

    def stream(self, name: str, **wish: object) -> "Stream":
        return Stream(self.http, name, wish)


class Stream:
    """One call of generate_stream; iterate over its events, close it to leave."""

    def __init__(self, port: int, name: str, wish: dict) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_SECONDS)
        body = json.dumps({"REQUEST": json.dumps(wish)})
        self.connection.request("POST", f"/v2/models/{name}/generate_stream", body)
        self.answer = self.connection.getresponse()
        self.status = self.answer.status

    def __iter__(self) -> Iterator[dict]:
        while line := self.answer.readline():
            if line.startswith(b"data:"):
                yield json.loads(line[5:])

    def close(self) -> None:
        # http.client keeps the socket open for the answer until both are closed.
        self.answer.close()
        self.connection.close()


def serve(models: Path, place: Path, **more: str) -> Running:
    return Running(models, place, **more)
