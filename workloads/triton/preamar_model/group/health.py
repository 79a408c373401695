"""Is this member ready, and alive? Answers the kubelet: 200 or 503 on /ready, 200 on /live."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def serve(address: str, port: int, ready: Callable[[], bool]) -> ThreadingHTTPServer:
    """Until the process ends."""

    class Answer(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            good = self.path == "/live" or (self.path == "/ready" and ready())
            self.send_response(200 if good else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """A line a second would drown the others."""

    server = ThreadingHTTPServer((address, port), Answer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
