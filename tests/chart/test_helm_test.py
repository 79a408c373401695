"""What `helm test` runs in its pod: it must fail on a gateway that is down or lets anybody in.

Holds: charts/preamar/
"""

import http.server
import subprocess
import sys
import threading

import pytest


@pytest.fixture
def script(render):
    pod = next(m for m in render() if m["kind"] == "Pod")
    (container,) = pod["spec"]["containers"]
    program, flag, text, url = container["command"]
    assert (program, flag) == ("python3", "-c")
    assert url == "http://preamar-gateway:8080"
    return text


@pytest.fixture
def gateway():
    """Answers /healthz with the first status and everything else with the second."""
    servers = []

    def start(health, models):
        class Answers(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(health if self.path == "/healthz" else models)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def run(script, url):
    return subprocess.run(
        [sys.executable, "-c", script, url],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env={"no_proxy": "*"},
    )


def test_a_gateway_that_asks_for_a_key_passes(script, gateway):
    done = run(script, gateway(200, 401))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["the gateway is up", "it asks for a key"]


@pytest.mark.parametrize(
    ("health", "models", "said"),
    [(200, 200, "without a key"), (200, 500, "500"), (503, 401, "503")],
    ids=["open to all", "broken", "not up"],
)
def test_a_gateway_that_is_not_right_fails(script, gateway, health, models, said):
    done = run(script, gateway(health, models))
    assert done.returncode != 0
    assert said in done.stderr
