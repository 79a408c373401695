"""What is built from Go, and when it must be built again.

An artefact is kept in the cache under a hash of its sources and the Go version, so it is built once per
change on a machine, whichever clone asks. Two who ask at once build once: the other waits.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path

from e2e.clusters.places import CACHE, ROOT
from e2e.clusters.run import call
from e2e.clusters.say import TroubleError, say, step

MODULE = ROOT / "e2e/clusters/host"
KUBERNETES = "v1.34.4"
COREDNS = "v1.14.7"
HELM = "v4.3.1"
OLDEST_GO = (1, 24)
KEPT = 3


@cache
def go() -> tuple[str, str]:
    """The go command and its version."""
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if not found:
        raise TroubleError(
            "Go was not found: the control plane is built from source. Install Go 1.24 or newer and put it on PATH."
        )
    version = call([found, "env", "GOVERSION"], timeout=30).strip()
    numbers = re.match(r"go(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST_GO:
        raise TroubleError(
            f"{found} is {version}: Go 1.24 or newer is needed. Install one and put it first on PATH."
        )
    return found, version


def key(*parts: str, sources: Path | None = None) -> str:
    digest = sha256(go()[1].encode())
    for part in parts:
        digest.update(part.encode() + b"\0")
    if sources:
        for path in sorted(sources.rglob("*")):
            if path.suffix == ".go" or path.name in {"go.mod", "go.sum"}:
                digest.update(str(path.relative_to(sources)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def kube() -> Path:
    """The multi-call binary of the control plane and node."""
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES}"
    argv = ["build", "-trimpath", "-ldflags", flags, "-o", "{out}", "."]
    title = "building Kubernetes from source (about 6 min the first time)"
    return made("kube", key(flags, sources=MODULE), title, argv, {}, MODULE)


def pause() -> Path:
    """The program that holds a pod's namespaces; static, for an image from scratch."""
    argv = ["build", "-trimpath", "-ldflags", "-s -w", "-o", "{out}", "./pause"]
    return made(
        "pause",
        key("pause", sources=MODULE / "pause"),
        "building the pause program",
        argv,
        {"CGO_ENABLED": "0"},
        MODULE,
    )


def coredns() -> Path:
    """CoreDNS from its module; needed by pods that look each other up by name."""
    argv = ["install", "-trimpath", "-ldflags", "-s -w", f"github.com/coredns/coredns@{COREDNS}"]
    title = "building CoreDNS (about 2 min the first time)"
    return made("coredns", key(*argv), title, argv, {"CGO_ENABLED": "0"}, None)


def helm() -> Path:
    """Helm from its module, where neither PATH nor the Python package has it."""
    argv = ["install", "-trimpath", "-ldflags", "-s -w", f"helm.sh/helm/v4/cmd/helm@{HELM}"]
    return made("helm", key(*argv), "building Helm (about 3 min the first time)", argv, {}, None)


def made(
    name: str, digest: str, title: str, argv: list[str], env: dict[str, str], cwd: Path | None
) -> Path:
    """The artefact from the cache, built first when it is not there."""
    place = CACHE / "go" / name / digest
    binary = place / name
    if binary.exists():
        os.utime(place)
        return binary
    with lock(CACHE / "go" / f"{name}.lock", f"waiting for another build of {name}"):
        if binary.exists():
            return binary
        with step(title):
            making = CACHE / "go" / name / f"{digest}.making"
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(parents=True)
            command = [part.format(out=making / name) for part in argv]
            call(
                ["nice", go()[0], *command],
                timeout=3600,
                log=CACHE / "logs" / f"build-{name}.log",
                env={"GOBIN": str(making), **env},
                cwd=cwd or making,
                hint="The Go module proxy must be reachable the first time.",
            )
            making.rename(place)
        prune(CACHE / "go" / name)
    return binary


def prune(place: Path) -> None:
    """Keep the last few: running clusters have links of their own to what they use."""
    built = sorted(place.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in built[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def lock(path: Path, waiting: str) -> Iterator[None]:
    """One at a time across processes; the kernel frees it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
