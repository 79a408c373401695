"""Which images there are, and when one must be built again.

An image's tag is a hash of all that goes into it, so one that has not changed is neither built nor
loaded again, and a pod's image says which sources it holds.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from e2e.clusters import bases, buildah, gobuild
from e2e.clusters.places import CACHE, REGISTRY, ROOT
from e2e.clusters.say import TroubleError, step

KEPT = 3
SHORT = 15_000_000_000
IGNORED = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
SHARED, IGNORE = "workloads/common", "workloads/.dockerignore"


@dataclass(frozen=True, slots=True)
class Image:
    """What is built from where. ``inputs`` are files and directories that decide the tag."""

    name: str
    dockerfile: str
    context: str
    inputs: tuple[str, ...]
    suite: str | None
    later: bool = False  # the first answer does not need it


IMAGES = {
    image.name: image
    for image in (
        Image(
            "pause",
            "e2e/clusters/host/pause/Dockerfile",
            "build/pause",
            ("e2e/clusters/host/pause",),
            None,
        ),
        Image(
            "operator",
            "operator/Dockerfile",
            ".",
            (".dockerignore", "operator", "pyproject.toml", "uv.lock", "README.md", "LICENSE"),
            "bookworm",
        ),
        Image(
            "triton",
            "workloads/triton/Dockerfile",
            "workloads",
            (SHARED, IGNORE, "workloads/triton"),
            "bookworm",
        ),
        Image(
            "demo-models",
            "workloads/triton/demo/Dockerfile",
            "workloads/triton/demo",
            ("workloads/triton/demo",),
            "bookworm",
        ),
        Image(
            "demo-text",
            "workloads/deepspeed/demo/Dockerfile",
            "workloads/deepspeed/demo",
            ("workloads/deepspeed/demo",),
            "trixie",
            later=True,
        ),
        Image(
            "deepspeed",
            "workloads/deepspeed/Dockerfile",
            "workloads",
            (SHARED, IGNORE, "workloads/deepspeed"),
            "trixie",
            later=True,
        ),
    )
}


def registry() -> str:
    """What comes before every name: a registry that pods can pull from, or this machine."""
    return os.environ.get("PREAMAR_REGISTRY", "").rstrip("/") or REGISTRY


def available() -> tuple[Image, ...]:
    """Those whose Dockerfile is there, in the order to build them; pause is the node's own."""
    return tuple(
        one for one in IMAGES.values() if one.name != "pause" and (ROOT / one.dockerfile).exists()
    )


def files(image: Image) -> list[Path]:
    found: set[Path] = {ROOT / image.dockerfile}
    nested = [
        ROOT / other.context
        for other in IMAGES.values()
        if other.context.startswith(image.context + "/")
    ]
    for entry in image.inputs:
        path = ROOT / entry
        inside = path.rglob("*") if path.is_dir() else [path]
        found.update(
            file
            for file in inside
            if file.is_file()
            and not IGNORED & set(file.parts)
            and not any(place in file.parents for place in nested)
        )
    return sorted(found)


@cache
def tag(name: str) -> str:
    """Twelve hex digits of everything that goes in, file names and modes included."""
    digest = sha256()
    for file in files(IMAGES[name]):
        mode = "x" if os.access(file, os.X_OK) else "-"
        digest.update(f"{file.relative_to(ROOT)} {mode}\0".encode())
        digest.update(sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def reference(name: str) -> str:
    """The full name of an image as pods and charts use it."""
    if name not in IMAGES:
        raise TroubleError(f"There is no image {name}: the images are {', '.join(IMAGES)}.")
    return f"{registry()}/{name}:{tag(name)}"


def ensure(name: str) -> str:
    """Build an image unless it is in the store; returns its reference. Two at once build once."""
    image, full = IMAGES[name], reference(name)
    if buildah.has(full):
        return full
    if not (ROOT / image.dockerfile).exists():
        raise TroubleError(f"{image.dockerfile} is not there: image {name} cannot be built.")
    with gobuild.lock(CACHE / f"images/{name}.lock", f"waiting for another build of image {name}"):
        if not buildah.has(full):
            if image.suite:
                with gobuild.lock(
                    CACHE / f"images/{image.suite}.lock", f"waiting for Debian {image.suite}"
                ):
                    bases.ensure(image.suite)
            if name == "pause":
                prepare_pause()
            with step(f"building image {name}"):
                buildah.build(
                    full,
                    ROOT / image.dockerfile,
                    ROOT / image.context,
                    CACHE / f"logs/image-{name}.log",
                )
                forget(name)
    return full


def forget(name: str) -> None:
    """Keep the last few builds of an image; layers that no image names go when the disk is short."""
    prefix = f"{registry()}/{name}:"
    shown = buildah.run(*("images", "--format", "{{.CreatedAtRaw}} {{.Name}}:{{.Tag}}"), timeout=60)
    tags = sorted((line for line in shown.splitlines() if prefix in line), reverse=True)
    # One built wholly from old layers looks old, so the newest is known by its name.
    for line in (old for old in tags[KEPT:] if not old.endswith(reference(name))):
        with contextlib.suppress(TroubleError):  # in use by a build of somebody else
            buildah.run("rmi", line.split()[-1], timeout=120)
    if short_of_disk():
        with contextlib.suppress(TroubleError):
            buildah.run("rmi", "--prune", timeout=300)


def short_of_disk() -> bool:
    return shutil.disk_usage(CACHE).free < SHORT


def prepare_pause() -> None:
    context = ROOT / IMAGES["pause"].context
    context.mkdir(parents=True, exist_ok=True)
    shutil.copy2(gobuild.pause(), context / "pause")


@contextmanager
def archive(full: str) -> Iterator[Path]:
    """The image as one file, gone afterwards."""
    file = buildah.temporary() / f"{sha256(full.encode()).hexdigest()[:12]}-{os.getpid()}.tar"
    file.unlink(missing_ok=True)
    try:
        buildah.run("push", "--quiet", full, f"docker-archive:{file}:{full}", timeout=900)
        yield file
    finally:
        file.unlink(missing_ok=True)
