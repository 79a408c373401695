"""How far is the job, and who may stop it? On rank 0's pod: `GET /progress`, `GET /losses` (CSV,
those that are kept beside the checkpoints), `GET /ended` and `POST /stop`.

Progress reads rank 0's state file at each call; before there is one the answer is `Starting`.
"""

import json
import os
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from preamar_train.agent.leaving import Leaving
from preamar_train.agent.stopping import LARGEST_ORDER, Stopping
from preamar_train.reports import rank_state
from preamar_train.reports.losses import NAME

KEYS = (
    "attempt",
    "state",
    "step",
    "steps",
    "loss",
    "samplesPerSecond",
    "dataWaitRatio",
    "consumed",
    "skipped",
    "duplicated",
    "checkpoint",
    "resumedFrom",
    "seconds",
    "saveSeconds",
    "interconnect",
    "everySeconds",
    "resumed",
)
_READ_SECONDS = 5
_MOST_BYTES = 16 * 2**20


def progress(file: Path) -> dict[str, Any]:
    told = rank_state.read(file)
    if told:
        return {key: told.get(key) for key in KEYS}
    return {**dict.fromkeys(KEYS), **_ordered(), "state": "Starting", "step": 0, "consumed": 0}


def _ordered() -> dict[str, Any]:
    try:
        order = json.loads(os.environ.get("PREAMAR_TRAIN", ""))
        return {"attempt": order.get("attempt"), "steps": order.get("steps")}
    except (ValueError, AttributeError):
        return {}


def _losses() -> bytes | None:
    try:
        folder = json.loads(os.environ.get("PREAMAR_TRAIN", ""))["checkpoint"]["path"]
        with Path(folder, NAME).open("rb") as stream:
            return stream.read(_MOST_BYTES)
    except (OSError, ValueError, KeyError, TypeError):
        return None


class _Answers(BaseHTTPRequestHandler):
    timeout = _READ_SECONDS
    server_version = "preamar-train"

    def __init__(
        self, file: Path, stopping: Stopping, leaving: Leaving | None, *request: Any
    ) -> None:
        self._file, self._stopping, self._leaving = file, stopping, leaving
        super().__init__(*request)  # which answers

    def do_GET(self) -> None:
        if self.path == "/progress":
            self._say(200, json.dumps(progress(self._file)).encode())
        elif self.path == "/losses" and (found := _losses()) is not None:
            self._say(200, found, "text/csv")
        elif self.path == "/ended" and self._leaving is not None:
            self._say_end(self._leaving)
        else:
            self.send_error(404)

    def _say_end(self, leaving: Leaving) -> None:
        if not leaving.begin():
            self.send_error(503)
            return
        try:
            self._say(200, leaving.answer())
        finally:
            leaving.answered()

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length") or "0"
        if self.path != "/stop":
            self.send_error(404)
        elif not length.isdecimal() or int(length) > LARGEST_ORDER:
            self.send_error(413)
        else:
            body = self.rfile.read(int(length))
            self._say(self._stopping.answer(self.headers.get("Authorization") or "", body), b"{}")

    def _say(self, code: int, data: bytes, kind: str = "application/json") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Polls are no news."""


def serve(
    file: Path, port: int, stopping: Stopping, leaving: Leaving | None = None, host: str = ""
) -> ThreadingHTTPServer | None:
    """Answers in threads of its own; None, with a line in the log, when the port is taken. Without
    `leaving`, nobody is told of the end."""
    try:
        server = ThreadingHTTPServer((host, port), partial(_Answers, file, stopping, leaving))
    except OSError as error:
        print(f"progress cannot be served on port {port}: {error}", flush=True)
        return None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
