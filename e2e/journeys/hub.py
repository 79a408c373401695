"""A hub of models on this machine, as far as Preamar asks one."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "5eaf00d" + "0" * 33
REPOSITORY = "demo/minilm"


class Hub:
    """Serves a folder as ``hf://demo/minilm`` to whoever has its token. ``away``: it answers 503."""

    def __init__(self, address: str, folder: Path) -> None:
        self.token = "hf_journey"
        self.away = False
        self.tokens: set[str | None] = set()
        self._asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._answer(self, folder)

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

    def _answer(self, handler: BaseHTTPRequestHandler, folder: Path) -> None:
        code, data = self._found(handler.path, folder)
        self.tokens.add(handler.headers.get("Authorization"))
        self._asked.append(handler.path)
        if self.away:
            code, data = 503, b""
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    @staticmethod
    def _found(path: str, folder: Path) -> tuple[int, bytes]:
        files = {str(f.relative_to(folder)): f for f in folder.rglob("*") if f.is_file()}
        if path == f"/api/models/{REPOSITORY}/revision/main?blobs=true":
            siblings = [{"rfilename": n, "size": f.stat().st_size} for n, f in files.items()]
            return 200, json.dumps({"sha": COMMIT, "siblings": siblings}).encode()
        file = files.get(path.removeprefix(f"/{REPOSITORY}/resolve/{COMMIT}/"))
        return (200, file.read_bytes()) if file else (404, b"")
