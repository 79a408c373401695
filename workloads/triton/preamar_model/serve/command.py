"""Is the model still alive? Run Triton, and end the container when it is not.

Triton stays ready after its Python process has died (seen in 2.51: every answer is an error and
the probes say 200), so this process stays its parent: it watches the model's processes and leaves one
sentence about the end in the termination message. On SIGTERM it lets Triton serve until nobody is
connected, or until PREAMAR_DRAIN_SECONDS have passed: Triton itself would reset whoever connects
from then on, and gateways hear of a pod's end one after the other.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from preamar_model import triton_tree
from preamar_model.group import words
from preamar_model.group.leading import AGAIN, TOLD_SECONDS, Leading
from preamar_model.group.stages import PLAN, StagePlan
from preamar_model.refusal import last_words, sentence
from preamar_model.serve.callers import connected
from preamar_model.serve.deaths import OutOfMemory, stubs
from preamar_model.serve.last_error import LastError

LOOK_SECONDS = 0.25
DYING_SECONDS = 10.0
LOAD_SECONDS = 3600
HIDDEN = ("shared-memory", "model-repository", "trace", "logging")


def ports() -> tuple[int, int, int]:
    """HTTP, gRPC, metrics."""
    http, grpc, metrics = (
        int(os.environ.get(f"PREAMAR_{name}_PORT") or port)
        for name, port in (("HTTP", 8000), ("GRPC", 8001), ("METRICS", 8002))
    )
    return http, grpc, metrics


def arguments(tree: triton_tree.Tree, models: str) -> list[str]:
    http, grpc, metrics = ports()
    address = os.environ.get("PREAMAR_ADDRESS", "0.0.0.0")
    key = secrets.token_urlsafe(32)  # known to nobody: these interfaces are closed
    gpus = triton_tree.NVIDIA in tree.binary.parents
    return [
        str(tree.binary),
        f"--model-repository={models}",
        "--model-control-mode=none",
        f"--backend-directory={tree.backends}",
        *([] if completes(Path(models)) else ["--disable-auto-complete-config"]),
        "--exit-on-error=true",
        # Several Python models that start at once on a busy machine can abort Triton (seen in 2.51:
        # boost's lock_exception); a pod has one, or two with a graph of its own.
        "--model-load-thread-count=1",
        "--strict-readiness=true",
        # Only to unload: by then nobody is connected, or the model's process is dead.
        f"--exit-timeout-secs={DYING_SECONDS:.0f}",
        f"--http-address={address}",
        f"--http-port={http}",
        f"--grpc-address={address}",
        f"--grpc-port={grpc}",
        f"--metrics-address={address}",
        f"--metrics-port={metrics}",
        f"--allow-gpu-metrics={str(gpus).lower()}",
        f"--http-restricted-api={','.join(HIDDEN)}:x-preamar-closed={key}",
        f"--grpc-restricted-protocol={','.join(HIDDEN)}:x-preamar-closed={key}",
        f"--backend-config=python,stub-timeout-seconds={LOAD_SECONDS}",
        "--log-verbose=0",
        "--log-format=ISO8601",
        *([] if gpus else ["--pinned-memory-pool-byte-size=0"]),
    ]


def completes(models: Path) -> bool:
    """Whether Triton has to find out tensors by itself: those of a TensorRT plan stand in the plan."""
    texts = [file.read_text() for file in models.glob("*/config.pbtxt")]
    return any('backend: "tensorrt"' in text and "input {" not in text for text in texts)


def main(flags: list[str]) -> int:
    try:
        tree = triton_tree.find()
        drain = max(0, int(os.environ.get("PREAMAR_DRAIN_SECONDS") or 30))
    except (triton_tree.TritonMissing, ValueError, OSError) as error:
        last_words(sentence(f"Triton cannot start: {error}."))
        print(f"Triton cannot start: {error}", file=sys.stderr)
        return 1
    if os.getpid() == 1:
        forget_shared_memory(Path("/dev/shm"))
    environment = os.environ | tree.environment()
    if triton_tree.NVIDIA not in tree.binary.parents:
        environment["TRITON_SERVER_CPU_ONLY"] = "1"
    models = os.environ.get("PREAMAR_MODELS", "/models")
    command = arguments(tree, models) + flags
    try:
        group = words.read(os.environ)
    except words.GroupUnreadable as error:
        last_words(sentence(f"The leader cannot start: {error}."))
        return 1
    if group is None:
        return TritonServer(command, environment, drain).run()
    plan = next(Path(models).glob(f"*/1/{PLAN}"), None)
    leading = Leading(group, StagePlan.load(plan.parent).digest if plan else "")
    return TritonServer(
        command, environment | group.environment(group.address), drain, leading
    ).run()


def forget_shared_memory(place: Path) -> None:
    """A container that crashed leaves its regions in the pod's memory; restarts must not fill it."""
    for region in place.glob("triton_python_backend_shm_region_*"):
        region.unlink(missing_ok=True)


class TritonServer:
    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        drain: int,
        group: Leading | None = None,
    ) -> None:
        self.command, self.environment, self.drain = command, environment, drain
        self.group = group
        self.asked_to_stop = threading.Event()
        self.errors = LastError()
        self.began_to_serve: set[int] = set()
        """The model's processes when it did. One may be gone before anybody looks again."""

    def run(self) -> int:
        # Before the child is there: PID 1 would otherwise not hear a signal without a handler.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        if self.group is not None and not self._formed(self.group):
            return 0 if self.asked_to_stop.is_set() else self._again(self.group)
        memory = OutOfMemory()
        child = subprocess.Popen(
            self.command, env=self.environment, stderr=subprocess.STDOUT, stdout=subprocess.PIPE
        )
        reader = threading.Thread(target=self._pass_on, args=(child,), daemon=True)
        reader.start()
        died = self._watch(child)
        if self.group is not None and self.group.broken.is_set():
            child.kill()  # half a model answers nobody; who is cut asks elsewhere
            child.wait()
            return self._again(self.group)
        if self.group is not None and self.group.leaving.is_set() and not died:
            self.asked_to_stop.wait(TOLD_SECONDS)
            self._drain(child)
            self._wait(child, died=False)
            return self._again(self.group)
        if self.asked_to_stop.is_set() and not died:
            self._drain(child)
        code = self._wait(child, died)
        if self.group is not None:
            self.group.end()
        if self.asked_to_stop.is_set() and not died:
            return 0 if code == 0 else 1
        reader.join(timeout=2)  # its last words
        died_words = (self.errors.dead or "The model's process died.") if died else None
        words = memory.sentence() or self.errors.failed or died_words or self.errors.sentence(code)
        last_words(sentence(words))
        print(f"ended: {words}", file=sys.stderr, flush=True)
        return 128 - code if code < 0 else (code or 1)

    def _stop(self) -> None:
        self.asked_to_stop.set()
        if self.group is not None:
            self.group.unready.set()

    def _formed(self, group: Leading) -> bool:
        name = next((p.name for p in self._models() if not p.name.endswith("-graph")), "")
        group.health(f"http://127.0.0.1:{ports()[0]}/v2/models/{name}/ready")
        return group.form()

    def _models(self) -> list[Path]:
        root = Path(os.environ.get("PREAMAR_MODELS", "/models"))
        return sorted(p for p in root.iterdir() if (p / "config.pbtxt").is_file())

    def _again(self, group: Leading) -> int:
        """The group ends as a whole, and each member's container is started again."""
        group.end()
        last_words(sentence(group.why))
        print(f"ended: {group.why}", file=sys.stderr, flush=True)
        return AGAIN

    def _watch(self, child: subprocess.Popen) -> bool:
        """Wait for Triton's end; True when one of the model's processes ended before it."""
        seen: set[int] = set()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(LOOK_SECONDS)
                return False
            if self.asked_to_stop.is_set() or self._ends_early():
                return False
            alive = stubs(child.pid)
            if (seen | self.began_to_serve) - alive:
                # While it loads, Triton sees this itself and ends with the model's own words.
                return self.errors.serving or not self._ends(child)
            seen = alive

    def _ends_early(self) -> bool:
        group = self.group
        return group is not None and (group.broken.is_set() or group.leaving.is_set())

    def _drain(self, child: subprocess.Popen) -> None:
        """Wait until everybody has their answer; those who have not in time are cut, which is how
        the gateway learns that it must tell them."""
        deadline = time.monotonic() + self.drain
        alive = stubs(child.pid)
        while child.poll() is None:
            if self.group is not None and self.group.broken.is_set():
                child.kill()
                return
            callers = connected(ports()[:2])
            if not callers:
                child.send_signal(signal.SIGTERM)
                return
            late = time.monotonic() >= deadline
            if late or alive - stubs(child.pid):
                why = f"after {self.drain} s" if late else "as the model's process died"
                print(f"ended: {callers} connections cut {why}", file=sys.stderr, flush=True)
                child.kill()
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(LOOK_SECONDS)

    def _ends(self, child: subprocess.Popen) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(self.drain + DYING_SECONDS)
            return True
        return False

    def _wait(self, child: subprocess.Popen, died: bool) -> int:
        """Its exit code, within a bound: a model may hang while it unloads; and of one that died
        other requests may finish, a dead one never will."""
        if child.poll() is None and died:
            child.send_signal(signal.SIGTERM)
        bound = min(self.drain, DYING_SECONDS) if died else DYING_SECONDS
        deadline = time.monotonic() + bound
        while time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(0.1)
            if self.errors.unloaded:  # what is left is a look at the clock, once a second
                child.kill()
                child.wait()
                return 0
        child.kill()
        return child.wait()

    def _pass_on(self, child: subprocess.Popen) -> None:
        for raw in child.stdout:
            sys.stderr.buffer.write(raw)
            sys.stderr.buffer.flush()
            before = self.errors.serving
            self.errors.hear(raw.decode(errors="replace"))
            if self.errors.serving and not before:
                self.began_to_serve = stubs(child.pid)
