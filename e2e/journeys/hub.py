"""A hub of models on this machine, as far as Preamar asks one."""

import base64
import ipaddress
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from e2e.cluster import Cluster
from e2e.kube import Json, Kube

COMMIT = "5eaf00d" + "0" * 33


class Hub:
    """Serves folders as ``hf://<name>`` to whoever has its token. ``away``: it answers 503."""

    def __init__(self, address: str, folders: Mapping[str, Path]) -> None:
        self.token = "hf_journey"
        self.away = False
        self.tokens: set[str | None] = set()
        self._asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._answer(self, folders)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer((address, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{address}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def files(self) -> list[str]:
        """The files that were asked for so far."""
        return [path.rpartition("/")[2] for path in self._asked if "/resolve/" in path]

    def _answer(self, handler: BaseHTTPRequestHandler, folders: Mapping[str, Path]) -> None:
        code, data = self._found(handler.path, folders)
        self.tokens.add(handler.headers.get("Authorization"))
        self._asked.append(handler.path)
        if self.away:
            code, data = 503, b""
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    @staticmethod
    def _found(path: str, folders: Mapping[str, Path]) -> tuple[int, bytes]:
        for name, folder in folders.items():
            files = {str(f.relative_to(folder)): f for f in folder.rglob("*") if f.is_file()}
            if path == f"/api/models/{name}/revision/main?blobs=true":
                siblings = [{"rfilename": n, "size": f.stat().st_size} for n, f in files.items()]
                return 200, json.dumps({"sha": COMMIT, "siblings": siblings}).encode()
            if file := files.get(path.removeprefix(f"/{name}/resolve/{COMMIT}/")):
                return 200, file.read_bytes()
        return 404, b""


def near(here: Cluster, kube: Kube) -> str:
    """The address at which pods reach this machine: the other end of the node's link."""
    if here.provider != "host":
        pytest.skip("pods of this cluster do not reach this machine")
    (node,) = kube.list("v1", "Node", None)
    address = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
    return str(ipaddress.ip_address(address) - 1)


def secret_of(hub: Hub) -> Json:
    """The Secret by which models of the hub are fetched."""
    words = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "hub"},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in words.items()},
    }
