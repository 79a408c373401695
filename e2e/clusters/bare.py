"""A real API server and nothing else, for tests of what we ask of one.

etcd and kube-apiserver (and kube-controller-manager when asked) listen on free loopback ports and keep
their files in a directory of their own. They end with the block, with the test that was told to stop,
and with the process that started them, whatever becomes of it.
"""

import ctypes
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from e2e.clusters import controlplane, gobuild, pki
from e2e.clusters.controlplane import Plane
from e2e.clusters.run import tail
from e2e.clusters.say import TroubleError

READY_SECONDS = 60.0
AUDIT_POLICY = (
    '{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],'
    ' "rules": [{"level": "Metadata"}]}'
)
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


@contextmanager
def api_server(audit_log: Path | None = None, controllers: bool = False) -> Iterator[Path]:
    """Yield the path of an administrator's kubeconfig; ready in a few seconds.

    ``audit_log`` gets one JSON line per finished request, with microseconds. ``controllers`` adds the
    built-in controllers (garbage collection, Deployments, Jobs, endpoints); there are no nodes.
    """
    kube = gobuild.kube()
    with ExitStack() as stack:
        stack.enter_context(stopped_on_sigterm())
        home = Path(tempfile.mkdtemp(prefix="preamar-api-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        port, etcd, peer = free_ports(3)
        plane = Plane(kube, home / "pki", home / "etcd", "127.0.0.1", port, etcd, peer)
        pki.order(kube, plane.pki, (pki.apiserver(), pki.ADMIN, pki.CONTROLLER_MANAGER))
        admin = pki.kubeconfig(home / "kubeconfig", plane.server, plane.pki, "admin")
        extra = ["--enable-priority-and-fairness=false"]
        if audit_log is not None:
            policy = home / "audit.yaml"
            policy.write_text(AUDIT_POLICY)
            extra += [f"--audit-policy-file={policy}", f"--audit-log-path={audit_log}"]
        parts = {
            "etcd": controlplane.etcd(plane),
            "apiserver": controlplane.apiserver(plane, *extra),
        }
        if controllers:
            user = pki.kubeconfig(home / "cm", plane.server, plane.pki, "controller-manager")
            parts["controllers"] = controlplane.controller_manager(plane, user, "--secure-port=0")
        for name, argv in parts.items():
            start(stack, argv, home / f"{name}.log")
        wait_ready(plane, home)
        yield admin


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; held together so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def die_with_parent() -> None:
    # Covers what no handler can: a test process that is killed outright.
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def start(stack: ExitStack, argv: list[str], log: Path) -> None:
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
        )
    stack.callback(stop, process)


def stop(process: subprocess.Popen[bytes]) -> None:
    # Nothing of it is kept, so there is nothing to shut down in order.
    process.kill()
    process.wait(20)


def wait_ready(plane: Plane, home: Path) -> None:
    context = ssl.create_default_context(cafile=plane.pki / "ca.crt")
    context.load_cert_chain(plane.pki / "admin.crt", plane.pki / "admin.key")
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    deadline = time.monotonic() + READY_SECONDS
    # `default` is made after /readyz says ok, and every test needs it.
    for path in ("/readyz", "/api/v1/namespaces/default"):
        while True:
            try:
                with opener.open(plane.server + path, timeout=5):
                    break
            except (OSError, urllib.error.URLError):
                if time.monotonic() > deadline:
                    said = tail(home / "apiserver.log")
                    raise TroubleError(
                        f"the API server was not ready within {READY_SECONDS:.0f} s. {said}"
                    ) from None
                time.sleep(0.05)


@contextmanager
def stopped_on_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the block; by default it would skip every clean-up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    if before is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    with api_server(controllers="--controllers" in sys.argv) as path:
        print(f"export KUBECONFIG={path}", flush=True)
        print(f"stop it with: kill {os.getpid()}", file=sys.stderr, flush=True)
        signal.pause()
