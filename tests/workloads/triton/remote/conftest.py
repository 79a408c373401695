"""A web server without TLS, one with it, an S3 server, and how a model is fetched from them."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from preamar_model.refusal import Refusal
from preamar_model.remote.fetch import FetchSpec, fetched
from preamar_storage import attempts

from tests.workloads.triton.remote.servers import Web, certificate


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(attempts, "PAUSES", (0.01, 0.02, 0.02, 0.02))
    monkeypatch.setattr("preamar_model.remote.stores.RETRIES", 0)
    monkeypatch.setattr("preamar_model.remote.cache.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("preamar_model.remote.gate.LOOK_SECONDS", 0.005)
    # Fetching takes variables away from its process, which is this one.
    before = dict(os.environ)
    yield
    os.environ.update(before)


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    yield made
    made.close()


@pytest.fixture(scope="session")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(pair) -> Iterator[Web]:
    made = Web(pair)
    yield made
    made.close()


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Bucket:
    def __init__(self, url: str, name: str, folder: Path) -> None:
        self.client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="t",
            aws_secret_access_key="t",
        )
        self.client.create_bucket(Bucket=name)
        self.name, self.host = name, url.removeprefix("http://")
        self.secret = secret(
            folder,
            AWS_ACCESS_KEY_ID="t",
            AWS_SECRET_ACCESS_KEY="t",
            AWS_REGION="us-east-1",
            AWS_ENDPOINT_URL=url,
        )

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)


@pytest.fixture
def bucket(s3_url, tmp_path, request) -> Bucket:
    name = f"b{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    return Bucket(s3_url, name, tmp_path / "secret")


def secret(folder: Path, **keys: str) -> Path:
    """As the kubelet mounts a Secret."""
    (folder / "..data").mkdir(parents=True, exist_ok=True)
    for key, value in keys.items():
        (folder / key).write_text(value + "\n")
    return folder


@pytest.fixture
def fetch(tmp_path, pair):
    """Fetches, and gives the files by name with what is in them."""

    def act(uri: str, *hosts: str, most: int = 10**9, secret: Path | None = None):
        wish = FetchSpec(uri, tmp_path / "cache", most, secret, hosts, pair[0].with_name("ca.crt"))
        with fetched(wish) as path:
            if path.is_file():
                return {path.name: path.read_bytes()}
            files = [f for f in sorted(path.rglob("*")) if f.is_file()]
            return {str(f.relative_to(path)): f.read_bytes() for f in files}

    return act


@pytest.fixture
def refused(fetch, tmp_path):
    """The reason and the sentence of a refusal, after which nothing is kept."""

    def act(uri: str, *hosts: str, **more) -> tuple[str, str]:
        with pytest.raises(Refusal) as caught:
            fetch(uri, *hosts, **more)
        kept = [e.name for e in (tmp_path / "cache").glob("*") if not e.name.startswith(".")]
        assert kept == []
        return str(caught.value.reason), caught.value.message

    return act
